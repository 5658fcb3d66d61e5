"""Finds a column that alone predicts the target: how much it explains on held-out rows, and how far it is ahead."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowgrad.measures.trees import bin_edges, bins_of

Floats = NDArray[np.float64]

MOST_FITTED = 20_000
"""Number of columns times classes whose means are fitted, at most."""
BINS, LEAST_ROWS = 32, 20
"""Number of bins of equally many rows, and rows a bin holds at least; each value is a bin where there are no more."""
LEAST_HELD_OUT = 30


@dataclass(frozen=True)
class Strong:
    """The column that alone explains most of the target; its fields are NaN where there are too few rows, or no column
    varies.
    """

    place: float = math.nan
    """Index of the column, from 0."""
    r2: float = math.nan
    """Share of the target's variance that its means explain on held-out rows; over all classes together."""
    ratio: float = math.nan
    """Ratio of `r2` to that of the next column."""
    rest: float = math.nan
    """Variance that `r2` leaves unexplained, over what the next column leaves."""


def strongest(x: Floats, y: Floats, new_x: Floats, new_y: Floats) -> Strong:
    """Find the column whose means of the target, fitted to training rows, explain most of it on validation rows.

    Args:
        x: training rows, shape (rows, columns); NaN where missing.
        y: their targets as columns, shape (rows, targets).
        new_x: validation rows.
        new_y: their targets.

    >>> a, y = np.arange(200.0) % 5, (np.arange(200.0) % 5 > 2)[:, None].astype(float)
    >>> x = np.column_stack([np.arange(200.0) % 7, a])
    >>> strongest(x, y, x, y).place
    1.0
    """
    if min(len(x), len(new_x)) < LEAST_HELD_OUT or not np.ptp(y, axis=0).any() or not np.ptp(new_y, axis=0).any():
        return Strong()
    places = _candidates(x, y)
    found = sorted(((_explained(x[:, p], y, new_x[:, p], new_y), int(p)) for p in places), reverse=True)
    if not found:
        return Strong()
    best, place = found[0]
    second = max(found[1][0], 0.0) if len(found) > 1 else 0.0
    return Strong(float(place), best, best / max(second, 1e-6), (1 - best) / max(1 - second, 1e-6))


def _candidates(x: Floats, y: Floats) -> NDArray[np.intp]:
    """Columns that vary; where they are many, those that vary most with the target, or whose distance from their mean
    does.
    """
    known = np.isfinite(x)
    values = np.where(known, x, 0.0)
    centred = np.where(known, values - values.sum(axis=0) / np.maximum(known.sum(axis=0), 1), 0.0)
    varies = np.flatnonzero(np.ptp(centred, axis=0) > 0)
    most = max(MOST_FITTED // y.shape[1], 32)
    if len(varies) <= most:
        return varies
    t = y - y.mean(axis=0)
    told = np.zeros(x.shape[1])
    for part in (centred, np.abs(centred)):
        part = part - part.mean(axis=0)
        size = (part**2).sum(axis=0)
        found = ((part.T @ t) ** 2).sum(axis=1)
        told = np.maximum(told, np.divide(found, size, out=np.zeros_like(size), where=size > 0))
    return np.argsort(-told, kind="stable")[:most]


def _explained(column: Floats, y: Floats, new_column: Floats, new_y: Floats) -> float:
    known = column[np.isfinite(column)]
    if not len(known):
        return 0.0
    distinct, bins = np.unique(known), min(max(len(known) // LEAST_ROWS, 2), BINS)
    few = len(distinct) <= bins
    edges = (distinct[1:] + distinct[:-1]) / 2 if few else bin_edges(known, bins)
    place, new_place = bins_of(column, edges), bins_of(new_column, edges)
    bins = len(edges) + 2
    count = np.bincount(place, minlength=bins)
    mean = y.mean(axis=0)
    sums = np.column_stack([np.bincount(place, weights=t, minlength=bins) for t in (y - mean).T])
    means = sums / np.maximum(count, 1)[:, None]
    rest = (new_y - mean - means[new_place]) ** 2
    return 1 - float(rest.sum()) / float(((new_y - new_y.mean(axis=0)) ** 2).sum())
