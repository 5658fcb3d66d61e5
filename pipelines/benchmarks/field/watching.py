"""Attaches the public trackers to one training, as a user does, and collects their findings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from flowgrad import (
    BatchTracker,
    BoostingTracker,
    DistillationTracker,
    EmbeddingTracker,
    FlowTracker,
    TrainingTracker,
    joined,
)
from pipelines.benchmarks.field.boosting import Boosting
from pipelines.benchmarks.field.data import Rows
from pipelines.benchmarks.field.training import Training

TARGETS = ("y", "rating", "next")
"""Columns that a loss compares outputs with; the others are inputs."""


@dataclass(frozen=True)
class Said:
    """A finding, reduced to what is scored."""

    tracker: str
    type: str
    severity: str
    fix: bool
    """Whether it prescribes a change."""
    candidates: tuple[str, ...]
    """Causes that it says might be behind it, most likely first; empty where it names one itself."""
    premise: str = ""


@dataclass
class Watchers:
    """Every tracker that a careful user would attach."""

    run: Training
    flow: FlowTracker
    batches: BatchTracker
    course: TrainingTracker | None
    tables: list[EmbeddingTracker]
    student: DistillationTracker | None
    tells_epochs: bool
    peer: Any = None
    probe: Any = None

    def batch(self, rows: Rows) -> None:
        """Note a batch that was trained on."""
        outputs, loss = self.run.last or (None, None)
        self.batches.step(*_told(rows), outputs=outputs, loss=loss)

    def validated(self, rows: Rows) -> None:
        """Note a batch that was validated on."""
        self.batches.validate(*_told(rows))

    def step(self, loss: torch.Tensor | float) -> None:
        """Note a step of the optimizer."""
        self.flow.step(loss)
        for table in self.tables:
            table.step()
        if self.course is not None:
            self.course.step(float(loss))
        if self.student is not None:
            self.student.step(loss, loss)
        if self.peer is not None:
            self.peer.step(float(loss))

    def end_epoch(self, train_loss: float, validation_loss: float) -> None:
        """Note the end of an epoch."""
        if self.tells_epochs:
            self.flow.end_epoch(train_loss, validation_loss)
        for table in self.tables:
            table.end_epoch()
        if self.course is not None:
            self.course.end_epoch(train_loss, validation_loss)
        self.batches.end_epoch()

    def trackers(self) -> list[Any]:
        """List all of them."""
        further = [tracker for tracker in (self.course, self.student) if tracker is not None]
        return [self.flow, self.batches, *self.tables, *further]

    def findings(self) -> list[Said]:
        """Findings of all trackers after the run."""
        if self.student is not None:
            self.student.observe(self.probe)
        return said(self.trackers())


def watch(run: Training, *, peer: bool) -> Watchers:
    """Attach the trackers to a prepared training."""
    flow = FlowTracker(run.model, run.optimizer, run.scheduler, name=run.host)
    if run.inputs is not None:
        flow.observe_inputs(run.train[run.inputs])
    course = TrainingTracker(run.host, target_variance=run.variance) if run.course else None
    tables = [EmbeddingTracker(table, name=name, optimizer=run.optimizer) for name, table in run.tables().items()]
    student = None
    if run.teacher is not None:
        student = DistillationTracker(run.teacher, run.model, optimizer=run.optimizer, name=run.host)
    probe = run.validation[run.inputs][:256] if run.inputs is not None else None
    batches = BatchTracker(run.host, optimizer=run.optimizer, sizes=run.sizes)
    watchers = Watchers(
        run, flow, batches, course, tables, student, run.tells_epochs, _peer(run) if peer else None, probe
    )
    run.validated = watchers.validated
    return watchers


def _told(rows: Rows) -> tuple[Rows, torch.Tensor | None]:
    """Inputs and targets of a batch."""
    inputs = {name: column for name, column in rows.items() if name not in TARGETS}
    return inputs, next((rows[name] for name in TARGETS if name in rows), None)


def _peer(run: Training) -> Any:
    from pipelines.benchmarks.gradtracer.flow import PeerFlowTracker

    return PeerFlowTracker(run.model, run.optimizer, run.scheduler)


def said(trackers: Sequence[Any]) -> list[Said]:
    """Collect findings of several trackers, in the order in which the trackers are given."""
    return [
        Said(
            f"{tracker.KIND}:{tracker.name}", finding.type, finding.severity, finding.fix is not None,
            tuple(str(candidate.cause) for candidate in getattr(finding, "candidates", ()) or ()), finding.premise,
        )
        for tracker, findings in zip(trackers, joined([tracker.findings() for tracker in trackers]), strict=True)
        for finding in findings
    ]  # fmt: skip


def watch_booster(run: Boosting) -> BoostingTracker:
    """Make the tracker of a booster, as a user does."""
    directions = {}
    if run.metric is not None and run.notes.get("direction told"):
        name, _, higher = run.metric(run.train.y[:50], run.train.y[:50].astype(float))
        directions = {name: higher}
    return BoostingTracker(run.host, higher_is_better=directions or None)


def measured(trackers: Sequence[Any]) -> dict[str, dict[str, float]]:
    """Collect the figures of each tracker that are known."""
    return {
        f"{tracker.KIND}:{tracker.name}": {
            name: float(value) for name, value in tracker.summary().items() if not math.isnan(float(value))
        }
        for tracker in trackers
    }


@dataclass(frozen=True)
class Peer:
    """Findings of the peer library on the same run."""

    alerts: tuple[str, ...] = ()
    error: str = ""
    watched: bool = field(default=False)
