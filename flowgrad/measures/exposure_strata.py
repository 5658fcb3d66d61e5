"""Compares rows with rows of like exposure: a row seen a thousand times varies otherwise than one seen twice."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

GROUPS = 10
"""Groups of equal size that the exposed rows are divided into by their exposures."""
LEAST = 8
"""Known values that a group needs for its median to say anything."""
LOW, HIGH = -5.0, 10.0
"""Bounds of a score: one extreme value must not outvote the others."""
TO_SIGMA = 1.4826
"""Standard deviation over median absolute deviation of a normal distribution."""


def exposure_groups(exposures: ArrayLike, groups: int = GROUPS) -> NDArray[np.int64]:
    """Group of each row by rank of its exposures, 0 the least exposed; -1 for rows never exposed. Shape (rows,).

    >>> exposure_groups([0, 5, 1, 9, 7], groups=2).tolist()
    [-1, 0, 0, 1, 1]
    """
    exposures = np.asarray(exposures, dtype=float)
    group = np.full(len(exposures), -1)
    seen = np.flatnonzero(exposures > 0)
    order = seen[np.argsort(exposures[seen], kind="stable")]
    group[order] = np.arange(len(order)) * groups // max(1, len(order))
    return group


def robust_z(values: ArrayLike, groups: ArrayLike) -> NDArray[np.float64]:
    """Robust z-score, (value - median) / (1.4826 MAD) within each group, clipped to [-5, 10]; shape (n,). NaN where the
    value is not known, the group is -1, or the group has fewer than 8 known values or no spread.

    NaN where the value is not known, the group is -1, or the group has fewer than 8 known values or no spread.
    """
    values, groups = np.asarray(values, dtype=float), np.asarray(groups)
    z = np.full(len(values), np.nan)
    for group in np.unique(groups[groups >= 0]):
        at = np.flatnonzero((groups == group) & np.isfinite(values))
        if len(at) < LEAST:
            continue
        offset = values[at] - np.median(values[at])
        spread = TO_SIGMA * np.median(np.abs(offset))
        if spread > 0:
            z[at] = np.clip(offset / spread, LOW, HIGH)
    return z


def over_median(values: ArrayLike, groups: ArrayLike) -> NDArray[np.float64]:
    """Ratio of each value to the median of its group, shape (n,); NaN where `robust_z` has no group to compare with."""
    values, groups = np.asarray(values, dtype=float), np.asarray(groups)
    ratio = np.full(len(values), np.nan)
    for group in np.unique(groups[groups >= 0]):
        at = np.flatnonzero((groups == group) & np.isfinite(values))
        middle = np.median(values[at]) if len(at) >= LEAST else 0.0
        if middle > 0:
            ratio[at] = values[at] / middle
    return ratio


def against_alike(rows: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Scores of `coherence`, and of the logs of `velocity`, `jitter` and `row_loss`, among rows alike in `exposures`,
    and `velocity` over its median there, by column name.
    """
    groups = exposure_groups(rows["exposures"])
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "coherence_z": robust_z(rows["coherence"], groups),
            "velocity_z": robust_z(np.log(rows["velocity"]), groups),
            "velocity_ratio": over_median(rows["velocity"], groups),
            "jitter_z": robust_z(np.log(rows["jitter"]), groups),
            "loss_z": robust_z(np.log(rows["row_loss"]), groups),
        }
