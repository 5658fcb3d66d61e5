"""Says whether two models were shown the same rows, and how their inputs differ where they were not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
_FEWEST = 8
"""Number of rows below which nothing is said."""
_ENOUGH = 32
"""Number of rows below which rows are not called unrelated."""
_STRAIGHT = 0.999
"""Least correlation of a feature with itself, rescaled, in nearly all features."""


@dataclass(frozen=True)
class Beside:
    """Comparison of one model's inputs with another's; a field is NaN where too little is known."""

    same: float = math.nan
    """1 where the inputs are equal."""
    scale: float = math.nan
    """Deviation of a feature over that of the other model's, median, where each is the other's but for scale and shift;
    1 where they are equal.
    """
    shift: float = math.nan
    """Distance of the means over the other's deviation, median; NaN as for `scale`."""
    moved: float = math.nan
    """Share of rows that are another row of the other model; two halves that are swapped left out."""
    unrelated: float = math.nan
    """1 where a row is no nearer to its own than to any other row."""


def beside(ours: FloatArray, theirs: FloatArray) -> Beside:
    """Compare inputs.

    Args:
        ours: shape (rows, features).
        theirs: of the other model in the same order, same shape.

    >>> x = np.random.default_rng(0).normal(size=(32, 6))
    >>> beside(x, x).same, round(beside(x, 96 * x + 78).scale, 3), beside(x, np.roll(x, 1, axis=0)).moved
    (1.0, 96.0, 1.0)
    """
    if ours.shape != theirs.shape or len(ours) < _FEWEST or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return Beside()
    if np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max():
        return Beside(1.0, 1.0, 0.0, 0.0, 0.0)
    spread, other = ours.std(axis=0), theirs.std(axis=0)
    told = (spread > 1e-9 * np.abs(ours).max()) & (other > 1e-9 * np.abs(theirs).max())
    if not told.any():
        return Beside(0.0)
    spread, other = spread[told], other[told]
    a = (ours[:, told] - ours[:, told].mean(axis=0)) / spread
    b = (theirs[:, told] - theirs[:, told].mean(axis=0)) / other
    straight = float(np.quantile(np.abs((a * b).mean(axis=0)), 0.05)) > _STRAIGHT
    if straight and a.shape[1] * len(a) >= 4 * _FEWEST:
        shift = np.abs(theirs[:, told].mean(axis=0) - ours[:, told].mean(axis=0)) / spread
        return Beside(0.0, float(np.median(other / spread)), float(np.median(shift)), 0.0, 0.0)
    apart = ((a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T) / a.shape[1]
    own = np.diag(apart)
    nearest = apart.argmin(axis=0)
    found = apart.min(axis=0)
    offsets = np.abs(nearest - np.arange(len(own)))
    elsewhere = (offsets > 0) & (found < 1e-3) & (own > 0.1)
    moved = float((elsewhere & (2 * offsets != len(own))).mean())  # swapped halves are two views of the same
    rest = apart[~np.eye(len(own), dtype=bool)]
    nearer = (rest.mean() - own.mean()) / (rest.std() / math.sqrt(len(own)))
    unrelated = float(nearer < 3) if len(own) >= _ENOUGH else math.nan
    return Beside(0.0, math.nan, math.nan, moved, unrelated)
