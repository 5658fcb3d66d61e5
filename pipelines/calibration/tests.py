"""The tests under calibration: from two arms of one configuration to whether the test rejects."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import stats

from flowgrad.statistics import (
    NOT_EVIDENCE,
    Comparison,
    adjust,
    bootstrap_interval,
    paired_t,
    sign_test,
    tost,
    user_significance,
    variance_ratio,
    variance_test,
    wilcoxon,
)
from pipelines.evaluation import higher_is_better

TOST_MARGIN = 3.0
"""In standard deviations of a seed's value; wide, so that one of the two one-sided tests decides."""


@dataclass(frozen=True)
class Arms:
    """Two arms of one configuration: what each seed gave."""

    metrics: Mapping[str, tuple[np.ndarray, np.ndarray]]
    """Tested metrics, the primary one first -> values of both arms, shape (pairs,) each."""
    users: tuple[np.ndarray, np.ndarray]
    """The evaluation's first metric by user, shape (pairs, users)."""
    spread: float
    """Standard deviation of the primary metric over seeds, known from all runs."""

    @cached_property
    def user_lines(self) -> pd.DataFrame:
        """What the significance table says of users."""
        metric = next(iter(self.metrics))
        return user_significance(
            {"baseline": self.users[0], "treated": self.users[1]},
            [Comparison("treated_vs_baseline", "baseline", "treated", "a/a")],
            experiment="calibration",
            metric=metric,
            higher_is_better=higher_is_better(metric),
        )


@dataclass(frozen=True)
class Calibrated:
    """A test, and what it promises."""

    rejects: Callable[[Arms, float], bool]
    """At this level."""
    evidence: str
    """`yes`: a run prints its p as evidence. `library`: it is offered to users. `no`: shown to warn of it."""
    level: Callable[[int, float], float] = lambda pairs, alpha: alpha
    """Probability to reject a true null, by pairs and nominal level."""
    at_most: bool = False
    """It may reject less often than that."""
    slow: bool = False
    """Left out where runs are dealt anew."""


def wilcoxon_level(pairs: int, alpha: float) -> float:
    """Probability that the exact two-sided signed-rank test rejects: the largest that it can have below alpha.

    >>> wilcoxon_level(6, 0.05)
    0.03125
    """
    ways = np.ones(1)
    for rank in range(1, pairs + 1):
        longer = np.zeros(len(ways) + rank)
        longer[: len(ways)] += ways
        longer[rank:] += ways
        ways = longer
    both_tails = 2 * np.cumsum(ways) / 2**pairs
    reached = both_tails[both_tails < alpha]
    return float(reached[-1]) if len(reached) else 0.0


def sign_level(pairs: int, alpha: float) -> float:
    """As `wilcoxon_level`, of the sign test.

    >>> sign_level(6, 0.05)
    0.03125
    """
    both_tails = 2 * stats.binom.cdf(np.arange(pairs // 2), pairs, 0.5)
    reached = both_tails[both_tails < alpha]
    return float(reached[-1]) if len(reached) else 0.0


def _paired(test: Callable) -> Callable[[Arms, float], bool]:
    def rejects(arms: Arms, alpha: float) -> bool:
        metric, (before, after) = next(iter(arms.metrics.items()))
        better = higher_is_better(metric)
        return test(before.tolist(), after.tolist(), metric=metric, higher_is_better=better, alpha=alpha).p < alpha

    return rejects


def _family(arms: Arms, alpha: float) -> bool:
    """Any metric of the family."""
    results = [
        paired_t(before.tolist(), after.tolist(), metric=metric, higher_is_better=higher_is_better(metric), alpha=alpha)
        for metric, (before, after) in arms.metrics.items()
    ]
    return any(result.p_adjusted < alpha for result in adjust(results, alpha))


def _no_worse(arms: Arms, alpha: float) -> bool:
    """The treated arm is made worse by exactly the margin."""
    metric, (before, after) = next(iter(arms.metrics.items()))
    better = higher_is_better(metric)
    margin = TOST_MARGIN * arms.spread
    shifted = after - margin if better else after + margin
    return (
        tost(before.tolist(), shifted.tolist(), metric=metric, higher_is_better=better, margin=margin).p_worse < alpha
    )


def _variance(arms: Arms, alpha: float) -> bool:
    metric, (before, after) = next(iter(arms.metrics.items()))
    return variance_test(before.tolist(), after.tolist(), metric=metric, alpha=alpha).p < alpha


def _bootstrap(arms: Arms, alpha: float) -> bool:
    metric, (before, after) = next(iter(arms.metrics.items()))
    low, high = bootstrap_interval(before.tolist(), after.tolist(), metric=metric, alpha=alpha)
    return not low <= 0 <= high


def _users(test: str) -> Callable[[Arms, float], bool]:
    """A line of the significance table about users, as a run prints it."""

    def rejects(arms: Arms, alpha: float) -> bool:
        line = arms.user_lines[arms.user_lines["test"] == test].iloc[0]
        return line["verdict"] != NOT_EVIDENCE and line["p_adjusted"] < alpha

    return rejects


def _rows_of_one_seed(arms: Arms, alpha: float) -> bool:
    before, after = arms.users
    return bool(stats.ttest_rel(after[0], before[0]).pvalue < alpha)


TESTS: dict[str, Calibrated] = {
    "paired_t": Calibrated(_paired(paired_t), "yes"),
    "wilcoxon": Calibrated(_paired(wilcoxon), "yes", wilcoxon_level),
    "sign": Calibrated(_paired(sign_test), "yes", sign_level),
    "holm over metrics": Calibrated(_family, "yes", at_most=True),
    "crossed_t": Calibrated(_users("crossed_t"), "yes", at_most=True),
    "row_t where printed": Calibrated(_users("row_t"), "yes", at_most=True),
    "tost, at the margin": Calibrated(_no_worse, "library"),
    "variance_test": Calibrated(_variance, "yes"),
    "bootstrap_interval": Calibrated(_bootstrap, "library", slow=True),
    "row_t of one seed": Calibrated(_rows_of_one_seed, "no"),
}


def v_ratio(arms: Arms) -> float:
    """`flowgrad.statistics.variance_ratio` of the arms' differences; NaN where rows do not vary."""
    difference = arms.users[1] - arms.users[0]
    return variance_ratio(difference).v if np.ptp(difference) else math.nan
