"""Turns times of paired blocks into ratios."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class PairedRatio:
    """Ratio of watched time to bare time."""

    median: float
    """Median of the ratios over the rounds."""
    low: float
    """Lower end of the interval of the median; NaN where there are too few rounds for one."""
    high: float
    """Upper end of the interval of the median; NaN where there are too few rounds for one."""
    mean: float
    """Ratio of all watched time to all bare time."""


def paired_ratio(bare: Sequence[float], watched: Sequence[float], confidence: float = 0.95) -> PairedRatio:
    """Compute the ratio of two series of block times, of one even length and paired by place; blocks are of one number
    of steps.

    Two pairs in a row make a round, in which either arm was first once: the second arm finds warmer caches, so that
    ratios of single pairs would fall into two heaps, with the median anywhere between them.

    >>> paired_ratio([1.0, 3.0, 1.0, 1.0], [2.0, 2.0, 2.0, 8.0])
    PairedRatio(median=3.0, low=nan, high=nan, mean=2.3333333333333335)
    """
    ratios = _by_round(watched) / _by_round(bare)
    low, high = median_interval(ratios.tolist(), confidence)
    return PairedRatio(float(np.median(ratios)), low, high, float(np.sum(watched) / np.sum(bare)))


def _by_round(times: Sequence[float]) -> np.ndarray:
    """Sums of two in a row."""
    return np.asarray(times, dtype=float).reshape(-1, 2).sum(axis=1)


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Compute the interval of the median between two order statistics, whose coverage is at least `confidence` whatever
    the distribution (Conover, Practical Nonparametric Statistics, section 3.2); NaN below 6 values for 0.95.

    The values count as independent. Ratios of rounds are nearly so: longer disturbances are in both arms.

    >>> median_interval([3.0, 1.0, 2.0, 6.0, 5.0, 4.0])
    (1.0, 6.0)
    """
    # The k-th from below is above the median only where fewer than k values lie below it.
    k = int(stats.binom.ppf((1 - confidence) / 2, len(values), 0.5))
    if k < 1:
        return math.nan, math.nan
    ordered = sorted(values)
    return ordered[k - 1], ordered[-k]
