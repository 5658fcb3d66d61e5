"""Trains and diagnoses one case: by our rule book, and by the peer on the same run."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig

from flowgrad.rules import RuleBook
from pipelines.benchmarks.faults.datasets import Datasets
from pipelines.benchmarks.faults.ground import FaultFamily
from pipelines.stages.diagnose import diagnose
from pipelines.stages.experiment import Experiment


@dataclass(frozen=True)
class Task:
    """Work of one process on a case."""

    config: DictConfig
    overrides: tuple[str, ...]
    book: RuleBook
    ground: FaultFamily
    peer: bool
    """Whether the peer watches too."""


@dataclass(frozen=True)
class DiagnosedRun:
    """Result of one diagnosed run."""

    truth: tuple[Hashable, ...]
    """Rows that have the fault, or columns by name; empty for faults of the run."""
    named: dict[tuple[str, str], tuple[Hashable, ...]]
    """Rows that each finding names, by (rule, table); () for findings that name none."""
    acting: tuple[str, ...]
    """Rules whose fixes are prescribed."""
    prescription: tuple[str, ...]
    """Overrides of the prescription."""
    epochs: int
    """Number of epochs, or rounds."""
    measures: dict[str, dict[str, float]] = field(default_factory=dict)
    """Every scalar and share measured on each subject, by name."""
    open: frozenset[str] = frozenset()
    """Ids of rules that named a symptom and its candidates, and left the cause open, wherever they fired."""
    peer: dict[str, Any] = field(default_factory=dict)
    """Diagnoses of the peer by table; empty where the peer did not watch."""


def observe(task: Task, data: Datasets) -> DiagnosedRun:
    """Train on the diagnosis seed, watched, and return the result."""
    observers, peers = task.ground.peers(task.config) if task.peer else (None, {})
    watched = Experiment(task.config, task.overrides, task.book, data.of(task.config))
    diagnosis = diagnose(watched, 1, observers)
    return DiagnosedRun(
        truth=task.ground.truth(task.config, data),
        named={
            (f.rule_id, f.subject): () if f.rows is None else tuple(f.rows.index.tolist())
            for f in diagnosis.all_findings
        },
        acting=diagnosis.prescription.rules,
        prescription=diagnosis.prescription.overrides,
        epochs=len(diagnosis.trained.train_losses),
        measures={seen.subject: {**seen.scalars, **task.book.shares(seen)} for seen, _ in diagnosis.findings},
        open=frozenset(f.rule_id for f in diagnosis.all_findings if f.candidates)
        - {f.rule_id for f in diagnosis.all_findings if not f.candidates},
        peer={table: peer.diagnosis() for table, peer in peers.items()},
    )
