"""Tests resampled observations: a bootstrap interval, and splits that share their training data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from flowgrad.errors import StatisticsError
from flowgrad.lazy import LazyModule
from flowgrad.statistics.result import TestResult, build_result, checked

stats = LazyModule("scipy.stats")


class Interval(NamedTuple):
    """Ends of an interval."""

    low: float
    high: float


def bootstrap_interval(
    baseline: Sequence[float],
    treated: Sequence[float],
    *,
    metric: str,
    alpha: float = 0.05,
    resamples: int = 9999,
    seed: int = 0,
) -> Interval:
    """Compute the interval of the mean paired difference by the BCa bootstrap (Efron 1987, JASA 82:171): whole pairs
    are drawn.

    It is a check on the t interval where differences are skewed, and no test: of few pairs it is too narrow. Of normal
    differences a 95 % interval misses the truth in .13 of cases with 6 pairs, .10 with 10, .07 with 20, .06 with 50. A
    constant difference gives an interval of no width.

    Raises:
        StatisticsError: as `paired_t`, except that a constant difference is no obstacle.
    """
    before, after = checked(baseline, treated, metric)
    difference = after - before
    if np.ptp(difference) == 0:
        return Interval(float(difference[0]), float(difference[0]))
    found = stats.bootstrap(
        (difference,),
        np.mean,
        n_resamples=resamples,
        confidence_level=1 - alpha,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))


def corrected_t(
    baseline: Sequence[float],
    treated: Sequence[float],
    *,
    metric: str,
    higher_is_better: bool,
    overlap: float,
    alpha: float = 0.05,
) -> TestResult:
    """Make a paired t-test over random splits of one data set, with the variance that shared training data ask for
    (Nadeau & Bengio 2003, Inference for the Generalization Error, Machine Learning 52:239, eq. 9).

    Values of splits that share most of their training data are correlated, and a plain t-test over them rejects a true
    null too often. The variance of the mean is (1 / splits + n_test / n_train) times that of a difference.

    Args:
        baseline: one value a split, shape (splits,).
        treated: of the same splits.
        metric: its name.
        higher_is_better: the metric's direction.
        overlap: r, in (0, 1).
        alpha: level.

    Raises:
        StatisticsError: as `paired_t`; an overlap outside (0, 1).
    """
    if not 0 < overlap < 1:
        raise StatisticsError(f"{metric}: overlap={overlap} must lie between 0 and 1")
    before, after = checked(baseline, treated, metric)
    difference = after - before
    n, df = len(difference), len(difference) - 1
    if not difference.any():
        return build_result("corrected_t", metric, before, after, higher_is_better, alpha, 0.0, 1.0, 0.0, df, 0.0, 0.0)
    deviation = difference.std(ddof=1)
    if deviation <= 1e-12 * np.abs(difference).max():
        raise StatisticsError(
            f"{metric}: every split differs by {difference[0]:.6g}; there is no variance to test with"
        )
    error = deviation * math.sqrt(1 / n + overlap / (1 - overlap))
    statistic = difference.mean() / error
    half = stats.t.ppf(1 - alpha / 2, df) * error
    return build_result(
        "corrected_t",
        metric,
        before,
        after,
        higher_is_better,
        alpha,
        statistic,
        2 * stats.t.sf(abs(statistic), df),
        difference.mean() / deviation,
        df,
        difference.mean() - half,
        difference.mean() + half,
    )
