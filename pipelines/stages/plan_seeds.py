"""Plans how many seeds a proof takes, where the config does not say so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from omegaconf import DictConfig

from flowgrad.errors import FlowGradError, StatisticsError
from flowgrad.lazy import LazyModule
from flowgrad.statistics import CONTROL, Comparison, detectable_effect, pairs_of, seeds_needed

stats = LazyModule("scipy.stats")

AUTO = "auto"
_CONFIDENCE = 0.8
"""Probability that the spread is not underestimated: a pilot of few seeds would promise too much power half of the time
(Browne 1995, Statistics in Medicine 14:1933).
"""


@dataclass(frozen=True)
class SeedPlan:
    """Seeds of a proof, and why as many; each field is a column of `seeds.csv`."""

    comparison: str
    metric: str
    pilot: int
    """Number of seeds of the pilot."""
    baseline: float
    """Mean of the baseline over the pilot."""
    sd: float
    """Standard deviation of the paired differences over the pilot."""
    sd_upper: float
    """Upper confidence limit of `sd`, by which is planned."""
    effect: float
    """Smallest difference worth finding, in the metric's unit."""
    alpha: float
    """Level of each comparison, after Bonferroni's division over the family."""
    power: float
    """Power asked for, in (0, 1)."""
    needed: int
    """Number of seeds for this comparison; more than `most` is given as `most` + 1."""
    detectable: float
    """Smallest difference that the seeds taken find with that power, in the metric's unit."""


def is_auto(config: DictConfig) -> bool:
    """Whether the seeds of the proof are to be planned."""
    return config.seeds.test == AUTO


def plan_seeds(
    config: DictConfig, pilot: pd.DataFrame, planned: Sequence[Comparison], metrics: Sequence[str]
) -> tuple[list[int], pd.DataFrame]:
    """Plan the seeds of the proof, enough for the comparison that needs most; return also the plan: one line a
    comparison and metric.

    The pilot gives nothing but the spread, and its seeds are not used again: a proof that kept them would reject a true
    null more often than it says (Coffey and Muller 1999, Statistics in Medicine 18:1199).

    Args:
        config: its `seeds.auto` is the rule.
        pilot: observations of the arms on the pilot's seeds; columns as `OBSERVATION_COLUMNS`.
        planned: what will be compared.
        metrics: that will be tested.

    Raises:
        FlowGradError: an arm diverged on a pilot seed.
    """
    rule = config.seeds.auto
    asked = [c for c in planned if c.family != CONTROL] or list(planned)
    level = config.comparison.alpha / (len(asked) * len(metrics))
    found = [(c, metric, *_spread(c, metric, pilot)) for c in asked for metric in metrics]
    needs = [_needed(rule.effect * abs(mean), upper, rule.power, level, rule.most) for *_, mean, _, upper in found]
    n = min(rule.most, max(rule.least, *needs))
    least = detectable_effect(n, power=rule.power, alpha=level)
    lines = [
        SeedPlan(c.name, metric, len(rule.pilot), mean, sd, upper, rule.effect * abs(mean), level, rule.power, need,
             least * upper)
        for (c, metric, mean, sd, upper), need in zip(found, needs, strict=True)
    ]  # fmt: skip
    return list(range(rule.first, rule.first + n)), pd.DataFrame(lines)


def _spread(comparison: Comparison, metric: str, pilot: pd.DataFrame) -> tuple[float, float, float]:
    """Mean of the baseline, standard deviation of the differences, and its upper limit."""
    try:
        pairs = pairs_of(pilot, comparison, metric)
        difference = pairs.treated - pairs.baseline
        if not all(map(math.isfinite, difference)):
            raise StatisticsError(f"{metric} is not finite on every seed")
    except StatisticsError as error:
        raise FlowGradError(
            f"seeds.test=auto: {comparison.name} cannot be planned: {error}; give seeds.test as a list"
        ) from error
    sd, df = float(difference.std(ddof=1)), len(difference) - 1
    return float(pairs.baseline.mean()), sd, sd * math.sqrt(df / stats.chi2.ppf(1 - _CONFIDENCE, df))


def _needed(effect: float, sd: float, power: float, alpha: float, most: int) -> int:
    if sd == 0:
        return 2
    try:
        return min(seeds_needed(effect / sd, power=power, alpha=alpha), most + 1)
    except StatisticsError:
        return most + 1  # out of reach
