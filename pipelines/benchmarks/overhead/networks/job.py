"""The job: every network with every watcher, one table."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from pipelines.benchmarks.overhead import table as tables
from pipelines.benchmarks.overhead.blocks import Measured, pooled
from pipelines.benchmarks.overhead.job import where_measured
from pipelines.benchmarks.overhead.networks import table
from pipelines.benchmarks.overhead.networks.cases import NetworkCase
from pipelines.benchmarks.overhead.networks.checks import checked_cases
from pipelines.benchmarks.overhead.networks.measurement import NetworkPlan, measure
from pipelines.benchmarks.overhead.networks.watchers import NONE, OWN, installed, suits
from pipelines.output import console
from pipelines.output.tables import write_table
from pipelines.stages import artifacts
from pipelines.stages.check import check_settings
from pipelines.stages.parallel import run_isolated

_logger = logging.getLogger(__name__)


def run(config: DictConfig, task: Sequence[str], sources: Sequence[str], folder: Path) -> None:
    """Measure the cost of watching a network. The table is written anew after each case.

    Args:
        config: the composed config; its `job` node lists the cases.
        task: not used.
        sources: not used.
        folder: run folder; every file is written there, whole or not at all.

    Raises:
        FlowGradError: bad config, before anything is measured; or a process that was killed while it measured.
    """
    check_settings(config)
    job, cases = config.job, checked_cases(config.job)
    artifacts.begin(folder, config)
    watchers = [name for name in job.watchers if installed(name)]
    missing = [name for name in job.watchers if name not in watchers]
    plans = {case.id: [NONE, *(name for name in watchers if suits(name, case))] for case in cases}
    lines = []
    with console.progress() as bar:
        measuring = bar.add_task("measure", total=sum(len(each) for each in plans.values()))
        for case in cases:
            seen: dict[str, Measured] = {}
            for watcher in plans[case.id]:
                bar.update(measuring, description=f"{case.id}: {watcher}")
                plan = _plan(config, case, watcher, folder)
                times = case.processes if watcher in (NONE, *OWN) else 1
                seen[watcher] = pooled([run_isolated(measure, plan) for _ in range(times)])
                bar.advance(measuring)
                _logger.info("%s, %s: %s", case.id, watcher, seen[watcher])
            lines += [
                table.row(case, name, seen[name], seen[NONE], job.limits.get(name), job.memory_limits.get(name))
                | where_measured(config)
                for name in plans[case.id][1:]
            ]
            figures = pd.DataFrame(lines)
            write_table(figures, folder, "overhead", table.SHOWN)
    note = f"not installed, so not measured: {', '.join(missing)}" if missing else ""
    tables.show(figures, folder, note, table.HEADINGS)


def _plan(config: DictConfig, case: NetworkCase, watcher: str, folder: Path) -> NetworkPlan:
    job = config.job
    return NetworkPlan(
        case,
        watcher,
        steps=case.steps if watcher in (NONE, *OWN) else min(case.steps, job.other_steps),
        block=job.block,
        warmup=job.warmup,
        seed=job.seed,
        threads=config.training.threads,
        device=job.device,
        folder=folder.resolve(),
    )
