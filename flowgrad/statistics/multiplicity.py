"""Adjusts p-values for several comparisons at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from flowgrad.lazy import LazyModule

multitest = LazyModule("statsmodels.stats.multitest")


def holm(p_values: Sequence[float]) -> list[float]:
    """Compute Holm's step-down adjusted p-values (Holm 1979), in the order given. NaN stays NaN and does not count.

    The figures equal those of statsmodels' `multipletests`, which collects garbage on every call: a third of a second
    where torch is loaded.

    >>> [round(p, 3) for p in holm([0.01, 0.04, float("nan")])]
    [0.02, 0.04, nan]
    """
    return _adjusted(p_values, _holm)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Compute adjusted p-values that control the false discovery rate (Benjamini & Hochberg 1995), in the order given,
    for screening many candidates. NaN stays NaN and does not count.

    >>> [round(p, 3) for p in benjamini_hochberg([0.01, 0.04, float("nan")])]
    [0.02, 0.04, nan]
    """
    return _adjusted(p_values, lambda p: multitest.fdrcorrection(p)[1])


def _holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted


def _adjusted(p_values: Sequence[float], adjust: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> list[float]:
    p = np.asarray(p_values, dtype=float)
    adjusted = p.copy()
    known = ~np.isnan(p)
    if known.any():
        adjusted[known] = adjust(p[known])
    return [float(value) for value in adjusted]
