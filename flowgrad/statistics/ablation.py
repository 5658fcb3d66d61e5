"""Measures the share of a gain that goes with one part of a change, by runs with everything but that part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flowgrad.statistics.single import arms_test


@dataclass(frozen=True)
class Ablation:
    """Outcome of leaving a part of a change out. A loss is positive where runs are worse without the part."""

    n: int
    """Number of seeds."""
    with_it: float
    """Mean of the metric with the part."""
    without: float
    """Mean of the metric without it."""
    loss: float
    """Mean loss of the paired runs without it, in the metric's unit; infinite where a run without it has no finite
    value.
    """
    ci_low: float
    """Lower end of the (1 - alpha) interval of the loss; NaN where there is none."""
    ci_high: float
    p: float
    """P-value of "it makes no difference", two-sided."""
    share: float
    """Loss over the gain of the whole change."""
    share_low: float
    """Lower end of the interval of the share. It takes the gain for known: the gain's own spread is not in it."""
    share_high: float


def mean_gain(before: Sequence[float], after: Sequence[float], *, higher_is_better: bool) -> float:
    """Compute the difference of the means of two arms, in their unit; it is above 0 where the second is better.

    >>> mean_gain([1.0, 3.0], [0.5, 1.5], higher_is_better=False)
    1.0
    """
    difference = float(np.mean(after)) - float(np.mean(before))
    return difference if higher_is_better else 0.0 - difference


def ablation(
    without: Sequence[float],
    with_it: Sequence[float],
    gain: float,
    *,
    metric: str,
    higher_is_better: bool,
    alpha: float = 0.05,
    overlap: float | None = None,
) -> Ablation:
    """Test a part of a change by paired runs without it and with it.

    The shares of several parts need not add up to 1: two parts that do the same thing have a share of 0 each, and two
    that only work together have all of it each.

    Args:
        without: one value a seed, shape (seeds,).
        with_it: of the same seeds.
        gain: of the whole change, in the metric's unit, above 0.
        metric: its name.
        higher_is_better: the metric's direction.
        alpha: level of the interval.
        overlap: of the splits that seeds stand for (see `corrected_t`); None where they are no splits.

    Raises:
        StatisticsError: the arms are not paired, or hold fewer than two values.
    """
    found = arms_test(without, with_it, metric=metric, higher_is_better=higher_is_better, alpha=alpha, overlap=overlap)
    loss, low, high = found.difference, found.ci_low, found.ci_high
    if not higher_is_better:
        loss, low, high = 0.0 - loss, 0.0 - high, 0.0 - low  # and no zero below 0
    if not np.isfinite(without).all():
        loss = math.inf if np.isfinite(with_it).all() else math.nan
    return Ablation(
        found.n,
        found.treated,
        found.baseline,
        loss,
        low,
        high,
        found.p,
        *((value / gain if gain > 0 else math.nan) for value in (loss, low, high)),
    )
