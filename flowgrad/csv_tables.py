"""Reads CSV files that somebody may have cut, edited or swollen, with bounds; an error names the file and the line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flowgrad.errors import EvidenceError
from flowgrad.files import read_bounded
from flowgrad.lazy import LazyModule

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")  # imported where a table is made

MOST_BYTES = 16 << 20
"""Number of bytes that a table may have: a hundred thousand lines of ten figures."""
MOST_COLUMNS = 1_000
"""Number of columns that the first line may name."""
LONGEST_LINE = 1 << 16
"""Number of bytes of one line."""
_CELLS_PER_BYTE = 4
"""Number of fields that a byte may stand for; in a table whose lines are whole each takes a byte itself."""


def read_lines(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Read header and lines of a CSV file as text, each with the number of its last line in the file; empty lines are
    left out.

    Raises:
        EvidenceError: as `FILE: ...` or `FILE:LINE: ...`, a file that cannot be read, that is empty or too large
            (`MOST_BYTES`, `MOST_COLUMNS`, `LONGEST_LINE`), or in which a line has more or fewer fields than the header.
    """
    rows = _rows(path)
    wanted = len(rows[0][1])
    for number, values in rows:
        if len(values) != wanted:
            raise EvidenceError(
                f"{path}:{number}: {len(values)} fields, and the header has {wanted}; the file was cut or edited"
            )
        yield number, values


def _rows(path: str | Path) -> list[tuple[int, list[str]]]:
    try:
        data = read_bounded(path, MOST_BYTES)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or error) if isinstance(error, OSError) else "it is no UTF-8 text"
        raise EvidenceError(f"{path}: cannot be read: {reason}") from error
    try:
        check_shape(data, b",", MOST_COLUMNS)
    except ValueError as error:
        raise EvidenceError(f"{path}: {error}") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    found: list[tuple[int, list[str]]] = []
    try:
        found.extend((reader.line_num, values) for values in reader if values)
    except csv.Error as error:
        raise EvidenceError(f"{path}:{reader.line_num}: no CSV: {error}") from error
    if not found:
        raise EvidenceError(f"{path}:1: no evidence: it is empty, and a header is to stand there")
    return found


def read_table(path: str | Path, columns: Iterable[str] = (), numbers: Sequence[str] = ()) -> pd.DataFrame:
    """Read a CSV file as a table.

    Args:
        path: of the file.
        columns: that it must have.
        numbers: those of them that must hold numbers; an empty field is NaN.

    Raises:
        EvidenceError: as `read_lines`; a column is missing, stands twice, or holds something else than numbers.
    """
    rows = list(read_lines(path))
    header = rows[0][1]
    needed = [*columns, *numbers]
    if missing := [name for name in needed if name not in header]:
        raise EvidenceError(f"{path}:1: there is no column {missing[0]!r}; there are {', '.join(header)[:300]}")
    if twice := [name for name in header if header.count(name) > 1]:
        raise EvidenceError(f"{path}:1: the column {twice[0]!r} stands twice")
    try:
        table = pd.read_csv(path, encoding="utf-8-sig", index_col=False, low_memory=False)
    except (OSError, ValueError, OverflowError) as error:
        raise EvidenceError(f"{path}: cannot be read: {' '.join(str(error).split())[:300]}") from error
    if len(table) != len(rows) - 1:
        raise EvidenceError(f"{path}: {len(rows) - 1} lines, of which {len(table)} are a table's; it was edited")
    for name in numbers:
        if not pd.api.types.is_numeric_dtype(table[name]) or table[name].dtype == bool:
            place, told = _no_number(table[name])
            line = rows[place + 1][0] if place + 1 < len(rows) else 1
            raise EvidenceError(f"{path}:{line}: {name} is {told!r}, and must be a number")
        if pd.api.types.is_float_dtype(table[name]):  # to the last digit, which pandas does not promise
            place = header.index(name)
            known = table[name].notna()
            table[name] = [
                float(row[place]) if told else np.nan for (_, row), told in zip(rows[1:], known, strict=True)
            ]
    return table


def _no_number(column: pd.Series) -> tuple[int, str]:
    """Place and text of the first value that is no number; the first of all where each is one, as in an empty
    column.
    """
    wrong = np.flatnonzero(pd.to_numeric(column, errors="coerce").isna() & column.notna())
    place = int(wrong[0]) if len(wrong) else 0
    return place, str(column.iloc[place])[:80] if len(column) else ""


def check_shape(data: bytes, separator: bytes, columns: int) -> None:
    """Refuse text that would make a larger table than it is itself: pandas fills short lines up.

    Args:
        data: the text.
        separator: between fields.
        columns: that the first line may have.

    Raises:
        ValueError: the message says what is too much.
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
    """Number, from 1, of the first line that has more than `most` bytes (or characters); None where there is none."""
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
