"""Both arms on every test seed, and what the tests say of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from flowgrad.errors import StatisticsError
from flowgrad.report import Validation
from flowgrad.statistics import TestResult, adjust, gap_closed, paired_t, sign_test, wilcoxon
from flowgrad.trackers import guard
from pipelines.data import Data
from pipelines.evaluation import higher_is_better
from pipelines.workers import outcomes

OBSERVATION_COLUMNS = ["experiment", "arm", "seed", "metric", "value", "higher_is_better"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
    """Which arm is compared with which."""

    name: str
    baseline: str
    treated: str
    family: str
    """Comparisons of one family are adjusted together."""


@dataclass(frozen=True)
class Observed:
    """Everything the arms gave."""

    observations: pd.DataFrame
    """One line a seed, arm and metric; columns `OBSERVATION_COLUMNS`."""
    curves: Mapping[str, tuple[tuple[float, ...], ...]]
    """Arm -> validation loss by epoch, one tuple a seed."""
    interventions: pd.DataFrame
    """Everything that `tracker.auto_fix` did: arm, seed, table, step, factor, count, rows."""


def observe(
    arms: Mapping[str, DictConfig],
    seeds: Mapping[str, Sequence[int]],
    data: Data,
    workers: int,
    on_run: Callable[[str], None],
) -> Observed:
    """Train every arm on its seeds and evaluate each run on the test ratings, which are read here and nowhere else."""
    runs = [(arm, seed) for arm in arms for seed in seeds[arm]]
    experiment = next(iter(arms.values())).name
    rows: list[tuple[str, str, int, str, float, bool]] = []
    curves: dict[str, list[tuple[float, ...]]] = {arm: [] for arm in arms}
    done: list[tuple] = []
    results = outcomes([(arms[arm], seed) for arm, seed in runs], data, workers)
    for (arm, seed), outcome in zip(runs, results, strict=True):
        rows += [(experiment, arm, seed, name, v, higher_is_better(name)) for name, v in outcome.metrics.items()]
        curves[arm].append(outcome.validation_losses)
        done += [
            (arm, seed, table, one.step, one.factor, len(one.rows), " ".join(map(str, one.rows)))
            for table, one in outcome.interventions
        ]
        on_run(arm)
    return Observed(
        pd.DataFrame(rows, columns=OBSERVATION_COLUMNS),
        {arm: tuple(losses) for arm, losses in curves.items()},
        pd.DataFrame(done, columns=["arm", "seed", "table", *guard.COLUMNS]),
    )


def comparisons(rounds: int) -> list[Comparison]:
    """What is compared in a run of so many rounds of treatment: the whole, each round's own share, and A/A."""
    family = "rounds of this run"
    control = Comparison("aa", "baseline", "aa", "control")
    if not rounds:
        return [control]
    whole = Comparison("treated_vs_baseline", "baseline", "treated", family)
    if rounds == 1:
        return [whole, control]
    arms = ["baseline", *(f"round{n}" for n in range(1, rounds)), "treated"]
    steps = [
        Comparison(round_comparison(number, rounds), before, after, family)
        for number, (before, after) in enumerate(pairwise(arms), start=1)
    ]
    return [whole, *steps, control]


def round_comparison(number: int, rounds: int) -> str:
    """Name of the comparison that shows what round `number` of `rounds` added."""
    if rounds == 1:
        return "treated_vs_baseline"
    return f"round{number}_vs_{'baseline' if number == 1 else f'round{number - 1}'}"


def significance(
    observations: pd.DataFrame, planned: Sequence[Comparison], metrics: Sequence[str], alpha: float
) -> pd.DataFrame:
    """One line a comparison, metric and test. Paired t is the primary test, Wilcoxon the check; the sign test stands
    in for both where a run diverged and its metric is not finite.
    """
    lines = []
    for family in dict.fromkeys(comparison.family for comparison in planned):
        members = [(c, m) for c in planned if c.family == family for m in metrics]
        for test in (paired_t, wilcoxon):
            results = [(c, _test(test, observations, c, m, alpha)) for c, m in members]
            known = [(c, r) for c, r in results if r is not None]
            for (comparison, _), result in zip(known, adjust([r for _, r in known], alpha), strict=True):
                lines.append(_line(observations, comparison, result))
    table = pd.DataFrame(lines)
    order = [(c.name, m) for c in planned for m in metrics]
    rank = [order.index(pair) for pair in zip(table["comparison"], table["metric"], strict=True)]
    return table.iloc[np.argsort(rank, kind="stable")].reset_index(drop=True)


def validation(table: pd.DataFrame, comparison: str, metric: str, observations_sha256: str) -> Validation:
    """The primary test of a comparison, as a report carries it."""
    found = table[(table["comparison"] == comparison) & (table["metric"] == metric) & (table["test"] != "wilcoxon")]
    line = found.iloc[0]
    figures = ("baseline", "treated", "difference", "ci_low", "ci_high", "effect_size", "p", "p_adjusted")
    return Validation(
        verdict=line["verdict"],
        test=line["test"],
        unit="seed",
        n=int(line["n"]),
        metric=metric,
        family=line["family"],
        comparison=comparison,
        observations_sha256=observations_sha256,
        **{name: float(line[name]) for name in figures},
    )


def _values(observations: pd.DataFrame, arm: str, metric: str) -> list[float]:
    chosen = observations[(observations["arm"] == arm) & (observations["metric"] == metric)]
    return chosen["value"].tolist()


def _test(
    test: Callable[..., TestResult], observations: pd.DataFrame, comparison: Comparison, metric: str, alpha: float
) -> TestResult | None:
    """The test of one comparison. None for the check where it cannot be made."""
    before, after = (_values(observations, arm, metric) for arm in (comparison.baseline, comparison.treated))
    better = higher_is_better(metric)
    try:
        return test(before, after, metric=metric, higher_is_better=better, alpha=alpha)
    except StatisticsError as error:
        if test is not paired_t:
            return None
        _logger.warning("%s: %s; the sign test stands in", comparison.name, error)
        return sign_test(before, after, metric=metric, higher_is_better=better, alpha=alpha)


def _line(observations: pd.DataFrame, comparison: Comparison, result: TestResult) -> dict:
    tuned = _values(observations, "tuned", result.metric)
    closed = float("nan")
    if tuned and comparison.family != "control":
        start = float(np.mean(_values(observations, "baseline", result.metric)))
        closed = gap_closed(start, result.treated, float(np.mean(tuned)))
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
    }
