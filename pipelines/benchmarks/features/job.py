"""`experiment=faults_features`: are known interactions found, and how often is one found where there is none?"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pandas as pd
from omegaconf import DictConfig
from rich.progress import Progress

from flowgrad.errors import FlowGradError
from flowgrad.rules.suggestion import did_you_mean
from pipelines.benchmarks.features.cases import (
    NullCase,
    PlantedCase,
    RealTables,
    check_only,
    load_tables,
    null_cases,
    planted_cases,
)
from pipelines.benchmarks.features.methods import METHODS
from pipelines.benchmarks.features.nulls import NullRun, tested
from pipelines.benchmarks.features.scores import (
    ALL,
    SHOWN,
    case_table,
    null_lines,
    p_table,
    screening_lines,
    speed_lines,
)
from pipelines.benchmarks.features.screening import PROVE, Screening, screen
from pipelines.benchmarks.features.speed import Size, cost, peer_columns
from pipelines.output import console
from pipelines.output.tables import write_csv, write_table
from pipelines.stages import artifacts
from pipelines.stages.check import check_settings
from pipelines.stages.parallel import cores, parallel_map, run_isolated

Given = TypeVar("Given")
Result = TypeVar("Result")

_logger = logging.getLogger(__name__)


def run(config: DictConfig, task: Sequence[str], sources: Sequence[str], folder: Path) -> None:
    """Run the benchmark into `folder`: `scores.{csv,md,tex}`, the same by setting in `settings.{csv,md,tex}`,
    `cases.csv` (a line an interaction, method and seed) and `nulls.csv` (a line a null table and protocol).

    Args:
        config: the composed config; its `job` node lists the cases.
        task: not used: tables are composed from the job's settings.
        sources: not used.
        folder: run folder; every file is written there, whole or not at all.

    Raises:
        FlowGradError: bad config or data, before anything is run.
    """
    check_settings(config)
    job = config.job
    _check(job)
    planted, null = planted_cases(job), null_cases(job)
    if not (planted or null or job.speed):
        raise FlowGradError("job.planted, job.nulls and job.only leave nothing to run")
    methods = _installed(job.methods) if planted or job.speed else []
    tables = load_tables(job, [*planted, *null])
    both: list[PlantedCase | NullCase] = [*planted, *null]
    for one in both:
        one.make(tables, job.first_seed)  # one that cannot be made is refused before an hour is spent on the others
    artifacts.begin(folder, config, also=("cases.csv", "nulls.csv", "scores.*", "settings.*"))
    _logger.info("tables: %s", tables.source)
    workers = config.workers or cores()
    lines: list[dict] = []
    with console.progress() as bar:
        screenings = [
            Screening(case, seed, method)
            for method in [*methods, *([PROVE] if planted else [])]
            for case in planted
            for seed in _seeds(job, method)
        ]
        if screenings:
            found = _each("find", screen, screenings, tables, workers, bar)
            write_csv(case_table(screenings, found), folder / "cases.csv")
            lines += screening_lines(screenings, found, job.limits)
        nulls = [
            NullRun(case, seed, job.top)
            for case in null
            for seed in range(job.first_seed, job.first_seed + job.null_runs)
        ]
        if nulls:
            p = p_table(nulls, _each("test", tested, nulls, tables, workers, bar))
            write_csv(p, folder / "nulls.csv")
            lines += null_lines(p, config.comparison.alpha, job.limits)
        if job.speed:
            lines += _speed(job, "peer_permutation" in methods, bar)
    table = pd.DataFrame(lines, columns=SHOWN)
    pooled = table["setting"].eq(ALL) | table["kind"].eq("speed")
    write_table(table[pooled], folder, "scores")
    write_table(table[~pooled], folder, "settings")
    names = [name for name in SHOWN if name not in ("setting", "rejections") and table.loc[pooled, name].notna().any()]
    console.print_table(table.loc[pooled, names], folder)


def _check(job: DictConfig) -> None:
    for method in job.methods:
        if method not in METHODS:
            raise FlowGradError(f"job.methods names {method!r}{did_you_mean(method, METHODS)}")
    check_only(job)


def _installed(names: Sequence[str]) -> list[str]:
    found = []
    for name in names:
        try:
            METHODS[name].check()
        except FlowGradError as error:
            _logger.warning("%s is left out: %s", name, error)
        else:
            found.append(str(name))
    return found


def _seeds(job: DictConfig, method: str) -> range:
    slow = method in METHODS and METHODS[method].slow
    return range(job.first_seed, job.first_seed + (min(job.slow_runs, job.runs) if slow else job.runs))


def _each(
    doing: str,
    work: Callable[[Given, RealTables], Result],
    runs: Sequence[Given],
    tables: RealTables,
    workers: int,
    bar: Progress,
) -> list[Result]:
    task = bar.add_task(doing, total=len(runs))
    found = []
    for result in parallel_map(work, runs, tables, workers):
        found.append(result)
        bar.advance(task)
    return found


def _speed(job: DictConfig, peer: bool, bar: Progress) -> list[dict]:
    task = bar.add_task("speed", total=1 + peer)
    size = Size(job.speed_rows, job.speed_columns, job.top, job.first_seed)
    ours = run_isolated(cost, size)
    bar.advance(task)
    looked_at = run_isolated(peer_columns, size) if peer else None
    return speed_lines(size, ours, looked_at, job.limits)
