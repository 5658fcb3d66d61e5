"""CSV files that somebody may have cut or edited, read so that an error names the file and the line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from flowgrad.errors import EvidenceError


def read_lines(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Header and lines of a CSV file as text, each with the number of its last line in the file; empty lines are left
    out.

    Raises:
        EvidenceError: as `FILE: ...` or `FILE:LINE: ...`, a file that cannot be read, that is empty, or in which a line
            has more or fewer fields than the header.
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
        text = Path(path).read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = (error.strerror or error) if isinstance(error, OSError) else "it is no UTF-8 text"
        raise EvidenceError(f"{path}: cannot be read: {reason}") from error
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
    """A CSV file as a table.

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
    """Place and text of the first value that is none; the first of all where each is one, as of an empty column."""
    wrong = np.flatnonzero(pd.to_numeric(column, errors="coerce").isna() & column.notna())
    place = int(wrong[0]) if len(wrong) else 0
    return place, str(column.iloc[place])[:80] if len(column) else ""
