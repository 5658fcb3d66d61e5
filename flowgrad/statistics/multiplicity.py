"""Adjustments for several comparisons at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from statsmodels.stats.multitest import multipletests


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (Holm 1979), in the order given. NaN stays NaN and does not count.

    >>> [round(p, 3) for p in holm([0.01, 0.04, float("nan")])]
    [0.02, 0.04, nan]
    """
    p = np.asarray(p_values, dtype=float)
    adjusted = np.full(len(p), np.nan)
    known = ~np.isnan(p)
    if known.any():
        adjusted[known] = multipletests(p[known], method="holm")[1]
    return [float(value) for value in adjusted]
