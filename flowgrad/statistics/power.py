"""Says how many seeds a paired t-test needs, and which effect it could have found."""

from __future__ import annotations

import math
from functools import cache

from flowgrad.errors import StatisticsError
from flowgrad.lazy import LazyModule

tests_power = LazyModule("statsmodels.stats.power")

MOST_SEEDS = 10_000
"""Number of seeds above which an effect is called out of reach."""


def seeds_needed(effect_size: float, *, power: float = 0.8, alpha: float = 0.05) -> int:
    """Number of pairs, at least, with which a two-sided paired t-test finds an effect of that size with that
    probability.

    Args:
        effect_size: Cohen's d_z, mean over standard deviation of the paired differences; the sign does not matter.
        power: probability to find it, in (alpha, 1).
        alpha: level of the test.

    Raises:
        StatisticsError: an effect of zero or one that is not finite, a power or level out of range, or an effect too
            small for 10,000 seeds.

    >>> seeds_needed(1.0)
    10
    """
    _check(alpha, power)
    if not (math.isfinite(effect_size) and effect_size):
        raise StatisticsError(f"effect_size={effect_size}: must be a finite number other than 0")
    size = abs(effect_size)

    def reached(n: int) -> float:
        return float(tests_power.TTestPower().power(size, n, alpha))

    low, high = 1, 2
    while reached(high) < power:
        low, high = high, 2 * high
        if high > MOST_SEEDS:
            raise StatisticsError(f"effect_size={effect_size}: more than {MOST_SEEDS} seeds are needed to find it")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) >= power else (middle, high)
    return high


def detectable_effect(n: int, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest effect, d_z in standard deviations of the paired differences, that a two-sided paired t-test over `n`
    pairs finds with that probability.

    Raises:
        StatisticsError: fewer than two pairs, or a power or level out of range.

    >>> round(detectable_effect(10), 3)
    0.996
    """
    _check(alpha, power)
    if n < 2:
        raise StatisticsError(f"n={n} pair(s): a paired test needs at least 2")
    return _solved(n, power, alpha)


@cache
def _solved(n: int, power: float, alpha: float) -> float:
    """Solve for the effect; all lines of a table have the same number of pairs."""
    return float(tests_power.TTestPower().solve_power(effect_size=None, nobs=n, alpha=alpha, power=power))


def _check(alpha: float, power: float) -> None:
    if not 0 < alpha < 1:
        raise StatisticsError(f"alpha={alpha} must lie between 0 and 1")
    if not alpha < power < 1:
        raise StatisticsError(f"power={power} must lie between alpha={alpha} and 1")
