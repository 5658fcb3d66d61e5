"""`experiment=feature_synergy`: which terms of two columns are missing, and whom do they help?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from datasets.tables import TRAIN
from flowgrad.errors import FlowGradError
from flowgrad.statistics import significance
from pipelines.data.tables import TableData
from pipelines.jobs import closed_loop
from pipelines.jobs.feature_synergy.linear import (
    COMPARISON,
    HALF,
    METRICS,
    Task,
    observation_table,
    prove,
    synergy_table,
    term_table,
)
from pipelines.output import console
from pipelines.output.tables import rounded, write_csv, write_table
from pipelines.stages.data_gate import pass_gate
from pipelines.stages.parallel import cores, parallel_map
from pipelines.trainers.boosting.columns import analyzer_of
from pipelines.trainers.boosting.trainer import Boosting
from pipelines.trainers.trainer import trainer_of

LINEAR = "linear"
"""Name of the folder in the run folder for files that are not part of the closed loop."""


def run(config: DictConfig, task: Sequence[str], rule_folders: Sequence[str], folder: Path) -> None:
    """Write the linear proof into `folder/linear`, then run the closed loop on the booster into `folder`.

    Raises:
        FlowGradError: bad config, rules or data, before anything is trained.
    """
    _check(config, task, rule_folders)
    data = trainer_of(config).load()
    pass_gate(data)
    place = folder / LINEAR
    place.mkdir(exist_ok=True)
    for path in place.glob("*"):
        path.unlink()
    table = _linear(config, data, place)
    closed_loop.run(config, task, rule_folders, folder)
    _print(table, place)


def _check(config: DictConfig, task: Sequence[str], rule_folders: Sequence[str]) -> None:
    closed_loop.checked(config, task, rule_folders)
    if not isinstance(trainer_of(config), Boosting):
        raise FlowGradError("job=feature_synergy needs a table of features; use experiment=feature_synergy")
    if len(config.job.seeds) < 2:
        raise FlowGradError(f"job.seeds={list(config.job.seeds)}: give two or more")


def _linear(config: DictConfig, data: TableData, place: Path) -> pd.DataFrame:
    job, alpha = config.job, config.comparison.alpha
    tasks = [Task(seed, job.top, job.draws, alpha) for seed in job.seeds]
    trials = []
    with console.progress() as bar:
        doing = bar.add_task("linear proof", total=len(tasks))
        for trial in parallel_map(prove, tasks, data, config.workers or cores()):
            trials.append(trial)
            bar.advance(doing)
    table = synergy_table(trials, alpha)
    write_table(table, place, "synergy")
    write_csv(term_table(trials), place / "terms.csv")
    observations = observation_table(trials, config.name)
    write_csv(observations, place / "observations.csv")
    if len(set(observations["seed"])) > 1:
        tests = significance(observations, [COMPARISON], METRICS, alpha, overlap=HALF)
        write_table(
            tests, place, "significance", [str(name) for name in tests if name not in ("experiment", "gap_closed")]
        )
    seed = config.seeds.diagnosis
    analyzer_of(data.part(TRAIN, seed), seed).plot_interactions(place / "interactions.png")
    return table


def _print(table: pd.DataFrame, place: Path) -> None:
    columns = [str(name) for name in table if name not in ("df_resid", "partial_eta2")]
    title = "linear models: F-test on the half that did not choose the terms"
    console.print_table(table[columns], place, title)
    tests = place / "significance.csv"
    for _, line in rounded(pd.read_csv(tests)).iterrows() if tests.exists() else ():
        print(
            f" {line['comparison']}: {line['metric']} {line['baseline']} -> {line['treated']} ({line['difference']} "
            f"[{line['ci_low']}, {line['ci_high']}]), p {line['p_adjusted']}: {line['verdict']}"
        )
