"""Tests one comparison of two arms by itself, whatever the values are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from flowgrad.errors import StatisticsError
from flowgrad.statistics.paired import paired_t, sign_test
from flowgrad.statistics.pairs import too_few
from flowgrad.statistics.resampling import corrected_t
from flowgrad.statistics.result import TestResult, objected


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
    Two pairs are `too_few` for a verdict.

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
    test = paired_t if overlap is None else partial(corrected_t, overlap=overlap)
    try:
        result = test(before, after, metric=metric, higher_is_better=higher_is_better, alpha=alpha)
    except StatisticsError:
        result = sign_test(before, after, metric=metric, higher_is_better=higher_is_better, alpha=alpha)
    return objected(result, too_few(len(before)), alpha)
