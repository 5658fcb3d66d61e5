"""Runs one watched training: a host, perhaps with a fault or a habit, and the trackers' findings."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import torch

from pipelines.benchmarks.field import boosting, faults, habits, hosts  # noqa: F401
from pipelines.benchmarks.field.boosting import Boosting
from pipelines.benchmarks.field.data import FieldData
from pipelines.benchmarks.field.registry import FAULTS, HABITS, HOSTS
from pipelines.benchmarks.field.training import Fitted, Training, fit, prepare
from pipelines.benchmarks.field.watching import Peer, Said, measured, said, watch, watch_booster

SILENT = Peer()
"""Findings of the peer on a run that it did not watch: none."""


@dataclass(frozen=True)
class Task:
    """Work of one process: one run."""

    host: str
    seed: int
    kind: str
    """Kind of run, `fault`, `habit` or `sound`; of a sound one, `name` is the habit that a fault takes for granted."""
    name: str = ""
    peer: bool = False


@dataclass(frozen=True)
class Result:
    """Outcome of one run."""

    task: Task
    findings: tuple[Said, ...] = ()
    measures: dict[str, dict[str, float]] = field(default_factory=dict)
    """Value of each figure, by tracker and name."""
    cost: float = math.nan
    """Cost on rows that come later, lower is better."""
    null: float = math.nan
    """Cost of a model that gives the same for every row."""
    told: float = math.nan
    """Cost on the author's validation rows, as the author would report it."""
    steps: int = 0
    seconds: float = 0.0
    peer: Peer = SILENT
    error: str = ""
    """Error that a tracker or the loop raised; a run with an error has no other figures."""


def watched(task: Task, data: FieldData) -> Result:
    """Run one task. Any exception is kept in `Result.error`: one broken run is no reason to lose the others."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    try:
        result = _watched(task, data)
    except Exception as error:
        text = str(error).strip().splitlines() or [""]
        return Result(task, error=f"{type(error).__name__}: {text[0]}", seconds=time.perf_counter() - start)
    return Result(**{**result.__dict__, "seconds": time.perf_counter() - start})


def made(task: Task, data: FieldData) -> Training | Boosting:
    """Make the training of a task, with its fault or habit injected."""
    run: Training | Boosting = HOSTS[task.host].make(data, task.seed)
    if task.kind == "fault":
        fault = FAULTS[task.name]
        if fault.base:
            HABITS[fault.base].change(run)
        fault.change(run)
    elif task.name:
        HABITS[task.name].change(run)
    return run


def _watched(task: Task, data: FieldData) -> Result:
    run = made(task, data)
    if isinstance(run, Boosting):
        tracker = watch_booster(run)
        return _result(task, run.null, boosting.fit(run, tracker), [tracker], tuple(said([tracker])))
    prepare(run)
    watchers = watch(run, peer=task.peer)
    fitted = fit(run, watchers)
    findings = tuple(watchers.findings())
    peer = SILENT
    if watchers.peer is not None:
        diagnosis = watchers.peer.diagnosis()
        peer = Peer(tuple(dict.fromkeys(alert.type for alert in diagnosis.alerts)), diagnosis.error, watched=True)
    return _result(task, run.null, fitted, watchers.trackers(), findings, peer)


def _result(
    task: Task, null: float, fitted: Fitted, trackers: list, findings: tuple[Said, ...], peer: Peer = SILENT
) -> Result:
    return Result(task, findings, measured(trackers), fitted.cost, null, fitted.told, fitted.steps, peer=peer)
