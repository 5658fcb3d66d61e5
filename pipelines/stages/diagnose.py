"""Trains once, watched, on the diagnosis seed; evaluates the rules; prescribes."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from flowgrad.measurements import Measurements
from flowgrad.prescription import Prescription, prescribe
from flowgrad.report import (
    OverrideAblation,
    Report,
    RunIdentity,
    RunReport,
    Validation,
    build_report,
    causal_model,
    with_ablations,
    with_validations,
)
from flowgrad.rules import Finding
from flowgrad.trackers import joined
from pipelines.stages.experiment import Experiment
from pipelines.stages.told_findings import told_again, told_findings
from pipelines.trainers.own_trackers import OwnWatch
from pipelines.trainers.trainer import Trained


@dataclass(frozen=True)
class Diagnosis:
    """Result of one watched run on the diagnosis seed."""

    round: int
    """Number of the round, from 1. The last one of a run diagnoses the treated config."""
    experiment: Experiment
    """The experiment that was watched."""
    trained: Trained
    findings: tuple[tuple[Measurements, tuple[Finding, ...]], ...]
    """Measurements of each subject, with the findings on it."""
    prescription: Prescription
    """Prescription of this round; empty where no finding has a fix that would change the config."""
    seconds: float = math.inf
    """Seconds that the watched training took."""

    @property
    def config(self) -> DictConfig:
        """Config of the run."""
        return self.experiment.config

    @property
    def overrides(self) -> tuple[str, ...]:
        """Overrides that gave `config`."""
        return self.experiment.overrides

    @property
    def all_findings(self) -> tuple[Finding, ...]:
        """Findings on every subject, in order of the subjects."""
        return tuple(finding for _, found in self.findings for finding in found)


def diagnose(experiment: Experiment, number: int, observers: Any = None) -> Diagnosis:
    """Train on the diagnosis seed with trackers, and judge the run by the rule book."""
    config, book, began = experiment.config, experiment.book, time.perf_counter()
    own = OwnWatch(config, observers)
    trained = experiment.trainer.train(experiment.data, config.seeds.diagnosis, watched=True, observers=own.observers)
    seconds = max(time.perf_counter() - began, trained.seconds)
    measured = (*trained.measurements, *own.measurements(trained.measurements))
    found = joined([book.evaluate(seen) for seen in measured])
    told, untried = told_findings(trained.reports, book, config)
    findings = (*zip(measured, found, strict=True), *told)
    prescription = prescribe(
        [finding for _, found in findings for finding in found], config, refuted=config.evidence.prescribe_refuted
    )
    prescription = replace(prescription, overruled={**untried, **prescription.overruled})
    return Diagnosis(number, experiment, trained, findings, prescription, seconds)


def run_report(
    diagnosis: Diagnosis,
    arm: str,
    tables: Mapping[str, str],
    validations: Mapping[str, Validation],
    ablations: Mapping[str, OverrideAblation] | None = None,
) -> RunReport:
    """Make the diagnosis one document.

    Args:
        diagnosis: the diagnosis.
        arm: `baseline`, `round1`, ... `treated`.
        tables: subject -> file that names all its rows.
        validations: rule id -> the test of its fix, for the rules of this round's prescription.
        ablations: override, as `path=value` -> its test by runs without it.
    """
    config, trained, book = diagnosis.config, diagnosis.trained, diagnosis.experiment.book
    trainer, sha256 = diagnosis.experiment.trainer, diagnosis.experiment.config_sha256
    identity = RunIdentity(
        id=f"{config.name}-{sha256[:6]}",
        arm=arm,
        round=diagnosis.round,
        seed=config.seeds.diagnosis,
        config_sha256=sha256,
        data_sha256=diagnosis.experiment.data.sha256,
        training=trainer.facts(trained),
        environment={
            "flowgrad": _flowgrad_version(),
            **{name: import_module(name).__version__ for name in trainer.PACKAGES},
            "python": platform.python_version(),
        },
    )
    if trained.reports:
        return _told(told_again(trained.reports, diagnosis.prescription, validations), identity, ablations)
    reports = []
    for seen, found in diagnosis.findings:
        models = [
            causal_model(
                f,
                _overrides(f, diagnosis),
                table=tables.get(seen.subject, "") if f.rows is not None else "",
                deferred=diagnosis.prescription.overruled.get(f.rule_id, ""),
            )
            for f in found
        ]
        measured = replace(seen, scalars={**seen.scalars, **book.shares(seen)})
        reports.append(with_validations(build_report(measured, models, book=book), validations))
    return _told(reports, identity, ablations)


def _told(
    reports: Sequence[Report], identity: RunIdentity, ablations: Mapping[str, OverrideAblation] | None
) -> RunReport:
    return RunReport(tuple(with_ablations(report, ablations or {}) for report in reports), identity)


def named_rows(diagnosis: Diagnosis) -> dict[str, pd.DataFrame]:
    """Rows that findings name on each subject: rule, row, the data set's own id, and the row's measures."""
    tables = {}
    for seen, found in diagnosis.findings:
        parts = [f.rows.reset_index(names="row").assign(rule=f.rule_id) for f in found if f.rows is not None]
        if not parts:
            continue
        table = pd.concat(parts, ignore_index=True)
        ids = diagnosis.experiment.trainer.row_ids(diagnosis.experiment.data, seen.subject)
        table.insert(0, "id", table["row"] if ids is None else ids[table["row"].to_numpy()])
        table.insert(0, "rule", table.pop("rule"))
        tables[seen.subject] = table
    return tables


def _overrides(finding: Finding, diagnosis: Diagnosis) -> tuple:
    """Overrides of the finding's fix where it was prescribed; where it waits, those that it would make on this
    config.
    """
    if finding.fix is None:
        return ()
    own = diagnosis.prescription.by_rule.get(finding.rule_id)
    if own is not None:
        return own
    return prescribe([finding], diagnosis.config, refuted=True).by_rule.get(finding.rule_id, ())


def _flowgrad_version() -> str:
    from flowgrad import __version__

    return __version__
