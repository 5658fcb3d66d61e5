"""The tests under calibration: each takes arms of one configuration and says whether it rejects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flowgrad.statistics import (
    CONTROL,
    NOT_EVIDENCE,
    TestResult,
    adjust,
    bootstrap_interval,
    paired_t,
    sign_test,
    tost,
    variance_test,
    wilcoxon,
)
from pipelines.benchmarks.aa_tests.levels import sign_level, wilcoxon_level
from pipelines.benchmarks.aa_tests.pool import Arms
from pipelines.stages.compare import comparisons
from pipelines.trainers.evaluation import higher_is_better

TOST_MARGIN = 3.0
"""Margin in standard deviations of a seed's value; wide, so that the other of the two one-sided tests always
rejects.
"""
FAMILY_ROUNDS = 2
"""Number of rounds of treatment: the family is the whole and each round's share, on every metric."""
FAMILY_ARMS = FAMILY_ROUNDS + 1
ROW_T = "row_t of one seed"


@dataclass(frozen=True)
class Calibrated:
    """A test, and its promised level."""

    rejects: Callable[[Arms, float], bool]
    """Function that says whether the test rejects at a level."""
    evidence: str
    """Use of the test. `yes`: a run prints its p as evidence. `library`: it is offered to users. `no`: shown to warn of
    it.
    """
    level: Callable[[int, float], float] = lambda pairs, alpha: alpha
    """Probability to reject a true null, by pairs and nominal level."""
    at_most: bool = False
    """Whether it may reject less often than that."""
    arms: int = 2
    slow: bool = False
    """Whether it is left out where runs are divided anew."""

    @property
    def judged(self) -> bool:
        """Whether it has to keep its level."""
        return self.evidence != "no"


def _result(test: Callable[..., TestResult], arms: Arms, metric: str, before: int, after: int) -> TestResult:
    values = arms.metrics[metric]
    better = higher_is_better(metric)
    return test(values[before].tolist(), values[after].tolist(), metric=metric, higher_is_better=better)


def _paired(test: Callable[..., TestResult]) -> Callable[[Arms, float], bool]:
    return lambda arms, alpha: _result(test, arms, arms.primary, 0, 1).p < alpha


def _family(arms: Arms, alpha: float) -> bool:
    """Whether any comparison of a run with two rounds of treatment rejects, on any of its metrics."""
    names = ["baseline", *(f"round{number}" for number in range(1, FAMILY_ROUNDS)), "treated"]
    planned = [c for c in comparisons(FAMILY_ROUNDS, aa_offset=1) if c.family != CONTROL]
    results = [
        _result(paired_t, arms, metric, names.index(one.baseline), names.index(one.treated))
        for one in planned
        for metric in arms.metrics
    ]
    return any(result.p_adjusted < alpha for result in adjust(results, alpha))


def _no_worse(arms: Arms, alpha: float) -> bool:
    """Whether the test of non-inferiority rejects for a treated arm that is worse by exactly the margin."""
    before, after = arms.metrics[arms.primary]
    better = higher_is_better(arms.primary)
    margin = TOST_MARGIN * arms.spread
    worse = (after - margin if better else after + margin).tolist()
    found = tost(before.tolist(), worse, metric=arms.primary, higher_is_better=better, margin=margin, alpha=alpha)
    return found.verdict != "inconclusive"


def _variance(arms: Arms, alpha: float) -> bool:
    before, after = arms.metrics[arms.primary].tolist()
    return variance_test(before, after, metric=arms.primary, alpha=alpha).p < alpha


def _bootstrap(arms: Arms, alpha: float) -> bool:
    before, after = arms.metrics[arms.primary].tolist()
    low, high = bootstrap_interval(before, after, metric=arms.primary, alpha=alpha)
    return not low <= 0 <= high


def _users(test: str) -> Callable[[Arms, float], bool]:
    """Make the test of a line of the significance table about users, as a run prints it."""

    def rejects(arms: Arms, alpha: float) -> bool:
        for _, line in arms.user_lines.iterrows():
            if line["test"] == test:
                return bool(line["verdict"] != NOT_EVIDENCE and line["p_adjusted"] < alpha)
        return False  # nothing varies: no line is printed

    return rejects


def _rows_of_one_seed(arms: Arms, alpha: float) -> bool:
    """Whether `row_t` would reject were it always printed."""
    before, after = (_first(users) for users in arms.users)
    better = higher_is_better(arms.primary)
    return paired_t(before, after, metric=arms.primary, higher_is_better=better).p < alpha


def _first(users: Sequence) -> list[float]:
    return [float(value) for value in users[0]]


TESTS: dict[str, Calibrated] = {
    "paired_t": Calibrated(_paired(paired_t), "yes"),
    "wilcoxon": Calibrated(_paired(wilcoxon), "yes", wilcoxon_level),
    "sign": Calibrated(_paired(sign_test), "yes", sign_level),
    "any of a family, by Holm": Calibrated(_family, "yes", at_most=True, arms=FAMILY_ARMS),
    "crossed_t": Calibrated(_users("crossed_t"), "yes", at_most=True),
    "row_t where printed": Calibrated(_users("row_t"), "yes", at_most=True),
    "variance_test": Calibrated(_variance, "yes"),
    "tost, at the margin": Calibrated(_no_worse, "library"),
    "bootstrap_interval": Calibrated(_bootstrap, "no", slow=True),
    ROW_T: Calibrated(_rows_of_one_seed, "no"),
}
"""Tests by name; those that are evidence or offered come first."""
