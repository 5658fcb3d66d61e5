"""Reads ratings from a text file with one rating a line, in any column order and with any ids."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pandas import DataFrame

from datasets.duplicates import CHOICES, count_duplicates, resolved
from datasets.given_paths import given_path
from datasets.id_spellings import rounded_ids, spelled_twice
from datasets.ratings import LARGEST_RATING, Ratings, encode_ratings
from datasets.ratings_columns import checked_columns, checked_header, did_you_mean, located
from datasets.ratings_text import Record, checked_quote, checked_separator, named, read_text, records, shortened
from datasets.ratings_times import check_times, finite, parsed_times
from datasets.unreadable_rows import (
    BAD_LENGTH,
    BAD_RATING,
    BAD_TIME,
    LARGE_RATING,
    BadRow,
    refuse_few_left,
    refuse_or_warn,
)
from flowgrad.errors import FlowGradError

_LINES_NAMED = 5

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Row:
    """A row that can be used, save perhaps for its time."""

    line: int
    user: str
    item: str
    rating: float
    time: str | int | float
    """Timestamp as it stands in the file, until it is read; empty where there is no timestamp column."""


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
    max_dropped_share: float = 0.95,
    duplicates: str = "error",
) -> Ratings:
    r"""Read ratings from the text file `path`.

    - Ids are text, exactly as they stand: "007" and "7" are two users, and so are "ann" and "ann ".
    - Ratings are finite numbers, of at most `LARGEST_RATING` in size: a model's numbers of 32 bits hold no squares of
      larger ones. Without a rating column (absent or None in `columns`) every row counts
      as an interaction of rating 1, and `Ratings.rated` is False.
    - Timestamps are numbers, kept as they are, or dates, turned into seconds since 1970 (UTC where they name no
      offset): ISO 8601 ("2001-01-31", "2001-01-31 10:00:00 UTC"), with the month's name ("31 Jan 2001"), or
      "01/31/2001 10:00" and "31/01/2001 10:00" where the whole column shows which is day and which is month. A run of
      digits is a
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
        separator: text between fields, one or several characters; an escape such as `\t` is understood.
        header: whether the first row names the columns. "auto": it does where `columns` gives a name; where it gives
            numbers only, the first rows decide.
        encoding: any that Python knows; "utf-8" takes a file with or without a byte order mark.
        quote: character that fields may be quoted with; None where quotes are text.
        decimal: decimal mark of numbers, "." or ",".
        timestamp_format: strptime format of all timestamps; None reads those named above.
        timestamp_unit: of timestamps that are numbers. "auto" keeps them and refuses a mixture of seconds with
            milliseconds and the like; "s", "ms", "us" or "ns" makes them seconds; "mixed" takes each by its size.
        max_bad_share: the largest share of rows, 0 to 1, that may be dropped because they cannot be read.
        max_dropped_share: the largest share of rows, 0 to 1, that may be dropped in all, for that or as repeated
            pairs: the rest of a file that was read wrongly proves nothing.
        duplicates: what is done about (user, item) pairs that occur more than once. "error" refuses the file;
            "drop" keeps the earliest row of a pair, "last" the latest, "mean" the latest with the mean of the ratings;
            "keep" keeps all rows, which the splits then leave in one part. All but "error" log a warning.

    Raises:
        FlowGradError: the file is missing, unreadable, empty, of another encoding, or has too many bad rows; a column
            is missing or is there twice; timestamps are ambiguous or of several units; pairs are repeated; a setting
            is of no use; or a quote is never closed. Errors call an argument by its name in a config,
            `dataset.encoding` for `encoding`.
    """
    file = given_path("dataset.path", path)
    given, has_header = checked_columns(columns), checked_header(header)
    quoted = checked_quote(quote or None)
    mark = checked_separator(separator, quoted)
    check_times(timestamp_format, timestamp_unit)
    _check_choices(decimal, {"max_bad_share": max_bad_share, "max_dropped_share": max_dropped_share}, duplicates)
    found = list(records(read_text(file, encoding), mark, quoted, file))
    if not found:
        raise FlowGradError(f"{named(file)} is empty; expected one rating a line, below a header or without one")
    positions, has_header = located(given, has_header, found, mark, file)
    rows, dropped = _parsed(found[1:] if has_header else found, positions, len(found[0].fields), decimal)
    timed = "timestamp" in positions
    if timed:
        rows, late = _with_times(rows, named(file), timestamp_format, timestamp_unit, decimal)
        dropped = sorted([*dropped, *late], key=lambda bad: bad.line)
    refuse_or_warn(file, dropped, len(rows), max_bad_share, decimal)
    frame = DataFrame(
        {
            "user": np.array([row.user for row in rows], dtype=object),
            "item": np.array([row.item for row in rows], dtype=object),
            "rating": [row.rating for row in rows],
            "timestamp": np.array([row.time for row in rows]) if timed else np.arange(len(rows)),
            "line": [row.line for row in rows],
        }
    )
    _check_ids(file, frame, timed, duplicates)
    read = len(frame)
    frame, repeated = _without_duplicates(file, frame, timed, duplicates)
    refuse_few_left(file, dropped, read + len(dropped), len(frame), max_dropped_share, repeated)
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


def _check_choices(decimal: str, shares: Mapping[str, float], duplicates: str) -> None:
    if decimal not in (".", ","):
        raise FlowGradError(f"""dataset.decimal={decimal!r}: expected "." or ",", as in 'dataset.decimal=","'""")
    for key, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise FlowGradError(f"dataset.{key}={share!r}: must lie between 0 and 1")
    if duplicates not in CHOICES:
        raise FlowGradError(
            f"dataset.duplicates={duplicates!r} is unknown{did_you_mean(str(duplicates), CHOICES)}; "
            f"use {', '.join(CHOICES)}"
        )


def _parsed(
    found: Sequence[Record], positions: Mapping[str, int], n_fields: int, decimal: str
) -> tuple[list[_Row], list[BadRow]]:
    rows: list[_Row] = []
    dropped: list[BadRow] = []
    for record in found:
        row = _row(record, positions, n_fields, decimal)
        (rows if isinstance(row, _Row) else dropped).append(row)  # type: ignore[arg-type]
    return rows, dropped


def _row(record: Record, positions: Mapping[str, int], n_fields: int, decimal: str) -> _Row | BadRow:
    """Read the row with its rating as a number, or say why it cannot be used."""
    if record.fault:
        return BadRow(record.line, record.fault, record.fields[0])
    if len(record.fields) != n_fields:
        reason = f"{BAD_LENGTH} ({len(record.fields)} and not {n_fields})"
        return BadRow(record.line, reason, " | ".join(record.fields))
    text = {role: record.fields[position] for role, position in positions.items()}
    for role, value in text.items():
        if not value.strip():
            return BadRow(record.line, f"missing {role}{' id' if role in ('user', 'item') else ''}", "")
    rating = finite(text["rating"], decimal) if "rating" in text else 1.0
    if rating is None:
        return BadRow(record.line, BAD_RATING, text["rating"])
    if abs(rating) > LARGEST_RATING:
        return BadRow(record.line, LARGE_RATING, text["rating"])
    return _Row(record.line, text["user"], text["item"], rating, text.get("timestamp", ""))


def _with_times(
    rows: list[_Row], where: str, date_format: str | None, unit: str, decimal: str
) -> tuple[list[_Row], list[BadRow]]:
    """Read the times of rows as numbers; return also the rows whose time cannot be read."""
    texts = [str(row.time) for row in rows]
    times = parsed_times(texts, [row.line for row in rows], where, date_format, unit, decimal)
    form = f"not of the form {date_format}" if date_format else "neither a finite number nor a date of a known form"
    read = [replace(row, time=time) for row, time in zip(rows, times, strict=True) if time is not None]
    pairs = zip(rows, texts, times, strict=True)
    return read, [BadRow(row.line, f"{BAD_TIME} {form}", text) for row, text, time in pairs if time is None]


def _check_ids(file: Path, frame: DataFrame, timed: bool, how: str) -> None:
    """Refuse ratings that stand there under two spellings of an id, unless `how` is "keep"; warn of rounded ids.

    Without times two users who rate an item alike cannot be told from one, and nothing is said.
    """
    if rounded := rounded_ids(frame):
        _logger.warning("%s: %s", named(file), rounded)
    if not timed or not (twice := spelled_twice(frame)):
        return
    if how == "keep":
        _logger.warning("%s: %s; dataset.duplicates=keep: all are kept", named(file), twice)
        return
    raise FlowGradError(
        f"{named(file)}: {twice}; a model must not be tested on a rating that it was trained on: write each id in one "
        "way (as where a file that was read as numbers was joined to one that was read as text), or keep them all with "
        "dataset.duplicates=keep"
    )


def _without_duplicates(file: Path, frame: DataFrame, timed: bool, how: str) -> tuple[DataFrame, str]:
    """Resolve repeated pairs in the frame; return also a text on them, which is logged with what was done.

    Raises:
        FlowGradError: there are repeated pairs, and `how` is "error".
    """
    found = count_duplicates(frame, timed)
    if not found:
        return frame, ""
    repeated = frame[frame.duplicated(["user", "item"], keep=False)]
    user, item = repeated.iloc[0][["user", "item"]]
    lines = repeated.loc[(repeated["user"] == user) & (repeated["item"] == item), "line"].tolist()
    told = (
        f"{named(file)}: {found.pairs} (user, item) pairs occur more than once, in {found.rows} of {len(frame)} rows "
        f"({found.copies} are exact copies of an earlier one), such as user {shortened(user)}, item {shortened(item)} "
        f"on lines {', '.join(map(str, lines[:_LINES_NAMED]))}{', ...' if len(lines) > _LINES_NAMED else ''}"
    )
    if how == "error":
        told += f"; {rounded}" if (rounded := rounded_ids(frame)) else ""
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
    return kept, told
