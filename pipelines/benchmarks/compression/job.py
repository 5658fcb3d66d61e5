"""`experiment=faults_compression`: are the predictions of scores true, and are their plans better?"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from flowgrad.errors import FlowGradError
from flowgrad.rules.suggestion import did_you_mean
from pipelines.benchmarks.compression.scores import (
    ALL,
    SHOWN,
    foretelling_lines,
    plan_lines,
    plan_table,
    single_table,
    speed_lines,
)
from pipelines.benchmarks.compression.study import Study, StudyResult, study
from pipelines.benchmarks.faults.datasets import load_all
from pipelines.benchmarks.gradtracer.embedding import peer_available
from pipelines.config.command_line import one_line
from pipelines.config.compose import composed, shared_overrides, with_overrides
from pipelines.config.values import check_values
from pipelines.output import console
from pipelines.output.tables import write_csv, write_table
from pipelines.stages import artifacts
from pipelines.stages.check import check_settings
from pipelines.stages.parallel import cores, parallel_map
from pipelines.trainers.trainer import trainer_of

_FILES = ("singles.csv", "plans.csv", "models.csv", "scores.*", "settings.*")
_logger = logging.getLogger(__name__)


def run(config: DictConfig, task: Sequence[str], sources: Sequence[str], folder: Path) -> None:
    """Run the benchmark into `folder`: `scores.{csv,md,tex}`, the same by setting in `settings.{csv,md,tex}`,
    `singles.csv` (a line a layer compressed alone), `plans.csv` (a line a plan) and `models.csv`.

    Args:
        config: the composed config; its `job` node says what is run.
        task: overrides of the run; those on data apply to every setting.
        sources: not used.
        folder: run folder; every file is written there, whole or not at all.

    Raises:
        FlowGradError: bad config or data, before anything is trained.
    """
    check_settings(config)
    peer = config.job.peer and peer_available()
    if config.job.peer and not peer:
        _logger.warning("the peer library is not installed, so it is not scored: pip install 'flowgrad[bench]'")
    runs = studies(config, task, peer=peer)
    data = load_all(one.config for one in runs)
    artifacts.begin(folder, config, also=_FILES)
    found = []
    with console.progress() as bar:
        doing = bar.add_task("compress", total=len(runs))
        for one, seen in zip(runs, parallel_map(study, runs, data, config.workers or cores()), strict=True):
            found.append(seen)
            _logger.info("%s, seed %d: loss %.4g, planned in %.2f s", one.setting, one.seed, seen.loss, seen.seconds)
            if seen.peer_error:
                _logger.warning("%s, seed %d: the peer raised: %s", one.setting, one.seed, seen.peer_error)
            bar.advance(doing)
    _write(runs, found, config, folder)


def studies(config: DictConfig, task: Sequence[str], *, peer: bool) -> list[Study]:
    """List every model that the job names: settings, and the seeds of each.

    Raises:
        FlowGradError: a setting that is unknown, or gives no config that can run; no seed or setting.
    """
    check_values(config)
    job = config.job
    known = {**job.settings, **job.apart}
    if both := set(job.settings) & set(job.apart):
        raise FlowGradError(f"{min(both)!r} is in job.settings and in job.apart; rename one")
    for name in job.only or ():
        if name not in known:
            raise FlowGradError(f"job.only names {name!r}{did_you_mean(name, list(known))}")
    found = []
    for name in job.settings if job.only is None else job.only:
        try:
            made = composed(with_overrides([*known[name]], shared_overrides(task)), rules=False)
            check_settings(made)
            trainer_of(made).check_compressible()
        except (FlowGradError, HydraException, OmegaConfBaseException) as error:
            raise FlowGradError(f"job.settings.{name}: {one_line(error)}") from error
        found += [Study(str(name), seed, made, peer) for seed in job.seeds]
    if not found:
        raise FlowGradError("job.settings, job.only and job.seeds leave nothing to run")
    return found


def _write(runs: Sequence[Study], found: Sequence[StudyResult], config: DictConfig, folder: Path) -> None:
    singles, plans = single_table(runs, found), plan_table(runs, found)
    models = pd.DataFrame(
        [
            {"setting": one.setting, "seed": one.seed, "loss": seen.loss, "weights": seen.weights,
             "seconds": seen.seconds, "peer_error": seen.peer_error}
            for one, seen in zip(runs, found, strict=True)
        ]
    )  # fmt: skip
    write_csv(singles, folder / "singles.csv")
    write_csv(plans, folder / "plans.csv")
    write_csv(models, folder / "models.csv")
    limits = config.job.limits
    lines = [*foretelling_lines(singles, limits), *plan_lines(plans, limits), *speed_lines(runs, found, limits)]
    table = pd.DataFrame(lines, columns=SHOWN)
    pooled = table["setting"].eq(ALL)
    scores = table[pooled].drop(columns="setting")
    write_table(scores.dropna(axis=1, how="all"), folder, "scores")
    write_table(table[~pooled].dropna(axis=1, how="all"), folder, "settings")
    for part in (scores[scores["spearman"].notna()], scores[scores["spearman"].isna()]):
        console.print_table(part.dropna(axis=1, how="all"), folder)
