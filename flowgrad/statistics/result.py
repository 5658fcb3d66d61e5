"""Holds the result of a test of two arms, and the checks that every such test makes of its observations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from flowgrad.errors import StatisticsError
from flowgrad.gate import Objection, arms_objection


@dataclass(frozen=True)
class TestResult:
    """One test of one metric between two arms. `difference` is treated minus baseline, in the metric's unit."""

    __test__ = False  # keeps pytest from collecting the class

    test: str
    """Name of the test: `paired_t`, `wilcoxon` or `sign`."""
    metric: str
    n: int
    """Number of pairs."""
    baseline: float
    """Mean of the baseline arm over seeds."""
    treated: float
    difference: float
    ci_low: float
    """Lower end of the (1 - alpha) interval of the difference; NaN where the test gives none."""
    ci_high: float
    effect_size: float
    """Cohen's d_z: mean over standard deviation of the paired differences (Cohen 1988)."""
    statistic: float
    df: float
    p: float
    """P-value, two-sided."""
    p_adjusted: float
    """P-value after adjustment over the family; equal to `p` until `adjust` was called."""
    wins: int
    """Number of seeds on which the treated arm was strictly better."""
    higher_is_better: bool
    verdict: str
    """Verdict: `confirmed` (better), `refuted` (worse) or `inconclusive` at level alpha, by `p_adjusted`."""
    objection: Objection | None = field(default=None)
    """Objection to the observations as evidence (see `flowgrad.gate`): there is then no p, and the verdict is
    `inconclusive`.
    """

    @property
    def reason(self) -> str:
        """The objection in one line; empty where there is none."""
        return "" if self.objection is None else str(self.objection)


def verdict(result: TestResult, alpha: float) -> str:
    """Verdict by the adjusted p and the direction; `inconclusive` where the observations are no evidence."""
    if (result.objection is not None and result.objection.blocks) or not result.p_adjusted < alpha:
        return "inconclusive"
    # The effect size has the difference's sign, and exists where a mean does not.
    better = result.effect_size > 0 if result.higher_is_better else result.effect_size < 0
    return "confirmed" if better else "refuted"


def paired(baseline: Sequence[float], treated: Sequence[float], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Convert both arms to arrays of one length, two values at least.

    Raises:
        StatisticsError: they are not.
    """
    before, after = np.asarray(baseline, dtype=float), np.asarray(treated, dtype=float)
    if before.shape != after.shape or before.ndim != 1:
        raise StatisticsError(f"{metric}: the arms are not paired: {before.shape} against {after.shape} values")
    if len(before) < 2:
        raise StatisticsError(f"{metric}: {len(before)} pair(s) of seeds; a paired test needs at least 2")
    return before, after


def checked(baseline: Sequence[float], treated: Sequence[float], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Convert both arms as `paired` does, and refuse values that are not finite.

    Raises:
        StatisticsError: as `paired`, or a value is not finite.
    """
    before, after = paired(baseline, treated, metric)
    for arm, values in (("baseline", before), ("treated", after)):
        if not np.isfinite(values).all():
            at = int(np.flatnonzero(~np.isfinite(values))[0])
            raise StatisticsError(f"{metric}: the {arm} arm's value {values[at]} at pair {at} is not finite")
    return before, after


def build_result(
    test: str,
    metric: str,
    before: np.ndarray,
    after: np.ndarray,
    higher_is_better: bool,
    alpha: float,
    statistic: float,
    p: float,
    effect_size: float,
    df: float = float("nan"),
    low: float = float("nan"),
    high: float = float("nan"),
) -> TestResult:
    """Fill in the figures that follow from the arms themselves, and the verdict, unless the gate objects to the
    arms.
    """
    with np.errstate(invalid="ignore"):  # a sign test may be of infinities
        difference = after - before
    result = TestResult(
        test=test,
        metric=metric,
        n=len(difference),
        baseline=float(before.mean()),
        treated=float(after.mean()),
        difference=float(difference.mean()),
        ci_low=float(low),
        ci_high=float(high),
        effect_size=float(effect_size),
        statistic=float(statistic),
        df=float(df),
        p=float(p),
        p_adjusted=float(p),
        wins=int((difference > 0).sum() if higher_is_better else (difference < 0).sum()),
        higher_is_better=higher_is_better,
        verdict="inconclusive",
    )
    return objected(result, arms_objection(before, after, metric, splits=test == "corrected_t"), alpha)


def objected(result: TestResult, objection: Objection | None, alpha: float) -> TestResult:
    """Give the result the verdict that follows; without p and interval where the objection blocks it."""
    if objection is None:
        return replace(result, verdict=verdict(result, alpha))
    result = replace(result, objection=objection)
    if objection.blocks:
        nan = math.nan
        result = replace(result, p=nan, p_adjusted=nan, ci_low=nan, ci_high=nan, statistic=nan)
    return replace(result, verdict=verdict(result, alpha))
