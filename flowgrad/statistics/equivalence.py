"""Tests whether a change makes no difference that matters, which a test that does not reject cannot show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flowgrad.errors import StatisticsError
from flowgrad.gate import Objection, arms_objection
from flowgrad.lazy import LazyModule
from flowgrad.statistics.pairs import too_few
from flowgrad.statistics.result import checked

weightstats = LazyModule("statsmodels.stats.weightstats")


@dataclass(frozen=True)
class EquivalenceResult:
    """Two one-sided tests of one metric. `difference` is treated minus baseline, in the metric's unit."""

    metric: str
    n: int
    """Number of pairs."""
    margin: float
    """Largest difference that does not matter, in the metric's unit."""
    difference: float
    ci_low: float
    """Lower end of the (1 - 2 alpha) interval of the difference, which lies within the margin when both reject."""
    ci_high: float
    p_worse: float
    """P-value of "worse by the margin or more"."""
    p_better: float
    """P-value of "better by the margin or more"."""
    p: float
    """P-value of "they differ by the margin or more", the larger of the two."""
    verdict: str
    """Verdict: `equivalent` (p < alpha), `no worse` (p_worse < alpha only) or `inconclusive`."""
    objection: Objection | None = None
    """Objection to the observations as evidence (see `flowgrad.gate`): each p is then 1, and the verdict
    `inconclusive`.
    """


def tost(
    baseline: Sequence[float],
    treated: Sequence[float],
    *,
    metric: str,
    higher_is_better: bool,
    margin: float,
    alpha: float = 0.05,
) -> EquivalenceResult:
    """Make two one-sided paired t-tests (Schuirmann 1987, J. Pharmacokin. Biopharm. 15:657).

    `p_worse` alone is the test of non-inferiority: "no worse than by the margin". Identical arms are equivalent, p = 0.

    Raises:
        StatisticsError: as `paired_t`; a margin that is not a finite number above 0.
    """
    if not (math.isfinite(margin) and margin > 0):
        raise StatisticsError(f"{metric}: margin={margin} must be a finite number above 0, in the metric's unit")
    before, after = checked(baseline, treated, metric)
    difference = after - before
    if not difference.any():
        low = high = p_low = p_high = 0.0
    elif np.ptp(difference) <= 1e-12 * np.abs(difference).max():
        raise StatisticsError(f"{metric}: every seed differs by {difference[0]:.6g}; there is no variance to test with")
    else:
        described = weightstats.DescrStatsW(difference)
        _, (_, p_low, _), (_, p_high, _) = described.ttost_mean(-margin, margin)
        low, high = described.tconfint_mean(2 * alpha)
    objection = arms_objection(baseline, treated, metric) or too_few(len(before))
    if objection is not None:
        low, high, p_low, p_high = math.nan, math.nan, 1.0, 1.0
    # p_low is of "at or below -margin", p_high of "at or above +margin".
    p_worse, p_better = (p_low, p_high) if higher_is_better else (p_high, p_low)
    verdict = "inconclusive"
    if p_worse < alpha:
        verdict = "equivalent" if p_better < alpha else "no worse"
    return EquivalenceResult(
        metric=metric,
        n=len(difference),
        margin=float(margin),
        difference=float(difference.mean()),
        ci_low=float(low),
        ci_high=float(high),
        p_worse=float(p_worse),
        p_better=float(p_better),
        p=float(max(p_worse, p_better)),
        verdict=verdict,
        objection=objection,
    )
