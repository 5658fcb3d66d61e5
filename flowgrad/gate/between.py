"""Finds rows that were made from two others, as SMOTE makes them: they stand on the straight line through both.

Chawla et al. 2002 (JAIR 16:321): a new row of the rare class is x + t (x' - x) of two of its rows near each other.
Where rows are made before the data are split, a held-out row stands between two training rows, or a training row
between a held-out row and another. Measured rows of three or more columns hardly ever do.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flowgrad.gate.rows import OTHER, WHOLE, Rows, columns_of, numbers_of, rows_of

Floats = NDArray[np.float64]

FINE, LEAST_FINE, MOST_FINE = 100, 3, 50
"""Number of values from which a column tells rows apart, and of such columns that rows are looked at in: at least, and
at most.
"""
MOST_CLASSES, LEAST_ROWS, MOST_ROWS = 20, 20, 300
"""Number of classes at most, of held-out rows of one that are needed, and of those that are looked at."""
NEIGHBOURS = 24
"""Number of rows of its class nearest to a row that are looked at: SMOTE draws of the 5 nearest measured ones, and puts
rows in between.
"""
MOST_SOUGHT = 5000
"""Number of rows of a class among which neighbours are sought."""
SAME = 1e-6
"""Distance, in standard deviations of the columns, up to which two rows are one."""
STRAIGHT = 1e-9
"""Difference of the size of a cosine from 1 up to which three rows are on a line: what float32 leaves of one."""


class Between(NamedTuple):
    """Rows of a class that are on a straight line with two others of it."""

    share: float = math.nan
    """Share of the rows of the class, less that of the largest class: where rows are on lines by nature, because all
    columns follow one, its rows are, too. NaN where it is not known.
    """
    rows: int = 0
    """Number of rows of the class."""


def rows_between(before: Any, after: Any) -> Between:
    """Find rows of a part that are on a straight line with two others of their class of which one, at least, is of the
    other part: of the class with most, but the largest. It is not known where there are no classes, too few rows of the
    others, or too few columns of many values.

    Args:
        before: columns of the part that is trained on, the class last.
        after: the same of the part that is tested on.
    """
    one, other = columns_of(before), columns_of(after)
    rows = rows_of(one, other)
    return _between(rows, np.arange(len(one[0]) + len(other[0])) >= len(one[0]))


def rows_within(rows: Rows) -> Between:
    """Find rows that are on a straight line with two others of their class, of one table.

    Args:
        rows: columns, and the class last.
    """
    return _between(rows, None)


def _between(rows: Rows, held_out: NDArray[np.bool_] | None) -> Between:
    classes, of = np.unique(rows.keys[-1], return_inverse=True)
    if not 2 <= len(classes) <= MOST_CLASSES:
        return Between()
    columns = zip(rows.keys[:-1], rows.kinds[:-1], strict=True)
    fine: list[Floats] = [
        np.asarray(column.view(np.int64) if kind == WHOLE else column.view(np.float64), dtype=float)
        for column, kind in columns
        if kind != OTHER and len(np.unique(numbers_of(column, kind))) >= FINE
    ]
    if len(fine) < LEAST_FINE:
        return Between()
    table = np.stack(fine[:MOST_FINE], 1)
    known = np.isfinite(table).all(1)
    if not known.any():
        return Between()
    asked = known if held_out is None else known & held_out
    with np.errstate(over="ignore", invalid="ignore"):
        table = (table - table[known].mean(0)) / table[known].std(0)
    counts, shares = np.bincount(of[asked], minlength=len(classes)), {}
    for number in np.flatnonzero(counts >= LEAST_ROWS).tolist():
        own = known & (of == number)
        shares[number] = _on_lines(table[own], None if held_out is None else held_out[own])
    largest = shares.pop(int(np.argmax(np.bincount(of))), math.nan)
    if not shares or math.isnan(largest):
        return Between()
    most = max(shares, key=lambda number: shares[number])
    return Between(max(shares[most] - largest, 0.0), int(counts[most]))


def _on_lines(table: Floats, held_out: NDArray[np.bool_] | None) -> float:
    """Share of the rows, of those held out where there are some, that are on a line with two rows near them, one of
    them of training.
    """
    rng = np.random.default_rng(0)
    if len(table) > MOST_SOUGHT:
        kept = np.sort(rng.choice(len(table), MOST_SOUGHT, replace=False))
        table, held_out = table[kept], None if held_out is None else held_out[kept]
    places = np.arange(len(table)) if held_out is None else np.flatnonzero(held_out)
    if len(places) > MOST_ROWS:
        places = rng.choice(places, MOST_ROWS, replace=False)
    trained = np.full(len(table), True) if held_out is None else ~held_out
    return float(np.mean([_on_a_line(table, trained, int(place)) for place in places]))


def _on_a_line(table: Floats, trained: NDArray[np.bool_], place: int) -> bool:
    """Whether a row is on a line with two rows near it of which one, at least, was trained on."""
    away = table - table[place]
    lengths = np.sqrt((away**2).sum(1))
    near = np.argsort(lengths)[: NEIGHBOURS + 1]
    near = near[lengths[near] > SAME]
    directions = away[near] / lengths[near, None]
    straight = np.abs(np.abs(directions @ directions.T) - 1) < STRAIGHT
    np.fill_diagonal(straight, False)
    return bool(straight[trained[near]].any())
