"""Tables of comma-separated values, read with bounds."""

from __future__ import annotations

import io
import os
from typing import Any

import pandas as pd

from flowgrad.files import read_bounded

MOST_BYTES = 16 << 20
"""Of a table, where nothing else is said: a hundred thousand lines of ten figures."""
MOST_COLUMNS = 1_000
"""Named in the first line."""
LONGEST_LINE = 1 << 16
"""Bytes of one line."""
_CELLS_PER_BYTE = 4
"""Fields that a byte may stand for; in a table whose lines are whole each takes a byte itself."""


def read_csv(path: str | os.PathLike[str], most: int = MOST_BYTES, **given: Any) -> pd.DataFrame:
    """A table from a plain file of at most `most` bytes, as `parse_csv`.

    Raises:
        OSError: as `flowgrad.files.read_bounded`.
        ValueError: as `parse_csv`.
    """
    return parse_csv(read_bounded(path, most), **given)


def parse_csv(data: bytes, **given: Any) -> pd.DataFrame:
    """A table from UTF-8 text with a header, as `pandas.read_csv` reads it.

    Args:
        data: the text, which the caller has bounded.
        given: for `pandas.read_csv`.

    Raises:
        ValueError: it is no table, no UTF-8 text, or has a line or a header that is too long.
    """
    if data.partition(b"\n")[0].count(b'"') % 2:
        raise ValueError("a quote is open at the end of the first line, which must name the columns")
    check_shape(data, b",", MOST_COLUMNS)
    return pd.read_csv(io.BytesIO(data), **given)


def check_shape(data: bytes, separator: bytes, columns: int) -> None:
    """Refuse text that would make a larger table than it is itself: pandas fills short lines up.

    Args:
        data: the text.
        separator: between fields.
        columns: that the first line may have.

    Raises:
        ValueError: says what is too much.
    """
    if (line := long_line(data, LONGEST_LINE)) is not None:
        raise ValueError(f"line {line} has more than {LONGEST_LINE} bytes")
    found = 1 + data.partition(b"\n")[0].count(separator)
    if found > columns:
        raise ValueError(f"the first line has {found} columns; at most {columns} are read")
    lines = 1 + data.count(b"\n") + data.count(b"\r")
    if found * lines > _CELLS_PER_BYTE * len(data) + MOST_COLUMNS:
        raise ValueError(f"most of its {lines} lines are shorter than the first, which has {found} columns")


def long_line(data: bytes | str, most: int) -> int | None:
    """Number, from 1, of the first line that has more than `most` bytes (or characters); None where none has."""
    ends: Any = (b"\n", b"\r") if isinstance(data, bytes) else ("\n", "\r")
    at = 0
    while len(data) - at > most:
        # From one line end to the last one within reach: lines themselves are not counted, so this takes no time.
        after = max(data.rfind(end, at, at + most + 1) for end in ends)
        if after < 0:
            before = data[:at]
            return 1 + before.count(ends[0]) + before.count(ends[1]) - before.count(ends[1] + ends[0])
        at = after + 1
    return None
