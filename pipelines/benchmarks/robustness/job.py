"""The job: attacks of every kind and seed, two tables."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.table import Table

from flowgrad.errors import FlowGradError
from flowgrad.rules.suggestion import did_you_mean
from pipelines.benchmarks.robustness import base
from pipelines.benchmarks.robustness.child import attempt
from pipelines.benchmarks.robustness.kinds import KINDS
from pipelines.benchmarks.robustness.table import ALL, SHOWN, Line, counts, faults
from pipelines.output import console
from pipelines.output.tables import rounded, write_csv, write_table
from pipelines.stages import artifacts
from pipelines.stages.parallel import cores, parallel_map

_logger = logging.getLogger(__name__)
_IMPORTED = (
    "pipelines.jobs.closed_loop", "pipelines.jobs.compression.job", "pipelines.benchmarks.aa_tests.job",
    "pipelines.benchmarks.field.job", "pipelines.benchmarks.faults.job", "pipelines.benchmarks.overhead.networks.job",
    "pipelines.trainers.distillation.trainer", "pipelines.trainers.networks.trainer",
    "pipelines.trainers.boosting.trainer", "matplotlib.backends.backend_agg", "sklearn.datasets",
)  # fmt: skip
_PARCEL = 10
"""Attacks that a worker does before its results are written down; of kills, which take long, one."""


@dataclass(frozen=True)
class Parcel:
    """Attacks of one kind and seed that follow each other."""

    kind: str
    seed: int
    numbers: tuple[int, ...]


def run(config: DictConfig, task: Sequence[str], sources: Sequence[str], folder: Path) -> None:
    """Write `robustness.{csv,md,tex}`, a line a kind and seed, and `robustness_faults.csv`, a line a fault.

    Args:
        config: the composed config; its `job` node says what is tried and how often.
        task: not used.
        sources: not used.
        folder: run folder; every file is written there, whole or not at all.

    Raises:
        FlowGradError: bad config, before anything is tried.
        SystemExit: code 1, faults were found.
    """
    parcels = _parcels(config.job)
    artifacts.begin(folder, config)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the workers, whose forked children would wait for other threads for ever
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="flowgrad-robustness-") as temporary, console.progress() as bar:
        trying = bar.add_task("prepare", total=sum(len(parcel.numbers) for parcel in parcels))
        given: Any = Path(temporary)  # in the place of a data set
        base.prepare(given)
        for parcel, done in zip(parcels, parallel_map(attacks, parcels, given, config.workers or cores()), strict=True):
            bar.update(trying, description=f"{parcel.kind}, seed {parcel.seed}", advance=len(done))
            lines += done
            for line in done:
                _logger.info("%s %s %s: %s: %s %s", line.kind, line.seed, line.number, line.tried, line.came.outcome,
                             line.came.said)  # fmt: skip
            write_table(counts(lines), folder, "robustness", SHOWN)
            write_csv(faults(lines), folder / "robustness_faults.csv")
    _print(lines, folder)
    if len(faults(lines)):
        raise SystemExit(1)


def _parcels(job: DictConfig) -> list[Parcel]:
    for name in (*job.attacks, *(job.only or ())):
        if name not in KINDS:
            raise FlowGradError(f"job: no kind of attack is called {name!r}{did_you_mean(name, KINDS)}")
    found = []
    for kind, count in job.attacks.items():
        if job.only is not None and kind not in job.only:
            continue
        size = 1 if kind == "kills" else _PARCEL
        for seed in job.seeds:
            numbers = range(count) if job.only_number is None else [job.only_number]
            found += [Parcel(kind, seed, tuple(numbers[at : at + size])) for at in range(0, len(numbers), size)]
    if not found:
        raise FlowGradError("job.attacks, job.only and job.seeds leave nothing to try; name at least one kind and seed")
    return found


def attacks(parcel: Parcel, prepared: Path) -> list[Line]:
    """Perform a parcel of attacks, each in a process of its own.

    Args:
        parcel: which; an attack is the same whatever others there are.
        prepared: folder of the runs that attacks start from.
    """
    torch.set_num_threads(1)
    _import_all()
    warnings.simplefilter("ignore")
    kind, found = KINDS[parcel.kind], []
    for number in parcel.numbers:
        rng = np.random.default_rng([parcel.seed, zlib.crc32(parcel.kind.encode()), number])
        attack = kind.draw(rng, prepared)
        place = prepared / f"{parcel.kind}-{parcel.seed}-{number}"
        found.append(Line(parcel.kind, parcel.seed, number, attack.tried, attempt(attack, kind, place)))
    return found


@cache
def _import_all() -> None:
    """What runs import, and torch with the first step of an optimizer, before processes are forked that each would."""
    for name in _IMPORTED:
        import_module(name)
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    torch.optim.SGD([parameter], lr=0.0).step()


def _print(lines: Sequence[Line], folder: Path) -> None:
    table = counts(lines)
    shown = Table(box=box.SIMPLE_HEAD)
    for name in SHOWN:
        shown.add_column(name, overflow="fold")
    for _, line in rounded(table).iterrows():
        shown.add_row(*(str(value) if value != "<NA>" else "" for value in line))
    terminal = Console()
    if not terminal.is_terminal:
        terminal.width = 160
    terminal.print(shown)
    told = faults(lines)
    for _, line in told.iterrows():
        terminal.print(
            f"{line['fault']}: {line['kind']}, seed {line['seed']}, number {line['number']}: {line['what']}: "
            f"{line['came']}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
    total = table[table["kind"] == ALL].iloc[0]
    terminal.print(f"{len(told)} fault(s) in {total['tried']} attacks", highlight=False)
    terminal.print(f"files: {folder}", markup=False, highlight=False, soft_wrap=True)
