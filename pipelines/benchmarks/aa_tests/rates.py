"""Turns a count of rejections into a rate with its interval."""

from __future__ import annotations

from dataclasses import dataclass

from statsmodels.stats.proportion import proportion_confint


@dataclass(frozen=True)
class Rate:
    """Share of independent tests that reject, with an interval of the true share."""

    tests: int
    rejections: int
    level: float
    """Probability of a rejection that the test promises under a true null hypothesis."""
    at_most: bool
    """Whether it may reject less often than that."""
    confidence: float
    """Confidence of the interval, in (0, 1)."""
    low: float
    """Lower end of the Clopper-Pearson interval of the probability: exact, for no approximation holds for a handful of
    rejections.
    """
    high: float

    @property
    def rate(self) -> float:
        """Share of rejections, in [0, 1]."""
        return self.rejections / self.tests

    @property
    def within(self) -> bool:
        """Whether the interval holds the level; of a test that may reject less often, whether it is not wholly above
        it.
        """
        return self.low <= self.level and (self.at_most or self.level <= self.high)


def rejection_rate(rejections: int, tests: int, level: float, *, at_most: bool, confidence: float) -> Rate:
    """The rate of so many rejections in so many tests of which no two share an observation.

    >>> found = rejection_rate(8, 120, 0.05, at_most=False, confidence=0.95)
    >>> round(found.low, 3), round(found.high, 3), found.within
    (0.029, 0.127, True)
    """
    low, high = proportion_confint(rejections, tests, alpha=1 - confidence, method="beta")
    return Rate(tests, rejections, level, at_most, confidence, float(low), float(high))
