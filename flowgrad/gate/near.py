"""Rounds rows, so that copies which are equal but for noise, or but for one column of their own, become equal rows.

A row that is written down again often differs from the first one: by the rounding of another format, by noise that was
added to it, by the time at which it was written.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowgrad.gate.rows import NUMBER, Keys, Rows, hashes, mixed

CELL = 1e-3
"""Width of a cell as a share of the middle half of a column: values in one cell agree in three digits of what tells
rows apart. Formats keep six digits or more, so that copies seldom stand in two cells.
"""
FINE = 100
"""Number of values from which a column tells rows apart."""
LEAST_FINE = 3
"""Number of such columns from which rows that agree in all of them are looked at."""
_GAIN = 0.05
"""Share of the rows that must become equal where one column is left out, or it is not."""


def rounded(rows: Rows) -> Rows:
    """Round numbers with a fraction to cells of `CELL` of the middle half of their column; other columns stay."""
    pairs = zip(rows.keys, rows.kinds, strict=True)
    keys = [_cells(column) if kind == NUMBER else column for column, kind in pairs]
    return Rows(np.array(keys, dtype=np.uint64), rows.kinds)


def nearly(rows: Rows) -> tuple[Rows, int | None] | None:
    """Rows in cells, without the one column in which those that are otherwise equal differ, such as a time.

    Args:
        rows: columns, and the target last, which is never left out.

    Returns:
        The rows, and the place of the column that was left out, or None of it; None where too few columns tell rows
        apart.
    """
    columns = len(rows.keys) - 1
    near = rounded(rows)
    fine = [place for place in range(columns) if len(np.unique(near.keys[place])) >= FINE]
    if len(fine) < LEAST_FINE:
        return None
    own = _own_column(near, fine)
    if own is None:
        return near, None
    if len(fine) <= LEAST_FINE:
        return None
    kept = [place for place in range(columns + 1) if place != own]
    return Rows(near.keys[kept], tuple(near.kinds[place] for place in kept)), own


def _own_column(rows: Rows, fine: list[int]) -> int | None:
    """The column without which most rows become equal, if they are many; None where all columns may stay."""
    # A sum of hashes of single columns: any one of them can be taken out again.
    each = [mixed(hashes(rows.keys[place : place + 1]) + np.uint64(place + 1)) for place in range(len(rows.keys))]
    total = np.zeros(rows.keys.shape[1], dtype=np.uint64)
    for column in each:
        total += column
    least = _repeats(total) + _GAIN * len(total)
    counts = [_repeats(total - each[place]) for place in fine]
    best = int(np.argmax(counts))
    return fine[best] if counts[best] > least else None


def _repeats(keys: Keys) -> int:
    return len(keys) - len(pd.unique(keys))


def _cells(column: Keys) -> Keys:
    """Number of the cell of each value; the column itself where it holds whole numbers or hardly varies."""
    values = column.view(np.float64)
    finite = values[np.isfinite(values)]
    if not len(finite) or (finite == np.round(finite)).all():
        return column
    low, middle, high = np.quantile(finite, (0.25, 0.5, 0.75))
    width = CELL * (high - low)
    if not np.isfinite(width) or width <= np.spacing(max(abs(low), abs(high))):
        return column
    with np.errstate(over="ignore"):
        cells: NDArray[np.float64] = np.round((values - middle) / width) + 0.0
    cells[np.isnan(cells)] = np.nan
    return cells.view(np.uint64)
