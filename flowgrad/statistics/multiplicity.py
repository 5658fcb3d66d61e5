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
    return _adjusted(p_values, "holm")


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that control the false discovery rate (Benjamini & Hochberg 1995), in the order given, for
    screening many candidates. NaN stays NaN and does not count.

    >>> [round(p, 3) for p in benjamini_hochberg([0.01, 0.04, float("nan")])]
    [0.02, 0.04, nan]
    """
    return _adjusted(p_values, "fdr_bh")


def _adjusted(p_values: Sequence[float], method: str) -> list[float]:
    p = np.asarray(p_values, dtype=float)
    adjusted = p.copy()
    known = ~np.isnan(p)
    if known.sum() > 1:  # one alone is as it is; statsmodels would collect garbage first, which takes a while
        adjusted[known] = multipletests(p[known], method=method)[1]
    return [float(value) for value in adjusted]
