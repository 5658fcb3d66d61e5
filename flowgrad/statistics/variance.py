"""Tests whether a change makes the metric vary less from seed to seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flowgrad.errors import StatisticsError
from flowgrad.gate import Objection, arms_objection
from flowgrad.lazy import LazyModule
from flowgrad.statistics.result import checked

stats = LazyModule("scipy.stats")


@dataclass(frozen=True)
class VarianceResult:
    """Test of equal variance of one metric in two paired arms."""

    metric: str
    n: int
    """Number of pairs."""
    sd_baseline: float
    """Standard deviation over seeds, in the metric's unit."""
    sd_treated: float
    ratio: float
    """Variance of the treated arm over that of the baseline."""
    ci_low: float
    """Lower end of the (1 - alpha) interval of the ratio."""
    ci_high: float
    statistic: float
    """Student's t, with n - 2 degrees of freedom."""
    df: float
    p: float
    """P-value, two-sided."""
    p_brown_forsythe: float
    """P-value of a check that assumes no normality, and takes the arms for independent (Brown & Forsythe 1974)."""
    verdict: str
    """Verdict: `lower`, `higher` or `inconclusive` variance of the treated arm at level alpha."""
    objection: Objection | None = None
    """Objection to the observations as evidence (see `flowgrad.gate`): p is then NaN, and the verdict
    `inconclusive`.
    """


def variance_test(
    baseline: Sequence[float], treated: Sequence[float], *, metric: str, alpha: float = 0.05
) -> VarianceResult:
    """Make the Pitman-Morgan test that two paired arms vary alike (Pitman 1939, Biometrika 31:9; Morgan 1939, ibid.
    31:13).

    Sums and differences of pairs are uncorrelated where the variances are equal; their correlation is tested by t with
    n - 2 degrees of freedom. It assumes normal values: where `p_brown_forsythe` disagrees, trust neither.

    Raises:
        StatisticsError: as `paired_t`; fewer than three pairs, an arm that does not vary, or arms of which one
            follows from the other.
    """
    before, after = checked(baseline, treated, metric)
    n = len(before)
    if n < 3:
        raise StatisticsError(f"{metric}: {n} pairs of seeds; a test of variances needs at least 3")
    for arm, values in (("baseline", before), ("treated", after)):
        if np.ptp(values) <= 1e-12 * np.abs(values).max():
            raise StatisticsError(f"{metric}: the {arm} arm is {values[0]:.6g} on every seed; its variance is 0")
    ratio = after.var(ddof=1) / before.var(ddof=1)
    free = 1 - np.corrcoef(before, after)[0, 1] ** 2
    if free <= 1e-12:
        raise StatisticsError(f"{metric}: one arm follows from the other; there is nothing left to test with")
    df = n - 2
    # t = (w - 1) sqrt(n - 2) / (2 sqrt(w (1 - r^2))), which is the correlation's t without its cancellation.
    statistic = (ratio - 1) * math.sqrt(df) / (2 * math.sqrt(ratio * free))
    p = float(2 * stats.t.sf(abs(statistic), df))
    k = 1 + 2 * free * stats.t.ppf(1 - alpha / 2, df) ** 2 / df
    half = math.sqrt(k**2 - 1)
    objection = arms_objection(baseline, treated, metric)
    if objection is not None:
        p = math.nan
    verdict = "inconclusive"
    if p < alpha:
        verdict = "lower" if ratio < 1 else "higher"
    return VarianceResult(
        metric=metric,
        n=n,
        sd_baseline=float(before.std(ddof=1)),
        sd_treated=float(after.std(ddof=1)),
        ratio=float(ratio),
        ci_low=float(ratio * (k - half)),
        ci_high=float(ratio * (k + half)),
        statistic=float(statistic),
        df=float(df),
        p=p,
        p_brown_forsythe=float(stats.levene(before, after, center="median").pvalue),
        verdict=verdict,
        objection=objection,
    )
