"""The job where the model is a booster: every case with every watcher, one table."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from pipelines.benchmarks.overhead import table as tables
from pipelines.benchmarks.overhead.boosters import table
from pipelines.benchmarks.overhead.boosters.checks import checked_cases
from pipelines.benchmarks.overhead.boosters.measurement import BoosterPlan, Measured, measure
from pipelines.benchmarks.overhead.watchers import has_peer
from pipelines.config.compose import composed, without
from pipelines.config.targets import target
from pipelines.config.values import check_values
from pipelines.output import console
from pipelines.output.tables import write_table
from pipelines.stages import artifacts
from pipelines.stages.check import check_settings
from pipelines.stages.parallel import run_isolated

_logger = logging.getLogger(__name__)


def run(config: DictConfig, task: Sequence[str], sources: Sequence[str], folder: Path) -> None:
    """Measure the cost of watching; the table is written anew after each case.

    Args:
        config: the composed config; its `job.boosters` node lists the cases.
        task: the overrides that it was composed from. They hold for the booster too, which is that of the experiment
            `job.boosters.experiment`.
        sources: not used.
        folder: run folder; every file is written there, whole or not at all.

    Raises:
        FlowGradError: bad config, before anything is measured; or a process that was killed while it measured.
    """
    check_values(config)
    job = config.job
    cases = checked_cases(job)
    booster = composed([f"experiment={job.boosters.experiment}", *without(task, ("experiment", "job", "hydra"))])
    check_settings(booster)
    ran = OmegaConf.merge({key: booster[key] for key in booster if key != "job"}, {"job": job})
    artifacts.begin(folder, ran)
    wanted = job.boosters.peer_trainings > 0
    watchers = ["none", "tracker", *(["peer"] if wanted and has_peer() else [])]
    package = target(booster, "model").PACKAGE
    where = {"threads": booster.training.threads, package: import_module(package).__version__}
    lines: list[dict[str, object]] = []
    with console.progress() as bar:
        measuring = bar.add_task("measure", total=len(cases) * len(watchers))
        for case in cases:
            seen: dict[str, Measured] = {}
            for watcher in watchers:
                bar.update(measuring, description=f"{case.id}: {watcher}")
                trainings = job.boosters.peer_trainings if watcher == "peer" else case.trainings
                seen[watcher] = run_isolated(
                    measure, BoosterPlan(booster, case, watcher, trainings, job.boosters.block)
                )
                bar.advance(measuring)
                _logger.info("%s, %s: %s", case.id, watcher, seen[watcher])
            lines.append(table.row(case, package, seen, job.boosters.ratio_limit) | where)
            figures = pd.DataFrame(lines)
            write_table(figures, folder, "overhead", table.SHOWN)
    missing = "for the peer's columns: pip install 'flowgrad[bench]'"
    tables.show(figures, folder, missing if wanted and not has_peer() else "", table.HEADINGS)
