"""Makes tables of tests against a margin: that nothing got worse by it, or that nothing differs by it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from flowgrad.errors import StatisticsError
from flowgrad.gate import Objection
from flowgrad.statistics.comparisons import Comparison, higher_is_better, pairs_of
from flowgrad.statistics.equivalence import EquivalenceResult, tost
from flowgrad.statistics.multiplicity import holm

NO_WORSE, EQUIVALENT = "no_worse", "tost"
"""Names of the tests: one-sided, and both sides."""
PROVEN = {"no worse": "confirmed", "worse": "refuted"}
"""Meaning of a verdict of `no_worse` for a change that was to cost nothing."""


def margin_table(
    observations: pd.DataFrame,
    planned: Sequence[Comparison],
    metrics: Sequence[str],
    share: float,
    *,
    test: str = NO_WORSE,
    reference: str | None = None,
    alpha: float = 0.05,
    objection: Objection | None = None,
) -> pd.DataFrame:
    """Make one line a comparison and metric, in columns of the significance table and `margin`, in the metric's unit.

    `p` and its adjusted form (Holm, over all lines) are of "worse by the margin or more", or of "they differ by the
    margin or more"; the interval is the one of 1 - 2 alpha that goes with them. Verdicts: `no worse`, `worse` (the
    whole interval is beyond the margin), `equivalent`, or `inconclusive`.

    Args:
        observations: one line a seed, arm and metric.
        planned: what is compared, decided before anything was observed.
        metrics: tested, of every comparison.
        share: the margin, over the size of the reference's mean.
        test: `no_worse` or `tost`.
        reference: arm whose mean the margin is a share of; None: each comparison's baseline.
        alpha: level.
        objection: to the data that all runs were trained and tested on; where it blocks, nothing is proven.

    Raises:
        StatisticsError: an arm or seed that is missing, or a share that is not above 0.
    """
    if not (math.isfinite(share) and share > 0):
        raise StatisticsError(f"margin={share} must be a finite share above 0 of the baseline")
    asked = [(comparison, metric) for comparison in planned for metric in metrics]
    found = [_tested(observations, *one, share, test, reference, alpha) for one in asked]
    if objection is not None and objection.blocks:
        found = [replace(one, result=_unproven(one.result, objection)) for one in found]
    adjusted = holm([one.p for one in found])
    return pd.DataFrame([one.line(float(p), alpha) for one, p in zip(found, adjusted, strict=True)])


def _unproven(result: EquivalenceResult, objection: Objection) -> EquivalenceResult:
    return replace(
        result,
        ci_low=math.nan,
        ci_high=math.nan,
        p_worse=1.0,
        p_better=1.0,
        p=1.0,
        verdict="inconclusive",
        objection=objection,
    )


@dataclass(frozen=True)
class _Tested:
    """One test against the margin."""

    experiment: str
    comparison: Comparison
    test: str
    baseline: float
    treated: float
    result: EquivalenceResult
    effect_size: float
    wins: int
    better: bool

    @property
    def p(self) -> float:
        return self.result.p_worse if self.test == NO_WORSE else self.result.p

    @property
    def _worse(self) -> bool:
        """Whether the whole interval lies beyond the margin."""
        low, high, margin = self.result.ci_low, self.result.ci_high, self.result.margin
        return high < -margin if self.better else low > margin

    def line(self, p_adjusted: float, alpha: float) -> dict:
        verdict = "inconclusive"
        if p_adjusted < alpha:
            verdict = "no worse" if self.test == NO_WORSE else "equivalent"
        elif self.test == NO_WORSE and self._worse:
            verdict = "worse"
        return {
            "experiment": self.experiment,
            "comparison": self.comparison.name,
            "metric": self.result.metric,
            "test": self.test,
            "n": self.result.n,
            "baseline": self.baseline,
            "treated": self.treated,
            "difference": self.result.difference,
            "ci_low": self.result.ci_low,
            "ci_high": self.result.ci_high,
            "effect_size": self.effect_size,
            "p": self.p,
            "p_adjusted": p_adjusted,
            "wins": self.wins,
            "verdict": verdict,
            "reason": "" if self.result.objection is None else str(self.result.objection),
            "margin": self.result.margin,
            "family": self.comparison.family,
            "baseline_arm": self.comparison.baseline,
            "treated_arm": self.comparison.treated,
            "unit": "seed",
            "alpha": alpha,
        }


def _tested(
    observations: pd.DataFrame,
    comparison: Comparison,
    metric: str,
    share: float,
    test: str,
    reference: str | None,
    alpha: float,
) -> _Tested:
    pairs = pairs_of(observations, comparison, metric)
    before, after = pairs.baseline, pairs.treated
    better = higher_is_better(observations, metric)
    of_metric = observations[observations["metric"] == metric]
    whole = of_metric.loc[of_metric["arm"] == (reference or comparison.baseline), "value"].mean()
    size = share * abs(float(whole))
    try:
        found = tost(before.tolist(), after.tolist(), metric=metric, higher_is_better=better, margin=size, alpha=alpha)
    except StatisticsError:  # a value that is not finite, or differences without variance: nothing is shown
        nan = float("nan")
        found = EquivalenceResult(
            metric, len(before), size, float(np.mean(after - before)), nan, nan, 1.0, 1.0, 1.0, "inconclusive"
        )
    difference = after - before
    with np.errstate(invalid="ignore"):
        spread = float(difference.std(ddof=1))
    return _Tested(
        str(observations["experiment"].iloc[0]),
        comparison,
        test,
        float(before.mean()),
        float(after.mean()),
        found,
        float(difference.mean()) / spread if spread else 0.0,
        int(((after > before) if better else (after < before)).sum()),
        better,
    )
