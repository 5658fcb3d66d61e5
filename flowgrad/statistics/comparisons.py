"""Makes the significance table from observations: which arms are compared, by which tests, in which families."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowgrad.errors import StatisticsError
from flowgrad.gate import DOWNGRADED, Objection, arms_objections
from flowgrad.gate.runs import APART, rounding_of
from flowgrad.statistics.paired import adjust, gap_closed, paired_t, sign_test, wilcoxon
from flowgrad.statistics.pairs import Pairs, pair, too_few
from flowgrad.statistics.power import detectable_effect
from flowgrad.statistics.resampling import corrected_t
from flowgrad.statistics.result import TestResult, build_result, objected

OBSERVATION_COLUMNS = ("experiment", "arm", "seed", "metric", "value", "higher_is_better")
CONTROL = "control"
"""Family of the A/A comparison."""
PRIMARY = ("paired_t", "corrected_t", "sign")
"""Tests that a verdict rests on; the others are checks on them."""

_OF_DIFFERENCE = 1e-3
"""Share of a difference below which it does not vary, if that is within rounding too: two arms whose difference is as
small as their rounding may differ by chance.
"""
_LINE = 3
"""Number of pairs from which a ratio that is the same in all is no chance."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
    """One planned comparison of two arms."""

    name: str
    baseline: str
    treated: str
    family: str
    """Name of the family; comparisons of one family are adjusted together."""
    seed_offset: int = 0
    """Number added to the baseline's seeds to give the treated arm's that they are paired with: other seeds, for
    A/A.
    """


def significance(
    observations: pd.DataFrame,
    planned: Sequence[Comparison],
    metrics: Sequence[str],
    alpha: float = 0.05,
    reference: str = "tuned",
    power: float | None = 0.8,
    overlap: float | None = None,
    objection: Objection | None = None,
) -> pd.DataFrame:
    """Make one line a comparison, metric and test. Paired t is the primary test, Wilcoxon the check; the sign test
    stands in for both where a run diverged and its metric is not finite. Where seeds stand for splits that share rows,
    the corrected t-test is the one test.

    Observations pass the gate first (`flowgrad.gate.arms_objections`): where the treated arm's runs are one run in a
    metric, or every seed differs by the same, its lines have no p, the verdict `inconclusive` and a `reason`. Another
    metric of that comparison has so too only where the same runs are one run in every metric.

    `detectable` is the smallest difference, in the metric's unit, that the t-test over as many pairs of that spread
    finds with probability `power` (unadjusted): what an inconclusive verdict can speak of.

    Args:
        observations: one line a seed, arm and metric; columns `OBSERVATION_COLUMNS`.
        planned: what is compared, decided before anything was observed.
        metrics: metrics tested, all in every family.
        alpha: level.
        reference: arm that `gap_closed` is measured to, where it was observed.
        power: of `detectable`; None: it is not computed, which takes the longest.
        overlap: of the splits that the seeds stand for (see `corrected_t`); None where seeds are no splits.
        objection: to the data that all runs were trained and tested on; where it blocks, nothing is confirmed.

    Raises:
        StatisticsError: nothing to compare, a column, arm or seed is missing, or a seed stands twice in an arm.
    """
    if not planned or not metrics:
        raise StatisticsError("name at least one comparison and one metric")
    lines = []
    pairs = {c.name: {m: pairs_of(observations, c, m) for m in metrics} for c in planned}
    better = {m: higher_is_better(observations, m) for m in metrics}
    gaps = {m: _gap(observations, m, reference) for m in metrics}
    objections = {c.name: _objections(c.name, pairs[c.name], objection, overlap is not None) for c in planned}
    for family in dict.fromkeys(comparison.family for comparison in planned):
        members = [(c, m) for c in planned if c.family == family for m in metrics]
        for test in (paired_t, wilcoxon) if overlap is None else (partial(corrected_t, overlap=overlap),):
            results = [
                (c, _test(test, c.name, pairs[c.name][m], m, better[m], alpha, objections[c.name][m]))
                for c, m in members
            ]
            known = [(c, r) for c, r in results if r is not None]
            for (comparison, _), result in zip(known, adjust([r for _, r in known], alpha), strict=True):
                found = _detectable(result, alpha, power, overlap)
                line = _line(observations, comparison, result, gaps[result.metric])
                unit = "seed" if overlap is None else "split"
                lines.append(line | {"unit": unit, "alpha": alpha, "detectable": found, "power": power})
    table = pd.DataFrame(lines)
    order = [(c.name, m) for c in planned for m in metrics]
    rank = [order.index(key) for key in zip(table["comparison"], table["metric"], strict=True)]
    return table.iloc[np.argsort(rank, kind="stable")].reset_index(drop=True)


def pairs_of(observations: pd.DataFrame, comparison: Comparison, metric: str) -> Pairs:
    """Pair both arms' values by seed.

    Raises:
        StatisticsError: as `pair`.
    """
    if comparison.seed_offset:
        shifted = observations["seed"] - comparison.seed_offset * (observations["arm"] == comparison.treated)
        observations = observations.assign(seed=shifted)
    return pair(observations, comparison.baseline, comparison.treated, metric)


def _test(
    test: Callable[..., TestResult],
    comparison: str,
    pairs: Pairs,
    metric: str,
    better: bool,
    alpha: float,
    objection: Objection | None,
) -> TestResult | None:
    """Make the test of one comparison; None for the check where it cannot be made."""
    before, after = pairs.baseline.tolist(), pairs.treated.tolist()
    try:
        result = test(before, after, metric=metric, higher_is_better=better, alpha=alpha)
        return objected(result, objection, alpha) if objection is not None else result
    except StatisticsError as error:
        if test is wilcoxon:
            return None
        if objection is not None:
            return _untested(pairs, metric, better, alpha, objection, "paired_t" if test is paired_t else "corrected_t")
        units = pairs.units[~np.isfinite(pairs.baseline + pairs.treated)]
        told = f" (seed {', '.join(map(str, units))})" if len(units) else ""
        _logger.warning("%s: %s%s; the sign test stands in", comparison, error, told)
        return sign_test(before, after, metric=metric, higher_is_better=better, alpha=alpha)


def _untested(pairs: Pairs, metric: str, better: bool, alpha: float, objection: Objection, test: str) -> TestResult:
    """Result for arms that are no evidence: their means alone."""
    nan = math.nan
    result = build_result(test, metric, pairs.baseline, pairs.treated, better, alpha, nan, nan, nan)
    return objected(result, objection, alpha)


def _objections(
    comparison: str, pairs: Mapping[str, Pairs], given: Objection | None, splits: bool
) -> dict[str, Objection | None]:
    """Objection of the gate to each metric: the data, runs that are one run, or differences that do not vary."""
    if given is not None and given.blocks:
        return dict.fromkeys(pairs, given)
    found = arms_objections({metric: (own.baseline, own.treated) for metric, own in pairs.items()}, splits=splits)
    found = {
        metric: objection or _constant(pairs[metric], metric) or too_few(len(pairs[metric].units))
        for metric, objection in found.items()
    }
    for metric, objection in found.items():
        if objection is not None:
            _logger.warning("%s: %s; %s is not tested", comparison, objection, metric)
    return found


def _constant(pairs: Pairs, metric: str) -> Objection | None:
    """Objection to pairs of which the one value gives the other: differences, or ratios, that do not vary."""
    both = np.column_stack([pairs.baseline, pairs.treated])
    n = len(both)
    if n < 2 or not np.isfinite(both).all() or not np.ptp(both, axis=1).any():
        return None
    difference = both[:, 1] - both[:, 0]
    rounding = float(rounding_of(both).max())
    if np.ptp(difference) <= min(rounding, _OF_DIFFERENCE * float(np.abs(difference).max())):
        what = f"all {n} pairs differ by {difference[0]:.6g}"
    elif n >= _LINE and (np.abs(both[:, 0]) > rounding).all() and _scaled(both, rounding):
        what = f"each treated value is {both[0, 1] / both[0, 0]:.6g} times the baseline's"
    else:
        return None
    return Objection(
        "one difference",
        DOWNGRADED,
        f"{metric}: {what}, and {n} pairs are no {n} runs",
        "let the seed reach the model and the order of its data, and train both arms",
        n - 1,
        n,
        1.0,
    )


def _scaled(both: NDArray[np.float64], rounding: float) -> bool:
    """Whether the treated values are a multiple of the baseline's, which vary, within rounding."""
    before, after = both.T
    scale = float(before @ after / (before @ before))
    varies = float(np.ptp(before)) > APART * rounding
    return varies and bool((np.abs(after - scale * before) <= rounding).all())


def reason_of(line: Mapping[Any, Any] | pd.Series) -> str:
    """Reason of a line of the significance table, read from a file or not; empty where there is none."""
    found = line.get("reason", "")
    return found if isinstance(found, str) else ""


def higher_is_better(observations: pd.DataFrame, metric: str) -> bool:
    """Direction of a metric, as the observations have it.

    Raises:
        StatisticsError: they do not state it, or state both.
    """
    if "higher_is_better" not in observations:
        raise StatisticsError("the observations have no column 'higher_is_better'")
    directions = observations.loc[observations["metric"] == metric, "higher_is_better"].unique()
    if len(directions) != 1:
        raise StatisticsError(f"{metric}: the observations give {len(directions)} directions; give one")
    return bool(directions[0])


def _gap(observations: pd.DataFrame, metric: str, reference: str) -> tuple[float, float] | None:
    """Mean of a metric in the baseline and in the reference arm; None where the latter was not observed."""
    rows = observations[observations["metric"] == metric]
    start, end = (rows.loc[rows["arm"] == arm, "value"].to_numpy() for arm in ("baseline", reference))
    return (float(start.mean()), float(end.mean())) if len(end) else None  # pandas would pass over NaN


def _line(
    observations: pd.DataFrame, comparison: Comparison, result: TestResult, gap: tuple[float, float] | None
) -> dict:
    closed = float("nan")
    if gap is not None and comparison.family != CONTROL:
        closed = gap_closed(gap[0], result.treated, gap[1])
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
        "reason": result.reason,
        "family": comparison.family,
        "baseline_arm": comparison.baseline,
        "treated_arm": comparison.treated,
    }


def _detectable(result: TestResult, alpha: float, power: float | None, overlap: float | None) -> float:
    if power is None or result.test not in ("paired_t", "corrected_t") or not result.effect_size:
        return float("nan")
    wider = 1.0 if overlap is None else math.sqrt(1 + result.n * overlap / (1 - overlap))
    deviation = abs(result.difference / result.effect_size)
    return detectable_effect(result.n, power=power, alpha=alpha) * wider * deviation
