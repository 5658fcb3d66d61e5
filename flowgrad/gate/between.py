"""Finds rows that were made from two others, as SMOTE makes them: they stand on the straight line through both.

Chawla et al. 2002 (JAIR 16:321): a new row of the rare class is x + t (x' - x) of two of its rows near each other.
Where rows are made before the data are split, a held-out row stands between two training rows, or a training row
between a held-out row and another. Measured rows of three or more columns hardly ever do.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flowgrad.gate.near import FINE, LEAST_FINE
from flowgrad.gate.rows import NUMBER, Rows, columns_of, rows_of

Floats = NDArray[np.float64]

MOST_FINE = 50
"""Number of columns that tell rows apart in which rows are looked at, at most."""
MOST_CLASSES, LEAST_ROWS, MOST_ROWS = 20, 20, 300
"""Number of classes at most, of held-out rows of one that are needed, and of those that are looked at."""
NEIGHBOURS = 24
"""Number of rows of its class nearest to a row that are looked at: SMOTE draws of the 5 nearest measured ones, and puts
rows in between.
"""
MOST_SOUGHT = 5000
"""Number of rows of a class among which neighbours are sought."""
LONGEST, OFF_GRID = 1e4, 0.01
"""Ratio of gaps between values to the least of them from which they are on no grid, and how far from a whole number it
is where they are on none.
"""
ALIKE = 1e-6
"""Difference of the size of a correlation from 1 up to which two columns say the same."""
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
    keyed = zip(rows.keys[:-1], rows.kinds[:-1], strict=True)
    numbers = (key.view(np.float64) for key, kind in keyed if kind == NUMBER)
    fine = list(islice((column for column in numbers if _is_fine(column)), MOST_FINE))
    if len(fine) < LEAST_FINE:
        return Between()
    table = np.stack(fine, 1)
    known = np.isfinite(table).all(1)
    if not known.any():
        return Between()
    asked = known if held_out is None else known & held_out
    with np.errstate(over="ignore", invalid="ignore"):
        table = (table - table[known].mean(0)) / table[known].std(0)
        table = table[:, _apart(table[known])]
    if table.shape[1] < LEAST_FINE:
        return Between()
    own_values = _own_values(table)
    counts, shares = np.bincount(of[asked], minlength=len(classes)), {}
    for number in np.flatnonzero(counts >= LEAST_ROWS).tolist():
        own = known & (of == number)
        shares[number] = _on_lines(table[own], own_values[own], None if held_out is None else held_out[own])
    largest = shares.pop(int(np.argmax(np.bincount(of))), math.nan)
    if not shares or math.isnan(largest):
        return Between()
    most = max(shares, key=lambda number: shares[number])
    return Between(max(shares[most] - largest, 0.0), int(counts[most]))


def _is_fine(column: Floats) -> bool:
    """Whether a column tells rows apart, and its values are no points of a grid, whole numbers or such of few decimals
    in any scale: points of a grid are on lines by chance.
    """
    values = np.unique(column[np.isfinite(column)])
    if len(values) < FINE:
        return False
    gaps = np.sort(np.diff(values))[: len(values) // 2]
    steps = gaps / gaps[0]
    return bool(steps[-1] > LONGEST or (np.abs(steps - np.round(steps)) > OFF_GRID).mean() > 0.1)


def _apart(table: Floats) -> list[int]:
    """Places of the columns that are no straight line of an earlier one, as a deviation is of its mean.

    Args:
        table: shape (rows, columns), each of mean 0 and deviation 1.
    """
    related = np.abs(table.T @ table) / len(table)
    kept: list[int] = []
    for place in range(table.shape[1]):
        if (related[place, kept] < 1 - ALIKE).all():
            kept.append(place)
    return kept


def _own_values(table: Floats) -> NDArray[np.bool_]:
    """Which rows have values of their own, met in no other row, in as many columns as are needed: a row that was made
    from two others has, and rows that are on lines because they share what they are made of, as users and items, have
    not.
    """
    counts = np.zeros(len(table), dtype=int)
    for column in table.T:
        _, of, times = np.unique(column, return_inverse=True, return_counts=True)
        counts += times[of] == 1
    return counts >= LEAST_FINE


def _on_lines(table: Floats, own_values: NDArray[np.bool_], held_out: NDArray[np.bool_] | None) -> float:
    """Share of the rows, of those held out where there are some, that are on a line with two rows near them, one of
    them of training.
    """
    rng = np.random.default_rng(0)
    trained = np.full(len(table), True) if held_out is None else ~held_out
    if len(table) > MOST_SOUGHT:
        kept = np.sort(rng.choice(len(table), MOST_SOUGHT, replace=False))
        table, own_values, trained = table[kept], own_values[kept], trained[kept]
    places = np.arange(len(table)) if held_out is None else np.flatnonzero(~trained)
    if len(places) > MOST_ROWS:
        places = rng.choice(places, MOST_ROWS, replace=False)
    return float(np.mean([_on_a_line(table, own_values, trained, int(place)) for place in places]))


def _on_a_line(table: Floats, own_values: NDArray[np.bool_], trained: NDArray[np.bool_], place: int) -> bool:
    """Whether a row is on a line with two rows near it of which one, at least, was trained on, and the one of the three
    that is between the others has values of its own.
    """
    away = table - table[place]
    lengths = np.sqrt((away**2).sum(1))
    near = np.argpartition(lengths, min(NEIGHBOURS, len(lengths) - 1))[: NEIGHBOURS + 1]
    near = near[np.argsort(lengths[near], kind="stable")]
    near = near[lengths[near] > SAME]
    # Rows that share a thing, as a user, differ in few columns: there a line is no wonder.
    near = near[(np.abs(away[near]) > SAME).sum(1) >= LEAST_FINE]
    directions = away[near] / lengths[near, None]
    cosines = directions @ directions.T
    order = np.arange(len(near))
    nearer = own_values[near][np.minimum(order[:, None], order)]
    straight = ((cosines < STRAIGHT - 1) & own_values[place]) | ((cosines > 1 - STRAIGHT) & nearer)
    np.fill_diagonal(straight, False)
    return bool(straight[trained[near]].any())
