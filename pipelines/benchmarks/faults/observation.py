"""Trains and diagnoses one case: by our rule book, and by the peer on the same run."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from omegaconf import DictConfig

from flowgrad.measurements import Measurements
from flowgrad.prescription import Prescription, prescribe
from flowgrad.rules import Finding, RuleBook
from flowgrad.rules.following import stands
from flowgrad.trackers import joined
from pipelines.benchmarks.faults.datasets import Datasets
from pipelines.benchmarks.faults.figures import Figure, Threshold, figures
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
    asked: tuple[str, ...] = ()
    """Rules whose thresholds will be chosen anew: what they are chosen by is kept."""


@dataclass(frozen=True)
class Kept:
    """Figures by which a run can be judged again, with other thresholds."""

    measurements: tuple[Measurements, ...]
    """Measurements of each subject; of their rows the columns that rules read."""
    figures: Mapping[Threshold, Figure]
    """Turning points of the verdicts of the rules asked for."""
    explained: frozenset[str]
    """Rules asked for whose finding another one in the run would explain, so that it prescribed nothing."""


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
    kept: Kept | None = None
    """Figures by which it can be judged again; None where nobody asked."""


def observe(task: Task, data: Datasets) -> DiagnosedRun:
    """Train on the diagnosis seed, watched, and return the result."""
    observers, peers = task.ground.peers(task.config) if task.peer else (None, {})
    watched = Experiment(task.config, task.overrides, task.book, data.of(task.config))
    diagnosis = diagnose(watched, 1, observers)
    return DiagnosedRun(
        truth=task.ground.truth(task.config, data),
        **_verdicts(diagnosis.all_findings, diagnosis.prescription),
        epochs=len(diagnosis.trained.train_losses),
        measures={seen.subject: {**seen.scalars, **task.book.shares(seen)} for seen, _ in diagnosis.findings},
        peer={table: peer.diagnosis() for table, peer in peers.items()},
        kept=_kept([seen for seen, _ in diagnosis.findings], task) if task.asked else None,
    )


def judged_again(run: DiagnosedRun, book: RuleBook, config: DictConfig) -> DiagnosedRun:
    """The run as another book judges it.

    Args:
        run: with what it can be judged by (`kept`).
        book: rules.
        config: config of the run.
    """
    assert run.kept is not None
    findings = [finding for own in joined(map(book.evaluate, run.kept.measurements)) for finding in own]
    prescription = prescribe(findings, config, refuted=config.evidence.prescribe_refuted)
    return replace(run, **_verdicts(findings, prescription))


def _verdicts(findings: Sequence[Finding], prescription: Prescription) -> dict[str, Any]:
    return {
        "named": {(f.rule_id, f.subject): () if f.rows is None else tuple(f.rows.index.tolist()) for f in findings},
        "acting": prescription.rules,
        "prescription": prescription.overrides,
        "open": frozenset(f.rule_id for f in findings if f.candidates)
        - {f.rule_id for f in findings if not f.candidates},
    }


def _kept(measured: Sequence[Measurements], task: Task) -> Kept:
    read = {
        name
        for rule in task.book.values()
        for name in (*(rule.rows.names if rule.rows else ()), rule.share_weight, "exposures")
    }
    slim = tuple(
        replace(seen, tables={"rows": rows[[name for name in rows if name in read]]} if rows is not None else {})
        for seen in measured
        for rows in (seen.tables.get("rows"),)
    )
    findings = [finding for own in joined(map(task.book.evaluate, slim)) for finding in own]
    return Kept(slim, figures(task.book, task.asked, slim), _explained(findings, task.asked, task.book))


def _explained(findings: Sequence[Finding], asked: Collection[str], book: RuleBook) -> frozenset[str]:
    explaining = [finding for finding in findings if stands(finding)]
    types = {rule: {f.type for f in explaining if f.rule_id != rule} for rule in asked}
    return frozenset(rule for rule in asked if types[rule] & set(book[rule].follows))
