"""Finds rows whose labels agree with nobody's: labels that are random, or the opposite of what they should be.

A training run shows such rows late or not at all: strong regularisation shrinks them to stillness, weak regularisation
learns them by heart. The labels themselves show them in any run. A user's labels normally rise with other users' labels
of the same items; random labels do not, flipped ones fall.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowgrad.lazy import LazyModule

special = LazyModule("scipy.special")

Floats = NDArray[np.float64]

SHRINKAGE = 5.0
"""Number of examples by which a row's mean effect is shrunk."""
ITERATIONS = 5
"""Number of alternations between the two sides' effects; they settle after three."""
LEAST = 3
"""Number of labels from which a row's slope and variance can be estimated separately."""
_PIECE = 4096
"""Number of rows that are integrated over at a time: the grid is wide."""
_NODES = np.linspace(-3, 3, 25)
"""Standard normal grid to integrate over."""
_WEIGHTS = np.exp(-0.5 * _NODES**2) / np.exp(-0.5 * _NODES**2).sum()
_MAD_TO_SIGMA = 1.4826
_LEAST_SPREAD = 0.05


def label_conflict(rows: ArrayLike, others: ArrayLike, labels: ArrayLike, count: int) -> Floats:
    """Log Bayes factor of "this row's labels are random or flipped" against "they agree with the rest", in nats.

    Within a row, a label's deviation from the row's mean is modelled as slope times the deviation of its
    counterpart's effect (leaving the label itself out), plus normal noise. Slope and noise of the rows that agree
    vary as they do over the table (empirical Bayes: median and MAD of the better observed half); flipped labels have
    the opposite slope; random ones have slope 0 and the variance of an even draw from all values that occur. Each
    hypothesis is integrated over the slopes and variances that it allows (Kass & Raftery 1995, Bayes Factors).

    Args:
        rows: shape (n,), the row of each example.
        others: shape (n,), its counterpart: the item where rows are users, and the other way round.
        labels: shape (n,), e.g. ratings.
        count: rows of the table.

    Returns:
        Shape (count,). NaN for rows with fewer than 3 labels; and everywhere where labels take fewer than 3 values (a
        click without its non-clicks carries no agreement), are not all finite, or where nobody's labels vary or no
        counterpart has two.
    """
    examples = np.stack([np.asarray(array, dtype=float) for array in (rows, others, labels)])
    examples = _distinct(examples)  # the same example twice is no more evidence than once
    row, other, label = examples[0].astype(np.int64), examples[1].astype(np.int64), examples[2]
    values = np.unique(label)
    counts = np.bincount(row, minlength=count)
    enough = counts >= LEAST
    if len(values) < 3 or not np.isfinite(values).all() or enough.sum() < 2 * LEAST:
        return np.full(count, np.nan)
    effect = _counterpart_effects(row, other, label, count)
    label, effect = _centred(label, row, counts), _centred(effect, row, counts)
    sums = np.column_stack(
        [counts, *(np.bincount(row, weights=w, minlength=count) for w in (label**2, label * effect, effect**2))]
    )
    population = _population(*sums[enough].T)
    found = np.full(count, np.nan)
    if population is None:
        return found
    (slope, slope_spread), (log_variance, variance_spread) = population
    slopes, variances = slope + slope_spread * _NODES, np.exp(log_variance + variance_spread * _NODES)
    natural = np.outer(_WEIGHTS, _WEIGHTS)
    told = np.flatnonzero(enough)
    for at in np.split(told, range(_PIECE, len(told), _PIECE)):
        agree = _likelihood(sums[at], slopes, variances, natural)
        flipped = _likelihood(sums[at], -slopes, variances, natural)
        random = _likelihood(sums[at], np.zeros(1), np.array([np.var(values)]), np.ones((1, 1)))
        found[at] = np.logaddexp(flipped, random) - np.log(2) - agree
    return found


def _distinct(examples: Floats) -> Floats:
    """Distinct columns in ascending order, as `np.unique(examples, axis=1)` has them in several times as long."""
    ordered = examples[:, np.lexsort(examples[::-1])]
    fresh = np.ones(ordered.shape[1], dtype=bool)
    fresh[1:] = (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)
    return ordered[:, fresh]


def _likelihood(sums: Floats, slopes: Floats, variances: Floats, weights: Floats) -> Floats:
    """Log likelihood of each row's labels, averaged over slopes and variances; shape (rows,).

    Args:
        sums: of each row, shape (rows, 4): labels, their squares, their products with the effects, effects' squares.
        slopes: shape (m,).
        variances: shape (k,).
        weights: of each pair of them, shape (m, k).
    """
    n, squares, cross, base = (column[:, None, None] for column in sums.T)
    error = squares - 2 * slopes[:, None] * cross + slopes[:, None] ** 2 * base
    log = -0.5 * (n - 1) * np.log(2 * np.pi * variances) - 0.5 * error / variances
    return special.logsumexp(log + np.log(weights), axis=(1, 2))


def _counterpart_effects(rows: NDArray, others: NDArray, labels: Floats, count: int) -> Floats:
    """Effect of each example's counterpart on its labels, estimated without that example; shape (n,)."""
    other_count = int(others.max()) + 1
    row_n, other_n = np.bincount(rows, minlength=count), np.bincount(others, minlength=other_count)
    mean, row_effect = labels.mean(), np.zeros(count)
    for _ in range(ITERATIONS):
        residual = labels - mean - row_effect[rows]
        other_effect = np.bincount(others, residual, other_count) / (other_n + SHRINKAGE)
        row_effect = np.bincount(rows, labels - mean - other_effect[others], count) / (row_n + SHRINKAGE)
    residual = labels - mean - row_effect[rows]
    total = np.bincount(others, residual, other_count)[others]
    return (total - residual) / (other_n[others] - 1 + SHRINKAGE)


def _centred(values: Floats, rows: NDArray, counts: NDArray) -> Floats:
    means = np.bincount(rows, values, len(counts)) / np.maximum(counts, 1)
    return values - means[rows]


def _population(
    n: NDArray, squares: NDArray, cross: NDArray, base: NDArray
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Centre and spread over rows of the slope, and of the log noise variance, sampling error taken off; None where
    no row has both.
    """
    known = (n >= np.median(n)) & (base > 0)
    slope = cross[known] / base[known]
    variance = (squares[known] - cross[known] ** 2 / base[known]) / np.maximum(n[known] - 2, 1)
    positive = variance > 0
    if not positive.any():
        return None
    log_variance = np.log(variance[positive])
    return (
        _spread(slope, np.median(variance / base[known])),
        _spread(log_variance, np.median(2 / n[known][positive])),
    )


def _spread(values: Floats, sampling: float) -> tuple[float, float]:
    centre = float(np.median(values))
    variance = (_MAD_TO_SIGMA * float(np.median(np.abs(values - centre)))) ** 2
    return centre, float(np.sqrt(max(variance - sampling, _LEAST_SPREAD**2)))
