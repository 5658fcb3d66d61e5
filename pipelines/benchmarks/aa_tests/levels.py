"""Computes the probability with which an exact test on few pairs rejects a true null hypothesis: less than alpha, and
known.
"""

from __future__ import annotations

import numpy as np
from scipy import stats


def wilcoxon_level(pairs: int, alpha: float) -> float:
    """Level that the exact two-sided signed-rank test attains: its largest p below alpha (0 where it has none), by
    counting the sets of ranks of each sum.

    Args:
        pairs: number of pairs, none of which tie.
        alpha: nominal level.

    >>> wilcoxon_level(6, 0.05)
    0.03125
    >>> wilcoxon_level(5, 0.05)
    0.0
    """
    ways = np.ones(1)
    for rank in range(1, pairs + 1):
        longer = np.zeros(len(ways) + rank)
        longer[: len(ways)] += ways
        longer[rank:] += ways
        ways = longer
    return _largest_below(alpha, 2 * np.cumsum(ways) / 2**pairs)


def sign_level(pairs: int, alpha: float) -> float:
    """Level that the sign test attains, as `wilcoxon_level` gives it for the signed-rank test.

    >>> sign_level(6, 0.05)
    0.03125
    """
    return _largest_below(alpha, 2 * stats.binom.cdf(np.arange((pairs + 1) // 2), pairs, 0.5))


def _largest_below(alpha: float, both_tails: np.ndarray) -> float:
    reached = both_tails[both_tails < alpha]
    return float(reached[-1]) if len(reached) else 0.0
