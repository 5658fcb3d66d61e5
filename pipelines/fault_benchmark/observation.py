"""One case, trained and diagnosed: by our rule book, and by the peer on the same run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from omegaconf import DictConfig

from flowgrad.rules import RuleBook
from pipelines.data import Data
from pipelines.diagnosis import diagnose
from pipelines.models.factorization import MatrixFactorization
from pipelines.peer import PeerDiagnosis, PeerTracker
from pipelines.training.faults import inject


@dataclass(frozen=True)
class Task:
    """What a worker needs to know of a case."""

    config: DictConfig
    overrides: tuple[str, ...]
    book: RuleBook
    peer: bool
    """Whether the peer watches too."""


@dataclass(frozen=True)
class Found:
    """What one diagnosed run showed."""

    truth: tuple[int, ...]
    """Rows that have the fault; empty for faults of the run."""
    named: dict[tuple[str, str], tuple[int, ...]]
    """(rule, table) -> rows that the finding names, for all findings; () for those that name none."""
    acting: tuple[str, ...]
    """Rules whose fixes are prescribed."""
    prescription: tuple[str, ...]
    """Overrides."""
    epochs: int
    measures: dict[str, dict[str, float]] = field(default_factory=dict)
    """Subject -> every scalar and share measured on it, by name."""
    peer: dict[str, PeerDiagnosis] = field(default_factory=dict)
    """By table; empty where the peer did not watch."""


def observe(task: Task, data: Data) -> Found:
    """Train on the diagnosis seed, watched, and say what was found."""
    peers: dict[str, PeerTracker] = {}

    def observers(model: MatrixFactorization, optimizer: torch.optim.Optimizer) -> Sequence[PeerTracker]:
        if task.peer:
            tables = task.config.tracker.tables
            peers.update({table: PeerTracker(getattr(model, table), table, optimizer) for table in tables})
        return tuple(peers.values())

    diagnosis = diagnose(task.config, task.overrides, data, task.book, 1, observers)
    return Found(
        truth=tuple(map(int, inject(task.config, data).rows)),
        named={
            (f.rule_id, f.subject): () if f.rows is None else tuple(map(int, f.rows.index))
            for f in diagnosis.all_findings
        },
        acting=diagnosis.prescription.rules,
        prescription=diagnosis.prescription.overrides,
        epochs=len(diagnosis.trained.train_losses),
        measures={seen.subject: {**seen.scalars, **task.book.shares(seen)} for seen, _ in diagnosis.findings},
        peer={table: peer.diagnosis() for table, peer in peers.items()},
    )
