"""Observes both arms on every test seed, and tests them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from flowgrad.report import Validation
from flowgrad.statistics import (
    CONTROL,
    NO_WORSE,
    OBSERVATION_COLUMNS,
    PRIMARY,
    PROVEN,
    Comparison,
    reason_of,
    rounds_of_a_run,
)
from flowgrad.statistics import round_comparison as round_comparison
from pipelines.stages.failed_runs import without_failed
from pipelines.stages.outcomes import Runs
from pipelines.trainers.trainer import trainer_of


@dataclass(frozen=True)
class Observed:
    """All values of the arms."""

    observations: pd.DataFrame
    """One line a seed, arm and metric; columns `OBSERVATION_COLUMNS`."""
    curves: Mapping[str, tuple[tuple[float, ...], ...]]
    """Validation loss by epoch of each arm, one tuple a seed."""
    by_user: Mapping[str, np.ndarray]
    """First metric of each arm, shape (seeds, users)."""
    treated: pd.DataFrame
    """Changes that findings made while it trained, `training.treat`: arm, seed, and the fields of `Treated`."""
    steps: Mapping[str, tuple[int, ...]]
    """Number of steps of each run, by arm, one a seed."""
    failed: tuple[str, ...] = ()
    """Lines on runs that gave no result, and what that means for the proof."""


def observe(
    arms: Mapping[str, DictConfig],
    seeds: Mapping[str, Sequence[int]],
    runs: Runs,
    on_run: Callable[[str], None],
) -> Observed:
    """Train every arm on its seeds and evaluate each run on the test ratings, which are read here and nowhere else.

    Args:
        arms: configs by name.
        seeds: of each arm.
        runs: trains them; some may have begun.
        on_run: called with the arm of each run that is done.
    """
    for arm, config in arms.items():
        runs.begin(config, seeds[arm])
    first = next(iter(arms.values()))
    experiment, better = first.name, trainer_of(first).higher_is_better
    rows: list[tuple[str, str, int, str, float, bool]] = []
    curves: dict[str, list[tuple[float, ...]]] = {arm: [] for arm in arms}
    by_user: dict[str, list[tuple[float, ...]]] = {arm: [] for arm in arms}
    done: list[dict[str, Any]] = []
    steps: dict[str, list[int]] = {arm: [] for arm in arms}
    failures: dict[tuple[str, int], str] = {}
    for arm, config in arms.items():
        for seed, outcome in zip(seeds[arm], runs.outcomes(config, seeds[arm]), strict=True):
            rows += [(experiment, arm, seed, name, v, better(name)) for name, v in outcome.metrics.items()]
            curves[arm].append(outcome.validation_losses)
            by_user[arm].append(outcome.by_user)
            done += [{"arm": arm, "seed": seed, **vars(one)} for one in outcome.treated]
            steps[arm].append(outcome.steps)
            if outcome.failure:
                failures[arm, seed] = outcome.failure
            on_run(arm)
    observations, failed = without_failed(
        pd.DataFrame(rows, columns=list(OBSERVATION_COLUMNS)), failures, first.comparison.aa_offset
    )
    return Observed(
        observations,
        {arm: tuple(losses) for arm, losses in curves.items()},
        {arm: np.array(values) for arm, values in by_user.items()},
        pd.DataFrame(done),
        {arm: tuple(counts) for arm, counts in steps.items()},
        tuple(failed),
    )


def comparisons(rounds: int, aa_offset: int, *, pruned: bool = False, control: bool = True) -> list[Comparison]:
    """Comparisons of a run of so many rounds of treatment; see `rounds_of_a_run`. Without rounds the control is there
    in any case.
    """
    planned = rounds_of_a_run(rounds, aa_offset, pruned=pruned)
    return planned if control else [one for one in planned if one.family != CONTROL] or planned


def validation(
    table: pd.DataFrame,
    comparison: str,
    metric: str,
    observations_sha256: str,
    *,
    overlap: float | None = None,
    margin: float | None = None,
) -> Validation:
    """Make the primary test of a comparison, as a report carries it; with a margin, the test that it got no worse by
    that share of the baseline.
    """
    tests = PRIMARY if margin is None else (NO_WORSE,)
    found = table[(table["comparison"] == comparison) & (table["metric"] == metric) & table["test"].isin(tests)]
    line = found.iloc[0]
    figures = ("baseline", "treated", "difference", "ci_low", "ci_high", "effect_size", "p", "p_adjusted", "alpha")
    return Validation(
        verdict=PROVEN.get(line["verdict"], line["verdict"]),
        test=line["test"],
        unit=line["unit"],
        n=int(line["n"]),
        metric=metric,
        family=line["family"],
        comparison=comparison,
        baseline_arm=line["baseline_arm"],
        treated_arm=line["treated_arm"],
        observations_sha256=observations_sha256,
        overlap=overlap,
        margin=margin,
        reason=reason_of(line),
        **{name: float(line[name]) for name in figures},
    )
