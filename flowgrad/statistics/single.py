"""Tests one comparison of two arms by itself, whatever the values are."""

from __future__ import annotations

from collections.abc import Sequence

from flowgrad.errors import StatisticsError
from flowgrad.statistics.paired import paired_t, sign_test
from flowgrad.statistics.resampling import corrected_t
from flowgrad.statistics.result import TestResult


def arms_test(
    before: Sequence[float],
    after: Sequence[float],
    *,
    metric: str,
    higher_is_better: bool,
    alpha: float = 0.05,
    overlap: float | None = None,
) -> TestResult:
    """Make the paired t-test, corrected where seeds share rows; the sign test where a run diverged or nothing varies.

    Args:
        before: one value a seed, shape (seeds,).
        after: of the same seeds.
        metric: its name.
        higher_is_better: the metric's direction.
        alpha: level.
        overlap: of the splits that seeds stand for (see `corrected_t`); None where they are no splits.

    Raises:
        StatisticsError: the arms are not paired, or hold fewer than two values.
    """
    better = higher_is_better
    try:
        if overlap is not None:
            return corrected_t(before, after, metric=metric, higher_is_better=better, overlap=overlap, alpha=alpha)
        return paired_t(before, after, metric=metric, higher_is_better=better, alpha=alpha)
    except StatisticsError:
        return sign_test(before, after, metric=metric, higher_is_better=better, alpha=alpha)
