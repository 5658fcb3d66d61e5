"""From observations to the significance table: which arms are compared, by which tests, in which families."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from flowgrad.errors import StatisticsError
from flowgrad.statistics.paired import adjust, gap_closed, paired_t, sign_test, wilcoxon
from flowgrad.statistics.pairs import Pairs, pair
from flowgrad.statistics.power import detectable_effect
from flowgrad.statistics.resampling import corrected_t
from flowgrad.statistics.result import TestResult

OBSERVATION_COLUMNS = ("experiment", "arm", "seed", "metric", "value", "higher_is_better")
CONTROL = "control"
"""Family of the A/A comparison."""
PRIMARY = ("paired_t", "corrected_t", "sign")
"""Tests that a verdict rests on; the others are checks on them."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
    """Which arm is compared with which."""

    name: str
    baseline: str
    treated: str
    family: str
    """Comparisons of one family are adjusted together."""
    seed_offset: int = 0
    """What the treated arm's seeds are more than the baseline's that they are paired with: other seeds, for A/A."""


def significance(
    observations: pd.DataFrame,
    planned: Sequence[Comparison],
    metrics: Sequence[str],
    alpha: float = 0.05,
    reference: str = "tuned",
    power: float = 0.8,
    overlap: float | None = None,
) -> pd.DataFrame:
    """One line a comparison, metric and test. Paired t is the primary test, Wilcoxon the check; the sign test stands
    in for both where a run diverged and its metric is not finite. Where seeds stand for splits that share rows, the
    corrected t-test is the one test.

    `detectable` is the smallest difference, in the metric's unit, that the t-test over as many pairs of that spread
    finds with probability `power` (unadjusted): what an inconclusive verdict can speak of.

    Args:
        observations: one line a seed, arm and metric; columns `OBSERVATION_COLUMNS`.
        planned: what is compared, decided before anything was observed.
        metrics: metrics tested, all in every family.
        alpha: level.
        reference: arm that `gap_closed` is measured to, where it was observed.
        power: of `detectable`.
        overlap: of the splits that the seeds stand for (see `corrected_t`); None where seeds are no splits.

    Raises:
        StatisticsError: nothing to compare, a column, arm or seed is missing, or a seed stands twice in an arm.
    """
    if not planned or not metrics:
        raise StatisticsError("name at least one comparison and one metric")
    lines = []
    for family in dict.fromkeys(comparison.family for comparison in planned):
        members = [(c, m) for c in planned if c.family == family for m in metrics]
        for test in (paired_t, wilcoxon) if overlap is None else (partial(corrected_t, overlap=overlap),):
            results = [(c, _test(test, observations, c, m, alpha)) for c, m in members]
            known = [(c, r) for c, r in results if r is not None]
            for (comparison, _), result in zip(known, adjust([r for _, r in known], alpha), strict=True):
                found = _detectable(result, alpha, power, overlap)
                line = _line(observations, comparison, result, reference)
                unit = "seed" if overlap is None else "split"
                lines.append(line | {"unit": unit, "alpha": alpha, "detectable": found, "power": power})
    table = pd.DataFrame(lines)
    order = [(c.name, m) for c in planned for m in metrics]
    rank = [order.index(key) for key in zip(table["comparison"], table["metric"], strict=True)]
    return table.iloc[np.argsort(rank, kind="stable")].reset_index(drop=True)


def pairs_of(observations: pd.DataFrame, comparison: Comparison, metric: str) -> Pairs:
    """Both arms' values, paired by seed.

    Raises:
        StatisticsError: as `pair`.
    """
    if comparison.seed_offset:
        shifted = observations["seed"] - comparison.seed_offset * (observations["arm"] == comparison.treated)
        observations = observations.assign(seed=shifted)
    return pair(observations, comparison.baseline, comparison.treated, metric)


def _test(
    test: Callable[..., TestResult], observations: pd.DataFrame, comparison: Comparison, metric: str, alpha: float
) -> TestResult | None:
    """The test of one comparison. None for the check where it cannot be made."""
    pairs = pairs_of(observations, comparison, metric)
    before, after = pairs.baseline.tolist(), pairs.treated.tolist()
    better = higher_is_better(observations, metric)
    try:
        return test(before, after, metric=metric, higher_is_better=better, alpha=alpha)
    except StatisticsError as error:
        if test is wilcoxon:
            return None
        _logger.warning("%s: %s; the sign test stands in", comparison.name, error)
        return sign_test(before, after, metric=metric, higher_is_better=better, alpha=alpha)


def higher_is_better(observations: pd.DataFrame, metric: str) -> bool:
    """Direction of a metric, as the observations have it.

    Raises:
        StatisticsError: they do not say, or say both.
    """
    if "higher_is_better" not in observations:
        raise StatisticsError("the observations have no column 'higher_is_better'")
    directions = observations.loc[observations["metric"] == metric, "higher_is_better"].unique()
    if len(directions) != 1:
        raise StatisticsError(f"{metric}: the observations give {len(directions)} directions; give one")
    return bool(directions[0])


def _line(observations: pd.DataFrame, comparison: Comparison, result: TestResult, reference: str) -> dict:
    metric = observations[observations["metric"] == result.metric]
    tuned = metric.loc[metric["arm"] == reference, "value"]
    closed = float("nan")
    if len(tuned) and comparison.family != CONTROL:
        start = metric.loc[metric["arm"] == "baseline", "value"].to_numpy().mean()  # pandas would pass over NaN
        closed = gap_closed(float(start), result.treated, float(tuned.to_numpy().mean()))
    return {
        "experiment": observations["experiment"].iloc[0],
        "comparison": comparison.name,
        "metric": result.metric,
        "test": result.test,
        "n": result.n,
        "baseline": result.baseline,
        "treated": result.treated,
        "difference": result.difference,
        "ci_low": result.ci_low,
        "ci_high": result.ci_high,
        "effect_size": result.effect_size,
        "p": result.p,
        "p_adjusted": result.p_adjusted,
        "wins": result.wins,
        "gap_closed": closed,
        "verdict": result.verdict,
        "family": comparison.family,
        "baseline_arm": comparison.baseline,
        "treated_arm": comparison.treated,
    }


def _detectable(result: TestResult, alpha: float, power: float, overlap: float | None) -> float:
    if result.test not in ("paired_t", "corrected_t") or not result.effect_size:
        return float("nan")
    wider = 1.0 if overlap is None else math.sqrt(1 + result.n * overlap / (1 - overlap))
    deviation = abs(result.difference / result.effect_size)
    return detectable_effect(result.n, power=power, alpha=alpha) * wider * deviation
