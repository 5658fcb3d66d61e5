"""Tests paired designs: two arms trained on the same seeds, one mean a seed and arm.

The seed is the unit (docs/statistics.md): a test over the rows of one seed takes that seed's effect on all rows for as
many independent facts, and rejects a true null far too often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from flowgrad.errors import StatisticsError
from flowgrad.lazy import LazyModule
from flowgrad.statistics.multiplicity import holm
from flowgrad.statistics.result import TestResult, build_result, checked, paired, verdict

stats = LazyModule("scipy.stats")
weightstats = LazyModule("statsmodels.stats.weightstats")


def paired_t(
    baseline: Sequence[float],
    treated: Sequence[float],
    *,
    metric: str,
    higher_is_better: bool,
    alpha: float = 0.05,
) -> TestResult:
    """Make a two-sided paired t-test over seed means, with the interval of the mean difference.

    Identical arms (every difference zero) give p = 1.

    Raises:
        StatisticsError: arms of different length, fewer than two pairs, a value that is not finite, or the same
            difference other than zero on every seed, for which a t-test is not defined.
    """
    before, after = checked(baseline, treated, metric)
    difference = after - before
    if not difference.any():
        statistic, p, low, high, effect = 0.0, 1.0, 0.0, 0.0, 0.0
    elif np.ptp(difference) <= 1e-12 * np.abs(difference).max():
        raise StatisticsError(
            f"{metric}: every seed differs by {difference[0]:.6g}; without variance between seeds there is no t-test. "
            "Do the seeds reach the model?"
        )
    else:
        described = weightstats.DescrStatsW(difference)
        statistic, p, _ = described.ttest_mean(0)
        low, high = described.tconfint_mean(alpha)
        effect = difference.mean() / difference.std(ddof=1)
    return build_result(
        "paired_t", metric, before, after, higher_is_better, alpha, statistic, p, effect, len(before) - 1, low, high
    )


def wilcoxon(
    baseline: Sequence[float],
    treated: Sequence[float],
    *,
    metric: str,
    higher_is_better: bool,
    alpha: float = 0.05,
) -> TestResult:
    """Make Wilcoxon's signed-rank test, two-sided and exact: a check on `paired_t` that assumes no normality.

    With five pairs or fewer it cannot reach p < .05. The effect size is the matched-pairs rank-biserial correlation
    (Kerby 2014), negative where the treated arm is lower; there is no interval.

    Raises:
        StatisticsError: as `paired_t`, except that a constant difference is no obstacle.
    """
    before, after = checked(baseline, treated, metric)
    difference = after - before
    moved = difference[difference != 0]
    if not len(moved):
        return build_result("wilcoxon", metric, before, after, higher_is_better, alpha, 0.0, 1.0, 0.0)
    ties = len(np.unique(np.abs(moved))) < len(moved)
    statistic, p = stats.wilcoxon(moved, method="auto" if ties else "exact")
    ranks = stats.rankdata(np.abs(moved))
    effect = (ranks * np.sign(moved)).sum() / ranks.sum()
    return build_result("wilcoxon", metric, before, after, higher_is_better, alpha, statistic, p, effect)


def sign_test(
    baseline: Sequence[float],
    treated: Sequence[float],
    *,
    metric: str,
    higher_is_better: bool,
    alpha: float = 0.05,
) -> TestResult:
    """Make a two-sided exact sign test (Conover 1999, ch. 3.4), for arms of which some seeds diverged.

    A value that is not finite is worse than any that is; two of them tie, and ties do not count. The means, the
    difference and an interval do not exist where a value is not finite; the effect size is wins minus losses over
    their sum, signed like a difference.

    Raises:
        StatisticsError: arms of different length, or fewer than two pairs.
    """
    before, after = paired(baseline, treated, metric)
    worst = -np.inf if higher_is_better else np.inf
    a, b = (np.where(np.isfinite(values), values, worst) for values in (before, after))
    up, down = int((b > a).sum()), int((b < a).sum())
    p = stats.binomtest(up, up + down).pvalue if up + down else 1.0
    effect = (up - down) / (up + down) if up + down else 0.0
    result = build_result("sign", metric, before, after, higher_is_better, alpha, float(min(up, down)), p, effect)
    result = replace(result, wins=up if higher_is_better else down)
    return replace(result, verdict=verdict(result, alpha))


def adjust(results: Sequence[TestResult], alpha: float = 0.05) -> list[TestResult]:
    """Adjust the p-values of results after Holm over all of them, with the verdicts that follow."""
    adjusted = [replace(r, p_adjusted=p) for r, p in zip(results, holm([r.p for r in results]), strict=True)]
    return [replace(r, verdict=verdict(r, alpha)) for r in adjusted]


def gap_closed(baseline: float, treated: float, reference: float) -> float:
    """Share of the distance from `baseline` to `reference` that `treated` covers; NaN where there is no distance.

    1 reaches the reference, more than 1 passes it, less than 0 moves away.
    """
    gap = reference - baseline
    return (treated - baseline) / gap if gap else float("nan")
