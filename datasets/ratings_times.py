"""Turns timestamps as text into numbers: epochs of any unit, and dates of common forms into seconds since 1970."""

import math
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from datasets.ratings_text import shortened
from flowgrad.errors import FlowGradError

UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""Number of each unit of an epoch in a second."""
UNIT_CHOICES = ("auto", "mixed", *UNITS)

_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_EARLIEST, _LATEST = 315_532_800, 4_102_444_800
"""Bounds of the years 1980 to 2100 in seconds: between them a number's size shows its unit."""
_STRAY_SHARE = 0.01
"""Share of positive numbers outside those years up to which a column still counts as one of epochs."""
_INT64_DIGITS = 20
_LONGEST_DATE = 100
"""Number of characters of a date; looking for an offset behind blanks takes the square of it."""

_ISO = re.compile(r"\d{4}[-/.]\d|\d{8}T\d", re.ASCII)
_YEAR_LAST = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4})(?!\d)(.*)", re.ASCII | re.DOTALL)
_NAMED_MONTH = re.compile(
    r"(?i)(?=.*\b\d{4}\b)(?=.*\b\d{1,2}\b).*\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b"
)
_UTC = re.compile(r"\s*(?:[+-]00:?00\s*)?(?:UTC|GMT|Z)$", re.IGNORECASE)
_OFFSET = re.compile(r"\s+([+-]\d\d(?::?\d\d)?)$", re.ASCII)
_HALF_DAY = re.compile(r"(?i)\d\s*[ap]\.?m\.?")


def finite(text: str, decimal: str = ".") -> float | None:
    """Read the text as a number; None if it is none, or not finite."""
    if decimal != ".":
        if "." in text:
            return None
        text = text.replace(decimal, ".")
    try:
        number = float(text)
    except ValueError:
        return None
    # float("1_5") is 15: Python's digit grouping, which no data file means.
    return number if math.isfinite(number) and "_" not in text else None


def is_date(text: str) -> bool:
    """Whether the text has the form of a date."""
    return bool(_ISO.match(text) or _YEAR_LAST.fullmatch(text) or _NAMED_MONTH.match(text))


def check_times(date_format: str | None, unit: str) -> None:
    """Refuse settings of timestamps that cannot be meant.

    Raises:
        FlowGradError: the message names the setting and what it may be.
    """
    if unit not in UNIT_CHOICES:
        raise FlowGradError(f"dataset.timestamp_unit={unit!r} is unknown; use {', '.join(UNIT_CHOICES)}")
    if date_format is None:
        return
    if not isinstance(date_format, str) or "%" not in date_format:
        raise FlowGradError(
            f"dataset.timestamp_format={date_format!r}: expected a format such as {_setting('%d/%m/%Y %H:%M')}"
        )
    try:
        pd.to_datetime(pd.Series(["1"]), format=date_format, errors="coerce")
    except ValueError as error:
        raise FlowGradError(f"dataset.timestamp_format={date_format!r} cannot be used: {error}") from error


def parsed_times(
    texts: Sequence[str], lines: Sequence[int], where: str, date_format: str | None, unit: str, decimal: str
) -> list[int | float | None]:
    """Read the timestamp of each row; None where the text is none.

    Args:
        texts: as they stand in the file.
        lines: the line of each, for errors.
        where: how errors name the file.
        date_format: strptime format that every text must have; None takes numbers and dates of common forms.
        unit: unit of numbers. `auto` keeps them as they are and refuses a mixture; one of `UNITS` makes them seconds;
            `mixed` makes each seconds by its size.
        decimal: decimal mark of numbers.

    Raises:
        FlowGradError: seconds mixed with milliseconds and the like, dates mixed with other numbers, or dates that
            can be day first or month first.
    """
    column = _Column([text.strip() for text in texts], lines, where)
    if date_format is not None:
        given = pd.Series(column.texts, dtype=object)
        return _seconds(pd.to_datetime(given, format=date_format, errors="coerce", utc=True))
    numbers = [_number(text, decimal) for text in column.texts]
    others = [row for row, number in enumerate(numbers) if number is None]
    dates = dict(zip(others, column.dates(others), strict=True))
    column.refuse_mixtures(numbers, dates, unit)
    return [dates[row] if number is None else _in_seconds(number, unit) for row, number in enumerate(numbers)]


class _Column:
    """Texts of the column, and its name in errors."""

    def __init__(self, texts: list[str], lines: Sequence[int], where: str) -> None:
        self.texts, self.lines, self.where = texts, lines, where

    def shown(self, row: int) -> str:
        return f"{shortened(self.texts[row])} on line {self.lines[row]}"

    def counted(self, what: str, rows: Sequence[int]) -> str:
        return f"{what} ({len(rows)} rows, such as {self.shown(rows[0])})"

    def dates(self, rows: Sequence[int]) -> list[int | float | None]:
        """Read the dates in these rows as seconds since 1970, UTC where they name no offset; None where there is
        none.
        """
        short = [self.texts[row] if len(self.texts[row]) <= _LONGEST_DATE else "" for row in rows]
        plain = [_OFFSET.sub(r"\1", _UTC.sub("Z", text)) for text in short]
        iso = self._year_first(plain, rows)
        texts = pd.Series(iso, dtype=object)
        found = pd.Series(pd.NaT, index=texts.index, dtype="datetime64[us, UTC]")
        half_day = texts.str.contains(_HALF_DAY) if len(texts) else texts.astype(bool)
        standard = texts.map(lambda text: bool(_ISO.match(text))).astype(bool)
        worded = texts.map(lambda text: bool(_NAMED_MONTH.match(text))).astype(bool) | (standard & half_day)
        for chosen, form in ((standard & ~half_day, "ISO8601"), (worded, "mixed")):
            if chosen.any():
                parsed = pd.to_datetime(texts[chosen], format=form, errors="coerce", utc=True)
                found[chosen] = parsed.dt.as_unit("us")
        return _seconds(found)

    def _year_first(self, texts: list[str], rows: Sequence[int]) -> list[str]:
        """Turn dates such as 31/01/2001 in the texts into 2001-01-31, day or month first as the column shows."""
        matches = {place: match for place, text in enumerate(texts) if (match := _YEAR_LAST.fullmatch(text))}
        if not matches:
            return texts
        day_first = [rows[place] for place, match in matches.items() if int(match[1]) > 12]
        month_first = [rows[place] for place, match in matches.items() if int(match[3]) > 12]
        if bool(day_first) == bool(month_first):
            first = next(iter(matches))
            raise FlowGradError(f"{self.where}: {self._undecided(rows[first], len(matches), day_first, month_first)}")
        day, month = (1, 3) if day_first else (3, 1)
        turned = list(texts)
        for place, match in matches.items():
            turned[place] = f"{match[4]}-{int(match[month]):02}-{int(match[day]):02}{match[5]}"
        return turned

    def _undecided(self, row: int, count: int, day_first: list[int], month_first: list[int]) -> str:
        match = _YEAR_LAST.fullmatch(_UTC.sub("", self.texts[row]))
        rest = _time_format(match[5]) if match else ""
        mark = match[2] if match else "/"
        settings = " or ".join(_setting(f"%{a}{mark}%{b}{mark}%Y{rest}") for a, b in (("d", "m"), ("m", "d")))
        if day_first:
            both = f"{self.counted('day first', day_first)} and {self.counted('month first', month_first)}"
            return f"timestamps are {both}; say which with {settings}"
        return (
            f"timestamps such as {self.shown(row)} can be day first or month first, and none of the {count} rows "
            f"tells; set {settings}"
        )

    def refuse_mixtures(
        self, numbers: list[int | float | None], dates: dict[int, int | float | None], unit: str
    ) -> None:
        """Raise if the numbers are of several units, or stand among dates and are no seconds."""
        if unit != "auto":
            return
        values = np.array([math.nan if number is None else float(number) for number in numbers])
        rows = {name: np.flatnonzero(_in_window(values, factor)) for name, factor in UNITS.items()}
        seen = {name: found for name, found in rows.items() if len(found)}
        stray = int((values > 0).sum()) - sum(map(len, seen.values()))
        if len(seen) > 1 and stray <= _STRAY_SHARE * len(values):
            parts = " and ".join(self.counted(_NAMES[name], found.tolist()) for name, found in seen.items())
            raise FlowGradError(
                f"{self.where}: timestamps mix {parts}; set dataset.timestamp_unit=mixed to read each by its size, or "
                "dataset.timestamp_unit=s (ms, us, ns) if all are of one unit"
            )
        dated = [row for row, date in dates.items() if date is not None]
        loose = np.flatnonzero(np.isfinite(values) & ~_in_window(values, 1)).tolist()
        if dated and loose:
            raise FlowGradError(
                f"{self.where}: timestamps mix {self.counted('dates', dated)} and "
                f"{self.counted('other numbers', loose)}; set dataset.timestamp_unit to the unit of "
                "the numbers (s, ms, us, ns, or mixed), "
                f"or dataset.timestamp_format to the form of the dates, such as {_setting('%Y-%m-%d')}"
            )


def _in_window(values: np.ndarray, factor: int) -> np.ndarray:
    return (values >= _EARLIEST * factor) & (values < _LATEST * factor)


def _number(text: str, decimal: str) -> int | float | None:
    number = finite(text, decimal)
    if number is None or abs(number) >= 2**63:  # beyond what counts nanoseconds since 1970
        return None
    # Whole numbers stay integers: a float64 would merge timestamps in nanoseconds.
    whole = text.removeprefix("-").isdecimal() and len(text) <= _INT64_DIGITS
    return int(text) if whole else number


def _in_seconds(number: int | float, unit: str) -> int | float | None:
    if unit == "auto":
        return number
    if unit == "mixed":
        value = np.array([float(number)])
        factors = [factor for factor in UNITS.values() if _in_window(value, factor)[0]]
        if not factors:
            return None
        factor = factors[0]
    else:
        factor = UNITS[unit]
    return number // factor if isinstance(number, int) and number % factor == 0 else number / factor


def _seconds(moments: pd.Series) -> list[int | float | None]:
    known = moments.notna().to_numpy()
    micro = moments.dt.as_unit("us").to_numpy(dtype="datetime64[us]").astype(np.int64)
    return [
        (value // 10**6 if value % 10**6 == 0 else value / 10**6) if there else None
        for value, there in zip(micro.tolist(), known.tolist(), strict=True)
    ]


def _time_format(rest: str) -> str:
    """Find the strptime format of the text after a date, such as ` %H:%M`."""
    half_day = bool(_HALF_DAY.search(rest))
    marks = iter(("%I" if half_day else "%H", "%M", "%S"))
    form = re.sub(r"\.\d+", ".%f", rest.rstrip())
    form = re.sub(r"(?<![%\d.])\d+", lambda _: next(marks, "%S"), form)
    return re.sub(r"(?i)[ap]\.?m\.?", "%p", form)


def _setting(date_format: str) -> str:
    """The setting as it is given on a command line."""
    return f"""'dataset.timestamp_format="{date_format}"'"""
