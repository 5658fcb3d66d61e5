"""Ratings from a text file with one rating a line, in any column order and with any ids."""

import logging
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pandas import DataFrame

from datasets.duplicates import CHOICES, count_duplicates, resolved
from datasets.ratings import Ratings, encode_ratings
from datasets.ratings_columns import checked_columns, checked_header, did_you_mean, located
from datasets.ratings_text import Record, checked_quote, checked_separator, named, read_text, records, shortened
from datasets.ratings_times import check_times, finite, parsed_times
from flowgrad.errors import FlowGradError

_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d*,\d+\s*", re.ASCII)
_BAD_RATING = "rating is not a finite number"
_BAD_TIME = "timestamp is neither a finite number nor a date that is known"
_BAD_LENGTH = "wrong number of fields"
_LINES_NAMED = 5

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Row:
    """A row that can be used, save perhaps for its time."""

    line: int
    user: str
    item: str
    rating: float
    time: str
    """As it stands in the file; empty where there is no timestamp column."""


@dataclass(frozen=True)
class _Dropped:
    """A row that cannot be used."""

    line: int
    reason: str
    """Why, in words that rows of the same kind share."""
    value: str
    """What stands there; empty where nothing does."""


def load_ratings_csv(
    path: str | Path,
    columns: Mapping[str, str | int | None],
    separator: str = ",",
    *,
    header: bool | str = "auto",
    encoding: str = "utf-8",
    quote: str | None = '"',
    decimal: str = ".",
    timestamp_format: str | None = None,
    timestamp_unit: str = "auto",
    max_bad_share: float = 0.01,
    duplicates: str = "error",
) -> Ratings:
    r"""Ratings from the text file `path`.

    - Ids are text, exactly as they stand: "007" and "7" are two users, and so are "ann" and "ann ".
    - Ratings are finite numbers of any scale. Without a rating column (absent or None in `columns`) every row counts
      as an interaction of rating 1, and `Ratings.rated` is False.
    - Timestamps are numbers, kept as they are, or dates, turned into seconds since 1970 (UTC where they name no
      offset): ISO 8601 ("2001-01-31", "2001-01-31 10:00:00 UTC"), with the month's name ("31 Jan 2001"), or
      "01/31/2001 10:00" and "31/01/2001 10:00" where the whole column tells day from month. A run of digits is a
      number: "20240131" is a date only by `timestamp_format`.
    - Without a timestamp column the order of the file is the order in time, the timestamps are 0, 1, 2, ... over the
      rows kept, and `Ratings.timed` is False.
    - Empty lines do not count as rows.

    A row with a missing id (empty or blank), a rating or a timestamp that is not as above, or a wrong number of fields
    is dropped; how many, why, and the first of each kind are logged in one warning. Above `max_bad_share` the file is
    refused instead.

    Args:
        path: the file.
        columns: "user", "item", "rating", "timestamp" -> the column's name in the header, or its number from 0; None
            for a rating or timestamp that the file does not have.
        separator: what stands between fields, one or several characters; an escape such as `\t` is understood.
        header: whether the first row names the columns. "auto": it does where `columns` gives a name; where it gives
            numbers only, the first rows tell.
        encoding: any that Python knows; "utf-8" takes a file with or without a byte order mark.
        quote: what fields may be quoted with; None where quotes are text.
        decimal: decimal mark of numbers, "." or ",".
        timestamp_format: strptime format of all timestamps; None reads those named above.
        timestamp_unit: of timestamps that are numbers. "auto" keeps them and refuses a mixture of seconds with
            milliseconds and the like; "s", "ms", "us" or "ns" makes them seconds; "mixed" takes each by its size.
        max_bad_share: the largest share of rows, 0 to 1, that may be dropped.
        duplicates: what is done about (user, item) pairs that occur more than once. "error" refuses the file;
            "drop" keeps the earliest row of a pair, "last" the latest, "mean" the latest with the mean of the ratings;
            "keep" keeps all rows, which the splits then leave in one part. All but "error" log a warning.

    Raises:
        FlowGradError: the file is missing, unreadable, empty, of another encoding, or has too many bad rows; a column
            is missing or is there twice; timestamps are ambiguous or of several units; pairs are repeated; a setting
            is of no use; or a quote is never closed. Errors call an argument by its name in a config,
            `dataset.encoding` for `encoding`.
    """
    file = Path(path).expanduser()
    given, has_header = checked_columns(columns), checked_header(header)
    quoted = checked_quote(quote or None)
    mark = checked_separator(separator, quoted)
    check_times(timestamp_format, timestamp_unit)
    _check_choices(decimal, max_bad_share, duplicates)
    found = list(records(read_text(file, encoding), mark, quoted, file))
    if not found:
        raise FlowGradError(f"{named(file)} is empty; expected one rating a line, below a header or without one")
    positions, has_header = located(given, has_header, found, mark, file)
    rows, dropped = _parsed(found[1:] if has_header else found, positions, len(found[0].fields), decimal)
    if "timestamp" in positions:
        lines = [row.line for row in rows]
        times = parsed_times([row.time for row in rows], lines, named(file), timestamp_format, timestamp_unit, decimal)
        late = [_Dropped(row.line, _BAD_TIME, row.time) for row, time in zip(rows, times, strict=True) if time is None]
        rows = [row for row, time in zip(rows, times, strict=True) if time is not None]
        dropped = sorted([*dropped, *late], key=lambda bad: bad.line)
        moments = np.array([time for time in times if time is not None])
    else:
        moments = np.arange(len(rows))
    _refuse_bad(file, dropped, len(rows), max_bad_share, decimal)
    frame = DataFrame(
        {
            "user": np.array([row.user for row in rows], dtype=object),
            "item": np.array([row.item for row in rows], dtype=object),
            "rating": [row.rating for row in rows],
            "timestamp": moments,
            "line": [row.line for row in rows],
        }
    )
    timed = "timestamp" in positions
    frame = _without_duplicates(file, frame, timed, duplicates)
    return encode_ratings(
        name=file.stem,
        source=str(file),
        users=frame["user"].to_numpy(dtype=object),
        items=frame["item"].to_numpy(dtype=object),
        ratings=frame["rating"].to_numpy(),
        timestamps=frame["timestamp"].to_numpy() if timed else np.arange(len(frame)),
        rated="rating" in positions,
        timed=timed,
    )


def _check_choices(decimal: str, max_bad_share: float, duplicates: str) -> None:
    if decimal not in (".", ","):
        raise FlowGradError(f"""dataset.decimal={decimal!r}: expected "." or ",", as in 'dataset.decimal=","'""")
    if isinstance(max_bad_share, bool) or not isinstance(max_bad_share, int | float) or not 0 <= max_bad_share <= 1:
        raise FlowGradError(f"dataset.max_bad_share={max_bad_share!r}: must lie between 0 and 1")
    if duplicates not in CHOICES:
        raise FlowGradError(
            f"dataset.duplicates={duplicates!r} is unknown{did_you_mean(str(duplicates), CHOICES)}; "
            f"use {', '.join(CHOICES)}"
        )


def _parsed(
    found: Sequence[Record], positions: Mapping[str, int], n_fields: int, decimal: str
) -> tuple[list[_Row], list[_Dropped]]:
    rows: list[_Row] = []
    dropped: list[_Dropped] = []
    for record in found:
        row = _row(record, positions, n_fields, decimal)
        (rows if isinstance(row, _Row) else dropped).append(row)  # type: ignore[arg-type]
    return rows, dropped


def _row(record: Record, positions: Mapping[str, int], n_fields: int, decimal: str) -> _Row | _Dropped:
    """The row with its rating as a number, or why it cannot be used."""
    if record.fault:
        return _Dropped(record.line, record.fault, record.fields[0])
    if len(record.fields) != n_fields:
        reason = f"{_BAD_LENGTH} ({len(record.fields)} and not {n_fields})"
        return _Dropped(record.line, reason, " | ".join(record.fields))
    text = {role: record.fields[position] for role, position in positions.items()}
    for role, value in text.items():
        if not value.strip():
            return _Dropped(record.line, f"missing {role}{' id' if role in ('user', 'item') else ''}", "")
    rating = finite(text["rating"], decimal) if "rating" in text else 1.0
    if rating is None:
        return _Dropped(record.line, _BAD_RATING, text["rating"])
    return _Row(record.line, text["user"], text["item"], rating, text.get("timestamp", ""))


def _refuse_bad(file: Path, dropped: list[_Dropped], n_kept: int, max_bad_share: float, decimal: str) -> None:
    """Log a warning about the dropped rows, or refuse the file for them."""
    n_rows = len(dropped) + n_kept
    if not n_kept:
        what = f"{n_rows} of {n_rows} rows: {_reasons(dropped)}" if dropped else "there is only a header"
        ways = _ways_out(dropped, decimal) or "check the file, dataset.columns and dataset.separator"
        raise FlowGradError(f"{named(file)}: no row can be used ({what}); {ways}")
    if len(dropped) > max_bad_share * n_rows:
        share = math.ceil(1000 * len(dropped) / n_rows) / 1000
        raise FlowGradError(
            f"{named(file)}: {len(dropped)} of {n_rows} rows cannot be read ({_reasons(dropped)}); "
            f"{_ways_out(dropped, decimal)}; dataset.max_bad_share={share:g} leaves them out"
        )
    if dropped:
        _logger.warning("%s: dropped %d of %d rows (%s)", named(file), len(dropped), n_rows, _reasons(dropped))


def _reasons(dropped: list[_Dropped]) -> str:
    """Each reason with how many rows and the first of them, the most frequent reason first."""
    firsts: dict[str, _Dropped] = {}
    for bad in dropped:
        firsts.setdefault(bad.reason, bad)
    counts = Counter(bad.reason for bad in dropped)
    return "; ".join(
        f"{reason}: {count}, first {shortened(firsts[reason].value) + ' ' if firsts[reason].value else ''}"
        f"on line {firsts[reason].line}"
        for reason, count in counts.most_common()
    )


def _ways_out(dropped: list[_Dropped], decimal: str) -> str:
    """The settings that may read these rows."""
    ways = []
    ratings = [bad.value for bad in dropped if bad.reason == _BAD_RATING]
    times = [bad.value for bad in dropped if bad.reason == _BAD_TIME]
    if decimal == "." and any(_DECIMAL_COMMA.fullmatch(value) for value in (*ratings, *times)):
        ways.append("""'dataset.decimal=","' reads a decimal comma""")
    elif ratings:
        ways.append("put numbers there, or name another column with dataset.columns.rating (null: none)")
    if times:
        ways.append(
            """give their form as in 'dataset.timestamp_format="%d.%m.%y %H:%M"', or name another column with """
            "dataset.columns.timestamp (null: none)"
        )
    if any(bad.reason.startswith((_BAD_LENGTH, "not CSV")) for bad in dropped):
        ways.append("check dataset.separator and dataset.quote (null: quotes are text)")
    if any(bad.reason.startswith("missing") for bad in dropped):
        ways.append("check dataset.columns")
    return "; ".join(ways)


def _without_duplicates(file: Path, frame: DataFrame, timed: bool, how: str) -> DataFrame:
    """The frame with repeated pairs put right; what was done is logged.

    Raises:
        FlowGradError: there are repeated pairs, and `how` is "error".
    """
    found = count_duplicates(frame, timed)
    if not found:
        return frame
    repeated = frame[frame.duplicated(["user", "item"], keep=False)]
    user, item = repeated.iloc[0][["user", "item"]]
    lines = repeated.loc[(repeated["user"] == user) & (repeated["item"] == item), "line"].tolist()
    told = (
        f"{named(file)}: {found.pairs} (user, item) pairs occur more than once, in {found.rows} of {len(frame)} rows "
        f"({found.copies} are exact copies of an earlier one), such as user {shortened(user)}, item {shortened(item)} "
        f"on lines {', '.join(map(str, lines[:_LINES_NAMED]))}{', ...' if len(lines) > _LINES_NAMED else ''}"
    )
    if how == "error":
        raise FlowGradError(
            f"{told}; a model must not be tested on a pair that it was trained on: set dataset.duplicates=drop (keeps "
            "the earliest of a pair), last (the latest), mean (the mean rating) or keep (all, in one part of the split)"
        )
    kept = resolved(frame, how)
    done = {
        "keep": "all are kept, and the split puts those of a pair into one part; dataset.duplicates=drop keeps one",
        "drop": "the earliest of each is kept",
        "last": "the latest of each is kept",
        "mean": "the latest of each is kept, with the mean rating",
    }[how]
    _logger.warning("%s; dataset.duplicates=%s: %s, %d rows in all", told, how, done, len(kept))
    return kept
