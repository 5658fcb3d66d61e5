"""Ratings from a text file with a header and one rating a line, in any column order and with any ids."""

import csv
import difflib
import io
import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from datasets.ratings import COLUMNS, Ratings, encode_ratings
from flowgrad.errors import FlowGradError

_REQUIRED = ("user", "item", "rating")
_LINES_NAMED = 5
_INT64_DIGITS = 20

_logger = logging.getLogger(__name__)


class _BadRowError(Exception):
    """A row that cannot be used; the message is the reason, in words that rows of the same kind share."""


@dataclass(frozen=True)
class _Row:
    user: str
    item: str
    rating: float
    timestamp: int | float | None
    """None where the configuration names no timestamp column."""


@dataclass(frozen=True)
class _Dropped:
    line: int
    """Line of the file that the row starts on, the header being on line 1 if nothing stands above it."""
    reason: str


def load_ratings_csv(path: str | Path, columns: Mapping[str, str | None], separator: str = ",") -> Ratings:
    """Ratings from the text file `path`: UTF-8 with or without a byte order mark, a header, CSV quoting.

    `columns` gives the header's name for each of "user", "item", "rating" and, if the file has it, "timestamp".

    - Ids are text, exactly as they stand: "007" and "7" are two users, and so are "ann" and "ann ".
    - Ratings are finite numbers with a decimal point, of any scale.
    - Timestamps are numbers, kept as they are, or ISO 8601 dates and times, turned into seconds since 1970 (UTC where
      they name no offset). A run of digits is a number: "20240131" is not a date. A file should keep to one unit.
    - Without a timestamp column (absent or None in `columns`) the order of the file is the order in time, and the
      timestamps are 0, 1, 2, ... over the rows kept.
    - Repeated (user, item) pairs stay as rows. Empty lines do not count as rows.

    A row with a missing id (empty or blank), a rating or a timestamp that is not as above, or a wrong number of fields
    is dropped; how many, why, and the first line numbers are logged in one warning.

    Raises:
        FlowGradError: the file is missing, unreadable, empty or not UTF-8; a column is not in the header or is there
            twice; `columns` or `separator` is of no use; a quote is never closed; or no row can be used.
    """
    file = Path(path).expanduser()
    names = _checked_columns(columns)
    records = _records(_read_text(file), _checked_separator(separator), file)
    _, header = next(records, (0, None))
    if header is None:
        raise FlowGradError(f"{_named(file)} is empty; expected a header line and one rating a line")
    if isinstance(header, _BadRowError):
        raise FlowGradError(f"{_named(file)}: the header is {header}; expected column names split by {separator!r}")
    positions = _positions(names, [name.strip() for name in header], separator, file)
    rows, dropped = _parse(records, positions, len(header))
    if dropped:
        _logger.warning("%s: %s", _named(file), _summary(dropped, len(rows)))
    if not rows:
        raise FlowGradError(
            f"{_named(file)}: no row can be used"
            + (f" ({_summary(dropped, 0)})" if dropped else ", there is only a header")
            + "; check the file, dataset.columns and dataset.separator"
        )
    return _to_ratings(file, rows)


def _checked_columns(columns: Mapping[str, str | None]) -> dict[str, str]:
    for role in columns:
        if role not in COLUMNS:
            raise FlowGradError(
                f"dataset.columns has the unknown key {role!r}{_did_you_mean(str(role), COLUMNS)}; "
                f"the keys are {', '.join(COLUMNS)}"
            )
        name = columns[role]
        if name is not None and not isinstance(name, str):
            raise FlowGradError(f"dataset.columns.{role} is {name!r}; expected a column name as text")
    names = {role: name for role, name in columns.items() if name is not None}
    for role in _REQUIRED:
        if role not in names:
            raise FlowGradError(f"dataset.columns.{role} is not set; give the name of the file's {role} column")
    for name, count in Counter(names.values()).items():
        if count > 1:
            roles = " and ".join(role for role, value in names.items() if value == name)
            raise FlowGradError(f"dataset.columns: {roles} name the same column {name!r}; give each its own")
    return names


def _checked_separator(separator: str) -> str:
    if len(separator) != 1 or separator in '"\r\n':
        raise FlowGradError(
            f'dataset.separator is {separator!r}; expected one character such as ",", ";" or a tab, '
            "and neither a quote nor a line end"
        )
    return separator


def _read_text(file: Path) -> str:
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise FlowGradError(f"{_named(file)} does not exist; set dataset.path to a ratings file") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FlowGradError(f"{_named(file)} cannot be read ({reason}); set dataset.path to a ratings file") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = len(data[: error.start + 1].splitlines())
        raise FlowGradError(f"{_named(file)} is not UTF-8 (near line {line}); save it as UTF-8") from error


def _records(text: str, separator: str, file: Path) -> Iterator[tuple[int, list[str] | _BadRowError]]:
    """Yield each record that is not empty with the line it starts on: a quoted field may go over several lines."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    while True:
        start = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # Past a stray quote the lines no longer fall into rows, and dropping them would hide how many were lost.
            if reader.line_num > start or "unexpected end of data" in str(error):
                raise FlowGradError(
                    f"{_named(file)}: the quote opened on line {start} is not closed there ({error}); close it, or "
                    "double quotes inside a quoted field"
                ) from error
            yield start, _BadRowError(f"not CSV, {error}")
        else:
            if record:
                yield start, record


def _positions(names: Mapping[str, str], header: list[str], separator: str, file: Path) -> dict[str, int]:
    for role, name in names.items():
        if header.count(name) == 1:
            continue
        if name in header:
            raise FlowGradError(f"{_named(file)}: column {name!r} is there {header.count(name)} times; rename one")
        raise FlowGradError(
            f"{_named(file)} has no column {name!r}{_did_you_mean(name, header)}; split by {separator!r} its columns "
            f"are {', '.join(map(repr, header))}; set dataset.columns.{role} or dataset.separator"
        )
    return {role: header.index(name) for role, name in names.items()}


def _parse(
    records: Iterable[tuple[int, list[str] | _BadRowError]], positions: Mapping[str, int], n_fields: int
) -> tuple[list[_Row], list[_Dropped]]:
    rows: list[_Row] = []
    dropped: list[_Dropped] = []
    for line, record in records:
        try:
            rows.append(_row(record, positions, n_fields))
        except _BadRowError as error:
            dropped.append(_Dropped(line, str(error)))
    return rows, dropped


def _row(record: list[str] | _BadRowError, positions: Mapping[str, int], n_fields: int) -> _Row:
    if isinstance(record, _BadRowError):
        raise record
    if len(record) != n_fields:
        raise _BadRowError("wrong number of fields")
    text = {role: record[position] for role, position in positions.items()}
    for role in ("user", "item"):
        if not text[role].strip():
            raise _BadRowError(f"missing {role} id")
    timestamp = _timestamp(text["timestamp"]) if "timestamp" in text else None
    return _Row(text["user"], text["item"], _rating(text["rating"]), timestamp)


def _rating(text: str) -> float:
    number = _finite(text)
    if number is None:
        raise _BadRowError("rating is not a finite number")
    return number


def _timestamp(text: str) -> int | float:
    # Whole numbers stay integers: a float64 would merge timestamps in nanoseconds.
    stripped = text.strip()
    number = _finite(stripped)
    if number is not None:
        whole = stripped.removeprefix("-").isdecimal() and len(stripped) <= _INT64_DIGITS and abs(number) < 2**63
        return int(stripped) if whole else number
    try:
        moment = datetime.fromisoformat(stripped)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise _BadRowError("timestamp is neither a finite number nor an ISO date") from None


def _finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    # float("1_5") is 15: Python's digit grouping, which no data file means.
    return number if math.isfinite(number) and "_" not in text else None


def _to_ratings(file: Path, rows: list[_Row]) -> Ratings:
    times = [index if row.timestamp is None else row.timestamp for index, row in enumerate(rows)]
    return encode_ratings(
        name=file.stem,
        source=str(file),
        users=[row.user for row in rows],
        items=[row.item for row in rows],
        ratings=np.array([row.rating for row in rows]),
        timestamps=np.array(times),
    )


def _summary(dropped: list[_Dropped], n_kept: int) -> str:
    reasons = ", ".join(f"{reason}: {count}" for reason, count in Counter(row.reason for row in dropped).most_common())
    lines = ", ".join(str(row.line) for row in dropped[:_LINES_NAMED])
    more = ", ..." if len(dropped) > _LINES_NAMED else ""
    plural = "s" if len(dropped) > 1 else ""
    return f"dropped {len(dropped)} of {len(dropped) + n_kept} rows ({reasons}) on line{plural} {lines}{more}"


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    by_folded = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    return f" (did you mean {by_folded[close[0]]!r}?)" if close else ""


def _named(file: Path) -> str:
    return f"ratings file {str(file)!r}"
