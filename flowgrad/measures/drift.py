"""Compares the columns of validation with those of training: they may stand in another order, or on another scale.

A column is recognised by its profile, 31 quantiles of its values. Profiles of two samples of one population differ by
what chance gives; the distances here are in units of that. A split by time moves profiles too, and so do classes that
are sampled otherwise, and neither is one of these: another order is reported only where a one-to-one match brings
nearly all columns that differ back to within chance, and with them most of what all columns differ by, judged on rows
that the match was not fitted to; another scale, where differing columns have the same shape once shifted and stretched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowgrad.lazy import LazyModule

optimize = LazyModule("scipy.optimize")

Floats = NDArray[np.float64]

QUANTILES = (np.arange(31) + 0.5) / 31
LEAST_ROWS = 60
"""Number of rows of each part below which nothing is said."""
MOST_ROWS, MOST_VALUES = 4000, 1_000_000
"""Rows and values of a part that profiles are taken from."""
MOST_MATCHED = 400
"""Number of columns of training that a match is sought for; where there are more, every so many-th."""
DIFFERS = 6.0
"""Distance, in units of chance, from which a column is another than in training. One population gives .6 on average,
and less than 3 in 10,000 columns."""
ALIKE = 3.5
"""Distance up to which two columns are alike."""
EXPLAINED = 0.8
"""Share of the differing columns that the match has to explain."""
ACCOUNTED = 0.5
"""Share of what all columns together differ by, beyond chance, that the match has to account for."""
STRETCHED = 2.0
"""Factor between the spreads, or standard deviations between the means, from which the scale is another."""
FARTHEST = 3.0
"""Standard deviations at which the distance of two profiles stops to count, so that no single column outweighs all
others."""


@dataclass(frozen=True)
class Drift:
    """Relation of the columns of validation to those of training; every figure is NaN where there are too few rows."""

    columns: float = math.nan
    """Number of columns that vary in training or in validation."""
    differing: float = math.nan
    """Number of columns whose profile differs beyond chance."""
    reordered: float = math.nan
    """Number of columns that a one-to-one match with other columns brings back to within chance; 0 where it explains
    too few.
    """
    rescaled: float = math.nan
    """Number of columns of another spread or level whose shape is the same; 0 where another order explains them."""
    stretch: float = math.nan
    """Ratio of these columns' spread in validation to that in training, median."""
    order: tuple[int, ...] = ()
    """Place in validation of the column that matches each column of training, its own where none is known; empty where
    none moved.
    """


def drift(train: ArrayLike, validation: ArrayLike) -> Drift:
    """Compare the columns of two parts.

    Args:
        train: shape (rows, columns); NaN where missing.
        validation: shape (others, columns).

    >>> one = np.column_stack([np.arange(400.0), np.arange(400.0) ** 2])
    >>> drift(one[::2], one[1::2, ::-1]).reordered
    2.0
    """
    x, new = _known(train), _known(validation)
    if min(len(x), len(new)) < LEAST_ROWS or not x.shape[1]:
        return Drift()
    spread = _spreads(x)
    varies = (np.ptp(x, axis=0) > 0) | (np.ptp(new, axis=0) > 0)
    halves = (new[::2], new[1::2])
    profile, new_profile = _profile(x), _profile(new)
    apart = _apart(profile, new_profile, spread, len(x), len(new))
    differs = (apart > DIFFERS) & varies
    differing = int(differs.sum())
    found = Drift(float(varies.sum()), float(differing), 0.0, 0.0)
    if not differing:
        return found
    if differing >= 2:
        columns = np.flatnonzero(varies)
        sought = columns[:: max(1, -(-len(columns) // MOST_MATCHED))]
        order = _match(profile, _profile(halves[0]), spread, columns, sought)
        moved = _moved(profile, halves[1], spread, len(x), sought, order) & differs[sought]
        matches = (order, np.where(moved, order, sought))  # the whole match, and the columns alone that it brings back
        if moved.sum() >= max(2, EXPLAINED * differs[sought].sum()) and any(
            _accounted(x, halves[1], spread, sought, match) for match in matches
        ):
            share = float(moved.sum()) / len(sought)
            whole = np.arange(x.shape[1])
            whole[sought[moved]] = order[moved]
            return replace(found, reordered=float(round(share * len(columns))), order=tuple(map(int, whole)))
    stretched, factor = _stretched(x, new, differs)
    return replace(found, rescaled=float(stretched), stretch=factor)


def _known(part: ArrayLike) -> Floats:
    """Copy of at most `MOST_ROWS` rows; values that are missing or infinite are replaced by the column's median."""
    x = np.asarray(part, dtype=float)
    x = x.reshape(len(x), math.prod(x.shape[1:]))
    most = max(min(MOST_ROWS, MOST_VALUES // max(x.shape[1], 1)), 2 * LEAST_ROWS)
    x = x[:: max(1, -(-len(x) // most))]
    x = np.where(np.isfinite(x), x, np.nan)
    gone = np.isnan(x)
    if not gone.any():
        return x
    middle = np.array([np.median(c[~np.isnan(c)]) if (~np.isnan(c)).any() else 0.0 for c in x.T])
    return np.where(gone, middle, x)


def _profile(x: Floats) -> Floats:
    """Quantiles of each column, shape (columns, 31); of columns of two values, the share of the larger in between."""
    found = np.sort(x, axis=0)[np.round(QUANTILES * (len(x) - 1)).astype(int)].T
    low, high = x.min(axis=0), x.max(axis=0)
    two = ((x == low) | (x == high)).all(axis=0) & (high > low)
    share = (x == high).mean(axis=0)
    found[two] = (low + (high - low) * share)[two, None] + (high - low)[two, None] * _STEP
    return np.asarray(found)


_STEP = (QUANTILES - 0.5) * 1e-3
"""Offset that marks a profile as that of two values."""


def _spreads(x: Floats) -> Floats:
    """Standard deviation of each column, a thousandth of the median one at least."""
    deviation = x.std(axis=0)
    positive = deviation[deviation > 0]
    return np.asarray(np.maximum(deviation, 1e-3 * float(np.median(positive)) if len(positive) else 1.0))


def _apart(profile: Floats, other: Floats, spread: Floats, rows: int, others: int) -> Floats:
    """Mean distance of profiles for each column, in units of the mean distance by chance; shape (columns,)."""
    chance = math.sqrt(1 / rows + 1 / others)
    return np.asarray(np.abs(profile - other).mean(axis=-1) / spread / chance)


def _match(
    profile: Floats, new_profile: Floats, spread: Floats, columns: NDArray[np.intp], sought: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Place in validation of the column that matches each that is sought (Kuhn 1955); its own where as good.

    Args:
        profile: of the columns of training.
        new_profile: of those of validation.
        spread: standard deviation of each in training.
        columns: columns that may match.
        sought: columns of training to find a match for, some of `columns`.
    """
    cost = np.empty((len(sought), len(columns)))
    for place, column in enumerate(sought):
        cost[place] = np.abs(profile[column] - new_profile[columns]).mean(axis=1) / spread[column]
    cost = np.minimum(cost, FARTHEST) ** 2
    cost[np.arange(len(sought)), np.searchsorted(columns, sought)] *= 0.9
    return np.asarray(columns[optimize.linear_sum_assignment(cost)[1]])


def _moved(
    profile: Floats, half: Floats, spread: Floats, rows: int, sought: NDArray[np.intp], order: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Flags of the columns that the match brings back to within chance, on rows that it was not fitted to."""
    matched = _apart(profile[sought], _profile(half)[order], spread[sought], rows, len(half))
    return np.asarray((order != sought) & (matched < ALIKE))


def _accounted(x: Floats, half: Floats, spread: Floats, sought: NDArray[np.intp], matched: NDArray[np.intp]) -> bool:
    """Whether the match accounts for most of what the columns differ by; another population differs in all of them."""
    ours = _profile(x[:, sought])

    def mean_distance(profile: Floats, other: Floats, rows: int, others: int) -> float:
        return float(_apart(profile, other, spread[sought], rows, others).mean())

    even, odd = x[::2, sought], x[1::2, sought]
    chance = mean_distance(_profile(even), _profile(odd), len(even), len(odd))
    before = mean_distance(ours, _profile(half[:, sought]), len(x), len(half))
    after = mean_distance(ours, _profile(half[:, matched]), len(x), len(half))
    return before - after > ACCOUNTED * (before - chance)


def _stretched(x: Floats, new: Floats, differs: NDArray[np.bool_]) -> tuple[int, float]:
    """Differing columns of the same shape but another level or spread, and the median factor between the spreads."""
    deviation, new_deviation = x.std(axis=0), new.std(axis=0)
    moves = [s > 1e-9 * np.abs(part).max(axis=0) for s, part in ((deviation, x), (new_deviation, new))]
    chosen = np.flatnonzero(differs & moves[0] & moves[1])
    if not len(chosen):
        return 0, math.nan
    level = np.abs(new[:, chosen].mean(axis=0) - x[:, chosen].mean(axis=0)) / deviation[chosen]
    factor = new_deviation[chosen] / deviation[chosen]
    shapes = [_profile(_own_scale(part[:, chosen])) for part in (x, new)]
    alike = _apart(shapes[0], shapes[1], np.ones(len(chosen)), len(x), len(new)) < ALIKE
    other = (np.abs(np.log(factor)) > math.log(STRETCHED)) | (level > STRETCHED)
    found = alike & other
    return int(found.sum()), float(np.median(factor[found])) if found.any() else math.nan


def _own_scale(x: Floats) -> Floats:
    return np.asarray((x - x.mean(axis=0)) / x.std(axis=0))
