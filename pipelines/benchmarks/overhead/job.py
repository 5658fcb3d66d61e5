"""The job: every case with every watcher, one table."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf

from pipelines.benchmarks.overhead import table
from pipelines.benchmarks.overhead.blocks import Measured
from pipelines.benchmarks.overhead.boosters import job as boosters
from pipelines.benchmarks.overhead.cases import TableCase
from pipelines.benchmarks.overhead.checks import checked_cases
from pipelines.benchmarks.overhead.measurement import TablePlan, measure
from pipelines.benchmarks.overhead.watchers import has_peer
from pipelines.config.schema.models import BoosterSettings
from pipelines.output import console
from pipelines.output.tables import write_table
from pipelines.stages import artifacts
from pipelines.stages.check import check_settings
from pipelines.stages.parallel import run_isolated

_logger = logging.getLogger(__name__)


def run(config: DictConfig, task: Sequence[str], sources: Sequence[str], folder: Path) -> None:
    """Measure the cost of watching: a booster where `model` is one, else embedding tables. The table is written anew
    after each case.

    Args:
        config: the composed config; its `job` node lists the cases.
        task: the overrides that it was composed from.
        sources: not used.
        folder: run folder; every file is written there, whole or not at all.

    Raises:
        FlowGradError: bad config, before anything is measured; or a process that was killed while it measured.
    """
    if OmegaConf.get_type(config.model) is BoosterSettings:
        boosters.run(config, task, sources, folder)
        return
    check_settings(config)
    cases = checked_cases(config.job)
    artifacts.begin(folder, config)
    wanted = config.job.peer_steps > 0
    watchers = ["none", "tracker", *(["peer", "peer_interval"] if wanted and has_peer() else [])]
    where = where_measured(config)
    lines = []
    with console.progress() as bar:
        measuring = bar.add_task("measure", total=len(cases) * len(watchers))
        for case in cases:
            seen = {}
            for watcher in watchers:
                bar.update(measuring, description=f"{case.id}: {watcher}")
                seen[watcher] = run_isolated(measure, _plan(config, case, watcher))
                bar.advance(measuring)
                _note(case, watcher, seen[watcher])
            lines.append(table.row(case, seen, config.job.limits) | where)
            figures = pd.DataFrame(lines)
            write_table(figures, folder, "overhead", table.SHOWN)
    missing = "for the peer's columns: pip install 'flowgrad[bench]'"
    table.show(figures, folder, missing if wanted and not has_peer() else "")


def _plan(config: DictConfig, case: TableCase, watcher: str) -> TablePlan:
    job = config.job
    return TablePlan(
        case,
        watcher,
        steps=job.peer_steps if watcher == "peer" else case.steps,
        block=job.block,
        warmup=job.warmup,
        exponent=job.exponent,
        seed=job.seed,
        threads=config.training.threads,
        device=job.device,
        epoch_steps=job.epoch_steps,
    )


def where_measured(config: DictConfig) -> dict[str, object]:
    """Columns of the table that the times depend on besides the case."""
    device = torch.cuda.get_device_name() if config.job.device == "cuda" else "cpu"
    return {"device": device, "threads": config.training.threads, "torch": torch.__version__}


def _note(case: TableCase, watcher: str, seen: Measured) -> None:
    _logger.info("%s, %s: %s", case.id, watcher, seen)
