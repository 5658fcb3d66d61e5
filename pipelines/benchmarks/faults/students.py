"""Damages one layer of a student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from omegaconf import DictConfig
from pandas import DataFrame
from torch import Tensor, nn

from flowgrad.rules import RuleBook
from pipelines.benchmarks.faults.cases import FaultCase
from pipelines.benchmarks.faults.datasets import Datasets
from pipelines.benchmarks.faults.ground import FaultFamily
from pipelines.benchmarks.faults.layers import layer_table
from pipelines.benchmarks.faults.observation import DiagnosedRun
from pipelines.benchmarks.gradtracer.distillation import NOISY, STRUGGLING, PeerDistillation, diagnosis
from pipelines.benchmarks.gradtracer.flow import PeerFlowTracker
from pipelines.trainers.distillation.data import TaughtData
from pipelines.trainers.distillation.networks import OUTPUT
from pipelines.trainers.distillation.students import TRACKER, layer_names
from pipelines.trainers.distillation.teachers import trained_teacher


class Students(FaultFamily):
    """Students of a teacher; the rows of their tracker are layers."""

    TABLES = (TRACKER,)

    def row_overrides(self, choice: str, table: str) -> tuple[str, ...]:
        """Overrides that inject the fault; see `FaultFamily.row_overrides`."""
        return (f"fault={choice}",)

    def places(self, base: DictConfig, choice: str) -> Mapping[str, tuple[str, ...]]:
        """Every layer is a place; the width of the last one is that of the target."""
        layers = [name for name in layer_names(base) if choice != "narrow_layer" or name != OUTPUT]
        return {layer: (f"fault.layer={layer}",) for layer in layers}

    def truth(self, config: DictConfig, data: Datasets) -> tuple[str, ...]:
        """Layer that is damaged; see `FaultFamily.truth`."""
        return () if config.fault is None else (config.fault.layer,)

    def other_fixes(self, config: DictConfig, data: Datasets) -> tuple[tuple[str, ...], ...]:
        """Fixes that widen a layer, unfreeze it, or give it the full rate."""
        keys = ("model.widened_layers", "training.unfrozen_layers", "training.full_rate")
        return tuple((f"{key}.{TRACKER}=[{layer}]",) for key in keys for layer in layer_names(config))

    def tables(self, cases: Sequence[FaultCase], found: Sequence[DiagnosedRun], book: RuleBook) -> dict[str, DataFrame]:
        """Table of whether the damaged layer is the one named, and for the right cause."""
        return {"layers": layer_table(cases, found, book)}

    def peers(self, config: DictConfig) -> tuple[Any, Mapping[str, PeerStudent]]:
        """Observers of the peer; see `FaultFamily.peers`."""
        peer = PeerStudent(config)
        return peer, {TRACKER: peer}

    def rows_for(self, fault: str, diagnosis: PeerOnStudent) -> Sequence[str]:
        """Layer that the peer names, for whatever cause."""
        named = diagnosis.named
        return () if named is None else (named,)

    def credited(self, fault: str, alert: PeerComplaint) -> bool:
        """Whether an alert is credited with the fault; the peer has no word for a student that is dead."""
        return False


@dataclass(frozen=True)
class PeerComplaint:
    """A status of the peer other than `OK`."""

    type: str


@dataclass(frozen=True)
class PeerOnStudent:
    """Findings of the peer on a student, by layer instead of by parameter."""

    alerts: tuple[PeerComplaint, ...]
    named: str | None
    """Layer that the peer names by its statuses."""
    largest_gap: str | None
    """Layer of the largest gap, also below its threshold, in the peer's favour."""


class PeerStudent:
    """The peer on one student and its teacher: called by the trainer for watchers, read by `diagnosis`."""

    def __init__(self, config: DictConfig) -> None:
        """Remember how the teacher was trained."""
        self._config = config
        self._teacher: PeerFlowTracker | None = None
        self._student: PeerFlowTracker | None = None

    def __call__(self, data: TaughtData, student: nn.Module, optimizer: torch.optim.Optimizer) -> Sequence[StepAdapter]:
        """Watch the student; the teacher is trained again for it to watch."""
        settings, threads = self._config.teacher, self._config.training.threads
        self._teacher = _watched_teacher(_Recipe(settings, data, threads))
        self._student = PeerFlowTracker(student, optimizer)
        return (StepAdapter(self._student),)

    def diagnosis(self) -> PeerOnStudent:
        """Findings of the peer after training."""
        assert self._teacher is not None
        assert self._student is not None
        found: PeerDistillation = diagnosis(self._teacher, self._student)
        statuses = {*found.status.values(), *found.noise.values()} & {*STRUGGLING, NOISY}
        return PeerOnStudent(
            tuple(map(PeerComplaint, sorted(statuses))), _layer(found.named), _layer(found.largest_gap)
        )


class StepAdapter:
    """Adapter of a tracker of the peer to the loop's watchers."""

    def __init__(self, tracker: PeerFlowTracker) -> None:
        """Keep the tracker."""
        self._tracker = tracker

    def step(self, loss: Tensor) -> None:
        """Pass the step on; see `Watcher.step`."""
        self._tracker.step(loss)

    def end_epoch(self, train_loss: float, validation_loss: float) -> None:
        """Pass the epoch on; see `Watcher.end_epoch`."""
        self._tracker.end_epoch(train_loss, validation_loss)

    def detach(self) -> None:
        """Take the tracker off: training is over."""
        self._tracker.detach()


@dataclass(frozen=True, eq=False)
class _Recipe:
    """Settings that a teacher is trained by; two are equal that lead to the same data."""

    settings: DictConfig
    data: TaughtData
    threads: int

    def __hash__(self) -> int:
        return hash(self.data.sha256)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Recipe) and other.data.sha256 == self.data.sha256


@lru_cache(maxsize=4)
def _watched_teacher(recipe: _Recipe) -> PeerFlowTracker:
    watching: list[PeerFlowTracker] = []

    def watch(teacher: nn.Module, optimizer: torch.optim.Optimizer) -> Sequence[StepAdapter]:
        watching.append(PeerFlowTracker(teacher, optimizer))
        return (StepAdapter(watching[0]),)

    data = recipe.data
    trained_teacher(recipe.settings, data.shapes, data.train, data.validation, recipe.threads, watch)
    watching[0].detach()
    return watching[0]


def _layer(parameter: str | None) -> str | None:
    return None if parameter is None else parameter.rpartition(".")[0]
