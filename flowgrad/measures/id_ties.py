"""Tests whether two columns of ids depend on each other, without a target.

One half of the rows gives each id of one column a score: how often it is met, and its place on the first axis of a
correspondence analysis (Hill 1974, Applied Statistics 23, 340). Over the other half, scores are compared by the ids of
the other column. Where rows had the ids of other rows, these scores would not depend on them: F is 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowgrad.measures.ids import SURE, Agreement, OneWay, agreement, one_way

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

ROUNDS = 8
"""Number of alternations between the two columns; the first axis of tastes converges in a few."""
SHRINKAGE = 5.0
"""Number of rows by which an id's score is shrunk."""
LEAST_ROWS = 200
"""Number of rows of validation from which pairs are compared."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of the ids of two columns; each has mean 0 and variance 1 over the rows they come from."""

    first: Floats
    second: Floats


def scores(first: Codes, second: Codes, weights: Floats, sizes: tuple[int, int]) -> tuple[Scores, Scores]:
    """Scores by frequency, and scores of the first axis.

    Args:
        first: ids of the one column, in 0 to `sizes[0]` - 1, shape (n,).
        second: those of the other.
        weights: how often each row was met; 0 for rows that are left out.
        sizes: ids of each.
    """
    used = weights > 0
    first, second, weights = first[used], second[used], weights[used]
    counts = _sums(first, weights, sizes[0]), _sums(second, weights, sizes[1])
    frequent = Scores(*(_standard(np.log1p(count), count) for count in counts))
    score = frequent.second
    if not score.any():  # every id is met as often: any start will do
        score = _standard(np.sin(np.arange(sizes[1]) + 1.0), counts[1])
    other = np.zeros(sizes[0])
    for _ in range(ROUNDS):
        other = _standard(_means(first, weights * score[second], counts[0]), counts[0])
        score = _standard(_means(second, weights * other[first], counts[1]), counts[1])
    return frequent, Scores(other, score)


def _sums(ids: Codes, values: Floats, size: int) -> Floats:
    return np.bincount(ids, values, size).astype(np.float64, copy=False)


def _means(ids: Codes, values: Floats, counts: Floats) -> Floats:
    return _sums(ids, values, len(counts)) / (counts + SHRINKAGE)


def _standard(values: Floats, counts: Floats) -> Floats:
    """Values scaled to mean 0 and variance 1 over rows; 0 for ids that were not met, and throughout where nothing
    varies.
    """
    weights = counts / max(float(counts.sum()), 1.0)
    centred = np.where(counts > 0, values - float((weights * values).sum()), 0.0)
    spread = math.sqrt(float((weights * centred**2).sum()))
    return centred / spread if spread > 1e-9 else np.zeros_like(centred)


def ties(first: Codes, second: Codes, halves: Floats, sizes: tuple[int, int]) -> tuple[OneWay, ...]:
    """Analyses of variance of the second column's scores over the ids of the first, on the half that they were not
    made of.

    Args:
        first: ids whose rows are in question, shape (n,).
        second: ids of another column.
        halves: how often each row was met in the half that scores are made of, and in the other; shape (2, n).
        sizes: ids of each column.
    """
    found = []
    counts = _sums(first, halves[1], sizes[0])
    for score in scores(first, second, halves[0], sizes):
        values = score.second[second]
        sums = _sums(first, halves[1] * values, sizes[0])
        found.append(one_way(counts, sums, float((halves[1] * values**2).sum())))
    return tuple(found)


def interplay(first: Codes, second: Codes, targets: Floats, halves: Floats, sizes: tuple[int, int]) -> float:
    """Dependence of the target on pairs of ids beyond the effect of each, in standard errors: z of the correlation, in
    one half of the rows, with a product of scores (one factor of a factorisation) that was fitted to the other; NaN
    where it cannot be made. It is about N(0, 1) where the ids of a column are those of other rows.

    Args:
        first: ids of a column, shape (n,).
        second: ids of another.
        targets: shape (n,).
        halves: how often each row was met in the half that is fitted, and in the other; shape (2, n).
        sizes: ids of each column.
    """
    fitted, held = halves[0], halves[1] > 0
    counts = _sums(first, fitted, sizes[0]), _sums(second, fitted, sizes[1])
    left = targets - float((fitted * targets).sum() / max(fitted.sum(), 1.0))
    for ids_of, count in ((second, counts[1]), (first, counts[0])):
        left = left - _means(ids_of, fitted * left, count)[ids_of]
    weighted = fitted * left
    score, other = _standard(np.sin(np.arange(sizes[1]) + 1.0), counts[1]), np.zeros(sizes[0])
    for _ in range(2 * ROUNDS):
        other = _unit(_means(first, weighted * score[second], counts[0]), counts[0])
        score = _unit(_means(second, weighted * other[first], counts[1]), counts[1])
    x, y, times = (other[first] * score[second])[held], left[held], halves[1][held]
    rows = float(times.sum())
    if rows < LEAST_ROWS:
        return math.nan
    x, y = x - (times * x).sum() / rows, y - (times * y).sum() / rows
    scale = math.sqrt(float((times * x**2).sum() * (times * y**2).sum()))
    return float((times * x * y).sum()) / scale * math.sqrt(rows) if scale > 0 else math.nan


def _unit(values: Floats, counts: Floats) -> Floats:
    """Values scaled to mean square 1 over rows; not centred."""
    size = math.sqrt(float((counts * values**2).sum()) / max(float(counts.sum()), 1.0))
    return values / size if size > 0 else values


def pair_agreement(
    trained: tuple[Codes, Codes], halves: Floats, validated: tuple[Codes, Codes], sizes: tuple[int, int]
) -> Agreement:
    """Agreement of validation's pairs with the axis of training, over that of the other half of training.

    Args:
        trained: ids of two columns in training, each of shape (n,).
        halves: how often each row was met in the half that scores are made of, and in the other; shape (2, n).
        validated: ids of the same columns in validation, each of shape (m,).
        sizes: ids of each column.
    """
    first, second = trained
    found = scores(first, second, halves[0], sizes)[1]
    met = _sums(first, halves[0], sizes[0]) > 0, _sums(second, halves[0], sizes[1]) > 0
    held = halves[1] > 0
    own, own_rows = _along(found, met, first[held], second[held])
    other, rows = _along(found, met, *validated)
    if min(rows, own_rows) < LEAST_ROWS or not own > 2 * SURE / math.sqrt(own_rows):
        return Agreement()
    high = (other + SURE / math.sqrt(rows)) / (own - SURE / math.sqrt(own_rows))
    return agreement(other / own, high - other / own)


def _along(found: Scores, met: tuple[NDArray, NDArray], first: Codes, second: Codes) -> tuple[float, int]:
    """Correlation of both scores over rows whose ids have one, and the number of those rows."""
    known = met[0][first] & met[1][second]
    x, y = found.first[first[known]], found.second[second[known]]
    if len(x) < 2 or not x.std() > 0 or not y.std() > 0:
        return 0.0, 0
    return float(np.corrcoef(x, y)[0, 1]), len(x)
