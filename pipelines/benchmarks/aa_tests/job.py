"""The job: train every run, divide the runs into A/A comparisons, one table."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from flowgrad.errors import FlowGradError
from flowgrad.files import write_atomically
from flowgrad.rules.suggestion import did_you_mean
from flowgrad.statistics import OBSERVATION_COLUMNS
from pipelines.benchmarks.aa_tests.pool import Pool
from pipelines.benchmarks.aa_tests.table import POOLED, SHOWN, calibration_table
from pipelines.benchmarks.faults.datasets import Datasets, load_all
from pipelines.config.command_line import one_line
from pipelines.config.compose import composed, shared_overrides, with_overrides
from pipelines.output import console
from pipelines.output.tables import rounded, write_csv, write_table
from pipelines.stages import artifacts
from pipelines.stages.check import check_settings
from pipelines.stages.outcomes import Runs
from pipelines.stages.parallel import cores
from pipelines.trainers.evaluation import higher_is_better
from pipelines.trainers.factorization.trainer import Factorization
from pipelines.trainers.trainer import trainer_of

_logger = logging.getLogger(__name__)


def run(config: DictConfig, task: Sequence[str], sources: Sequence[str], folder: Path) -> None:
    """Write `calibration.{csv,md,tex}` and the runs' values, `observations.csv` and `by_user.npz`, into `folder`.

    Args:
        config: the composed config; its `job` node says what is trained and how often.
        task: the overrides that it was composed from; those of data sets hold for every setting.
        sources: not used.
        folder: run folder; every file is written there, whole or not at all.

    Raises:
        FlowGradError: bad config, before anything is trained; a run that diverges.
    """
    check_settings(config)
    configs = _settings(config, task)
    data = load_all(configs.values())
    artifacts.begin(folder, config)
    job = config.job
    pools, observations = {}, []
    with console.progress() as bar, closing(Runs(data, Datasets.of)) as runs:
        runs.start(config.workers or cores())
        for name, made in configs.items():
            runs.begin(made, _seeds(job, name))
        training = bar.add_task("train", total=2 * job.pairs * job.tests * len(configs))
        for name, made in configs.items():
            bar.update(training, description=f"train: {name}")
            pools[name], lines = _train(name, made, runs, _seeds(job, name), bar)
            observations += lines
            write_csv(pd.DataFrame(observations, columns=list(OBSERVATION_COLUMNS)), folder / "observations.csv")
            _write_users(pools, folder)
        bar.update(training, description="test")
        table = calibration_table(pools, job.pairs, job.resamples, config.comparison.alpha)
    write_table(table, folder, "calibration", SHOWN)
    _print(table, folder)


def _seeds(job: DictConfig, name: str) -> range:
    """Seeds of a setting's runs. No other setting has them, for two settings that share their seeds share initial
    weights too, and tests over both would not be independent. A setting that runs alone has the seeds that it has among
    the others.
    """
    runs = 2 * job.pairs * job.tests
    start = job.first_seed + runs * list(job.settings).index(name)
    return range(start, start + runs)


def _settings(config: DictConfig, task: Sequence[str]) -> dict[str, DictConfig]:
    job = config.job
    for name in job.only or ():
        if name not in job.settings:
            raise FlowGradError(f"job.only names {name!r}{did_you_mean(name, list(job.settings))}")
    found = {}
    for name in job.only or job.settings:
        where = f"job.settings.{name}"
        try:
            made = composed(with_overrides([*job.settings[name]], shared_overrides(task)), rules=False)
            check_settings(made)
        except (FlowGradError, HydraException, OmegaConfBaseException) as error:
            raise FlowGradError(f"{where}: {one_line(error)}") from error
        if not isinstance(trainer_of(made), Factorization):
            raise FlowGradError(
                f"{where}: tests by user need users; choose ratings, e.g. experiment=movielens_mf_tuned"
            )
        found[str(name)] = made
    if not found:
        raise FlowGradError("job.settings is empty; name at least one")
    return found


def _train(name: str, config: DictConfig, runs: Runs, seeds: range, bar: Progress) -> tuple[Pool, list[tuple]]:
    names = list(config.comparison.metrics)
    metrics: dict[str, list[float]] = {metric: [] for metric in names}
    users: list[tuple[float, ...]] = []
    lines: list[tuple] = []
    for seed, outcome in zip(seeds, runs.outcomes(config, seeds), strict=True):
        if not np.isfinite(list(outcome.metrics.values())).all():
            raise FlowGradError(f"job.settings.{name}: seed {seed} diverged; choose a configuration that trains")
        for metric in names:
            metrics[metric].append(outcome.metrics[metric])
        lines += [(name, "aa", seed, metric, v, higher_is_better(metric)) for metric, v in outcome.metrics.items()]
        users.append(outcome.by_user)
        bar.advance(bar.task_ids[-1])
    _logger.info("%s: %d runs; mean %s", name, len(users), {m: float(np.mean(v)) for m, v in metrics.items()})
    return Pool({metric: np.array(values) for metric, values in metrics.items()}, np.array(users)), lines


def _write_users(pools: Mapping[str, Pool], folder: Path) -> None:
    """Write one array a setting, shape (seeds, users), in the order of the observations' seeds."""
    content = io.BytesIO()
    arrays: dict[str, Any] = {name: pool.users for name, pool in pools.items()}
    np.savez_compressed(content, **arrays)
    write_atomically(folder / "by_user.npz", content.getvalue())


def _print(table: pd.DataFrame, folder: Path) -> None:
    left_out = ("setting", "metric", "confidence")
    columns = [name for name in SHOWN if name not in left_out]
    shown = Table(box=box.SIMPLE_HEAD)
    for name in columns:
        shown.add_column(name, overflow="fold")
    for _, line in rounded(table[table["setting"] == POOLED][columns]).iterrows():
        shown.add_row(*(escape(value) for value in line))
    judged = table[table["judged"]]
    terminal = Console()
    if not terminal.is_terminal:
        terminal.width = 160
    terminal.print(shown)
    terminal.print(
        f"all settings together: {judged['within'].sum()} of {len(judged)} judged tests keep their level; "
        "each setting by itself in calibration.md",
        highlight=False,
        soft_wrap=True,
    )
    terminal.print(f"files: {folder}", markup=False, highlight=False, soft_wrap=True)
