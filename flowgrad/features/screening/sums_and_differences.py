"""Finds sums and differences of two columns. A linear model has them already; a tree needs many splits for one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowgrad.lazy import LazyModule

special = LazyModule("scipy.special")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Combined:
    """Sums and differences that alone explain more than either column, by falling gain; shape (pairs,) each."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    sign: NDArray[np.intp]
    """Sign of each pair, 1 for the sum, -1 for the difference: whichever explains more."""
    gain: Floats
    """R2 of the sum or difference, less that of the better column."""
    f: Floats
    """Partial F of the weaker column given the better one."""
    p: Floats


def combined(X: Floats, y: Floats) -> Combined:
    """Find every pair of columns whose sum or difference, in their own units, explains more of `y` than either does.

    Args:
        X: shape (rows, columns), finite, no constant column.
        y: shape (rows,).
    """
    n, columns = X.shape
    centred, target = X - X.mean(axis=0), y - y.mean()
    covariance, with_y = centred.T @ centred / n, centred.T @ target / n
    total = float(target @ target) / n
    variance = np.diag(covariance)
    i, j = np.triu_indices(columns, k=1)
    shared = covariance[i, j]
    alone = with_y**2 / variance / total
    best = np.maximum(alone[i], alone[j])
    sign = np.where(with_y[i] * with_y[j] >= 0, 1, -1)
    spread = variance[i] + variance[j] + 2 * sign * shared
    usable = spread > 1e-10 * (variance[i] + variance[j])
    r2 = (with_y[i] + sign * with_y[j]) ** 2 / np.where(usable, spread, 1.0) / total
    rest = variance[i] * variance[j] - shared**2
    usable &= rest > 1e-10 * variance[i] * variance[j]
    both = with_y[i] ** 2 * variance[j] + with_y[j] ** 2 * variance[i] - 2 * with_y[i] * with_y[j] * shared
    both = both / np.where(usable, rest, 1.0) / total
    with np.errstate(divide="ignore"):
        f = np.maximum(both - best, 0) / np.maximum(1 - both, 0) * (n - 3)
    kept = np.flatnonzero(usable & (r2 > best))
    kept = kept[np.argsort(-(r2 - best)[kept], kind="stable")]
    return Combined(i[kept], j[kept], sign[kept], (r2 - best)[kept], f[kept], special.fdtrc(1, n - 3, f[kept]))
