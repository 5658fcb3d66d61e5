"""The job: every case in a process of its own, one table."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from flowgrad.errors import FlowGradError
from flowgrad.rules.suggestion import did_you_mean
from pipelines.benchmarks.overhead.ratios import median_interval
from pipelines.benchmarks.stacking.measurement import Stacked, StackPlan, measure
from pipelines.config.command_line import one_line
from pipelines.config.compose import composed, shared_overrides, with_overrides
from pipelines.output import console
from pipelines.output.tables import write_table
from pipelines.stages import artifacts
from pipelines.stages.check import check_settings
from pipelines.stages.parallel import cores, run_isolated

SHOWN = ["case", "seeds", "stack", "steps", "alone_s", "together_s", "ratio", "workers", "shared_ratio", "ratio_limit",
         "alone_mib", "together_mib", "difference", "within"]  # fmt: skip
"""Columns for a reader; the CSV has more."""
_MIB = 2.0**20
_logger = logging.getLogger(__name__)


def run(config: DictConfig, task: Sequence[str], sources: Sequence[str], folder: Path) -> None:
    """Write `stacking.{csv,md,tex}` into `folder`, anew after each case.

    Args:
        config: the composed config; its `job` node lists the cases.
        task: the overrides that it was composed from; those of data sets hold for every case.
        sources: not used.
        folder: run folder; every file is written there, whole or not at all.

    Raises:
        FlowGradError: bad config, before anything is trained; or a process that was killed while it measured.
    """
    check_settings(config)
    cases = _cases(config.job, task)
    artifacts.begin(folder, config, also=["stacking.*"])
    seeds = tuple(range(config.job.first_seed, config.job.first_seed + config.job.seeds))
    workers = config.workers or cores()
    lines = []
    with console.progress() as bar:
        measuring = bar.add_task("measure", total=len(cases))
        for name, made in cases.items():
            bar.update(measuring, description=f"measure: {name}")
            seen = run_isolated(measure, StackPlan(made, seeds, config.job.rounds, workers))
            _logger.info("%s: %s", name, seen)
            lines.append(line(name, len(seeds), workers, seen, config.job) | {"torch": torch.__version__})
            figures = pd.DataFrame(lines)
            write_table(figures, folder, "stacking", SHOWN)
            bar.advance(measuring)
    console.print_table(figures[SHOWN], folder)


def line(name: str, seeds: int, workers: int, seen: Stacked, job: DictConfig) -> dict[str, object]:
    """Make one line of the table; a case without a limit is not judged by its ratio."""
    ratios = (np.array(seen.together.wall) / seen.alone.wall).tolist()
    shared = (np.array(seen.shared.wall) / seen.alone.wall).tolist()
    (low, high), (shared_low, shared_high) = median_interval(ratios), median_interval(shared)
    limit = job.limits.ratio.get(name, math.inf)
    return {
        "case": name,
        "seeds": seeds,
        "stack": seen.stack,
        "steps": seen.steps,
        "rounds": len(ratios),
        "alone_s": float(np.median(seen.alone.wall)),
        "together_s": float(np.median(seen.together.wall)),
        "ratio": float(np.median(ratios)),
        "ratio_low": low,
        "ratio_high": high,
        "cpu_ratio": float(np.median(np.array(seen.together.cpu) / seen.alone.cpu)),
        "workers": workers,
        "shared_ratio": float(np.median(shared)),
        "shared_low": shared_low,
        "shared_high": shared_high,
        "ratio_limit": limit if math.isfinite(limit) else math.nan,
        "alone_mib": _mib(seen.alone.peak_bytes),
        "together_mib": _mib(seen.together.peak_bytes),
        "difference": seen.difference,
        "difference_limit": float(job.limits.difference),
        "within": float(np.median(shared)) <= limit and seen.difference <= job.limits.difference,
    }


def _cases(job: DictConfig, task: Sequence[str]) -> dict[str, DictConfig]:
    for key, names in {"job.only": job.only or (), "job.limits.ratio": job.limits.ratio}.items():
        for name in names:
            if name not in job.cases:
                raise FlowGradError(f"{key} names {name!r}{did_you_mean(name, list(job.cases))}")
    found = {}
    for name in job.only or job.cases:
        where = f"job.cases.{name}"
        try:
            made = composed(with_overrides([*job.cases[name]], shared_overrides(task)), rules=False)
            check_settings(made)
        except (FlowGradError, HydraException, OmegaConfBaseException) as error:
            raise FlowGradError(f"{where}: {one_line(error)}") from error
        found[str(name)] = made
    if not found:
        raise FlowGradError("job.cases is empty; name at least one")
    return found


def _mib(size: int | None) -> float:
    return math.nan if size is None else size / _MIB
