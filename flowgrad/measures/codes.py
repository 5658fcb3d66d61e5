"""Tells columns of codes that are given as numbers: the target differs by value, and neighbouring values are no more
alike than any two. What is an amount, a time or a rank moves the target by little from one value to the next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flowgrad.lazy import LazyModule
from flowgrad.measures.ids import SURE, one_way

special = LazyModule("scipy.special")
stats = LazyModule("scipy.stats")

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

LEAST_VALUES, LEAST_ROWS_A_VALUE = 20, 3
"""Number of values, and of rows of each on the mean, from which a column of whole numbers may be one of codes."""
MOST_ROWS = 50_000
"""Number of rows that are looked at, drawn at random by a fixed seed where there are more."""
MOST_COLUMNS = 50
"""Number of columns that are looked at, those of most values first; of four times as many others it is seen whether the
rows of one value share theirs.
"""
MOST_CLASSES = 5
"""Number of classes, the most frequent ones, that are looked at."""
SHARED = 0.75
"""Share of the rows of one value of another column that have the value of the first such row here, from which they
count as members of one thing.
"""
_SHARED_ROWS = 5000
"""Number of rows that this share is taken of."""


class ByValue(NamedTuple):
    """Effect on the target of the values of a column, in their order."""

    effect: float = 0.0
    """Share of the target's variance that lies between the values (intraclass correlation)."""
    p: float = 1.0
    """Probability that values of no use differ as much: F test of one-way analysis of variance."""
    neighbours: float = 1.0
    """Upper bound, three standard errors out, of the correlation of the effects of consecutive values, in [-1, 1]."""


NOT_KNOWN = ByValue(math.nan, math.nan, math.nan)
"""Figures of a column that was not looked at, or has too few rows."""


def by_value(places: Places, target: Floats) -> ByValue:
    """Measure how much the target differs by value, and how much alike consecutive values are.

    The correlation of consecutive effects is the mean product of the deviations of consecutive means over the variance
    of effects. Noise of one mean is independent of that of the next, and is subtracted from the variance, so that the
    correlation is that of the effects themselves, however few rows there are of a value; a mean of n rows has the
    weight n / (n + w) for the ratio w of the variances within and between values.

    Args:
        places: place of each row's value among the values in their order, from 0, none left out; shape (rows,).
        target: of the rows, shape (rows,).

    >>> places = np.repeat(np.arange(100), 4)
    >>> smooth, jumps = np.sin(places / 30), np.sin(places**2.0)
    >>> noise = np.tile([-0.1, 0.1, 0.05, -0.05], 100)
    >>> by_value(places, smooth + noise).neighbours > 0.9, by_value(places, jumps + noise).neighbours < 0.5
    (True, True)
    """
    counts = np.bincount(places).astype(float)
    y = target - target.mean()
    sums = np.bincount(places, weights=y)
    squares, rest = float((y**2).sum()), float(len(y) - len(counts))
    found = one_way(counts, sums, squares)
    if math.isnan(found.icc) or math.isnan(found.f):
        return ByValue()
    p = float(special.fdtrc(len(counts) - 1, rest, found.f))
    within = max(squares - float((sums**2 / counts).sum()), 0.0) / rest
    if not 0 < found.icc < 1:
        return ByValue(max(found.icc, 0.0), p)
    weights = counts / (counts + (1 - found.icc) / found.icc)
    means = sums / counts
    apart = means - float((weights * means).sum() / weights.sum())
    variance = float((weights**2 * (apart**2 - within / counts)).sum() / (weights**2).sum())
    if variance <= 0:
        return ByValue(found.icc, p)
    weighted = weights * apart
    products, pairs = weighted[1:] * weighted[:-1], float((weights[1:] * weights[:-1]).sum())
    high = (float(products.sum()) + SURE * math.sqrt(float((products**2).sum()))) / pairs / variance
    return ByValue(found.icc, p, min(max(high, -1.0), 1.0))


def columns_by_value(columns: Floats, ordered: Sequence[bool], target: Floats, *, classes: bool) -> list[ByValue]:
    """Measure `by_value` of each column of whole numbers that recur; others have no effect, and neighbours that are
    alike. `p` is multiplied by the numbers of columns and of classes that are looked at (Bonferroni).

    Amounts of the target count by their ranks; of classes, the one that the column tells most of against the rest.

    Where nearly each value of a column of more values goes with one value of this one (each user has one age), rows of
    one user are no independent rows of that age: the mean of each user then counts as one row. Where these are too few,
    the figures are NaN, and so are those of columns beyond `MOST_COLUMNS`.

    Args:
        columns: shape (rows, columns); NaN where missing.
        ordered: whether the values of each column are numbers, not categories.
        target: shape (rows,).
        classes: whether targets are numbers of classes.
    """
    rows = len(target)
    if rows > MOST_ROWS:
        kept = np.sort(np.random.default_rng(0).choice(rows, MOST_ROWS, replace=False))
        columns, target = columns[kept], target[kept]
    values = [np.unique(column, return_index=True, return_inverse=True) for column in columns.T]
    known = [len(of) - int(np.isnan(of[-1])) for of, _, _ in values]
    asked = [
        place
        for place, (of, _, _) in enumerate(values)
        if ordered[place]
        and LEAST_VALUES <= known[place] <= len(columns) / LEAST_ROWS_A_VALUE
        and bool((of[: known[place]] == np.round(of[: known[place]])).all())
    ]
    asked = sorted(asked, key=lambda place: -known[place])
    asked, left = asked[:MOST_COLUMNS], asked[MOST_COLUMNS:]
    y = _counted(target, classes)
    finer = [place for place in np.argsort(known, kind="stable") if LEAST_VALUES < known[place] <= len(columns) / 2]
    finer = finer[: 4 * MOST_COLUMNS]
    found = [NOT_KNOWN if place in left else ByValue() for place in range(len(values))]
    for place in asked:
        places = values[place][2]
        parts = (values[b][1:] for b in finer if known[b] > known[place])
        within = next((of_rows for first, of_rows in parts if _goes_with(first, of_rows, places)), None)
        places, counted = (places, y) if within is None else _units(places, within, y)
        found[place] = _strongest(places, counted, known[place], len(asked))
    return found


def _counted(target: Floats, classes: bool) -> Floats:
    """Targets as they are compared, shape (rows, targets): ranks of amounts, or 1 for each of up to `MOST_CLASSES` most
    frequent classes.
    """
    if not classes:
        return np.asarray(stats.rankdata(target), dtype=float)[:, None]
    of, counts = np.unique(target, return_counts=True)
    common = of[np.argsort(-counts, kind="stable")][: 1 if len(of) == 2 else MOST_CLASSES]
    return (target[:, None] == common).astype(float)


def _goes_with(first: Places, of_rows: Places, places: Places) -> bool:
    """Whether rows that share a value of another column share their place too.

    Args:
        first: first row of each value of the other column.
        of_rows: value of the other column of each row.
        places: of each row.
    """
    rows = np.arange(0, len(places), -(-len(places) // _SHARED_ROWS))
    rows = rows[first[of_rows[rows]] != rows]
    return len(rows) > 0 and float((places[first[of_rows[rows]]] == places[rows]).mean()) >= SHARED


def _units(places: Places, within: Places, y: Floats) -> tuple[Places, Floats]:
    """Places and mean targets of units, each of all rows of one place and one value of another column."""
    size = within.max() + 1
    units, of_rows = np.unique(places * size + within, return_inverse=True)
    counts = np.bincount(of_rows)
    return units // size, np.column_stack([np.bincount(of_rows, weights=one) / counts for one in y.T])


def _strongest(places: Places, y: Floats, known: int, asked: int) -> ByValue:
    """Figures of the target that differs most by value, of those whose place is known."""
    there = places < known
    if there.sum() < LEAST_ROWS_A_VALUE * known:
        return NOT_KNOWN
    best = max((by_value(places[there], one[there]) for one in y.T), key=lambda one: one.effect)
    return best._replace(p=min(best.p * asked * y.shape[1], 1.0))
