"""Collects trials from the folders of validated runs: of each rule that acted, and of each override that was left
out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from flowgrad.errors import EvidenceError
from flowgrad.evidence.ledger import Ledger, Trial
from flowgrad.report import CausalModel, ClaimsReport, Report, RunReport, Validation, read
from flowgrad.rules import RuleBook
from flowgrad.verification.ablations import check_ablations
from flowgrad.verification.provenance import provenance
from flowgrad.verification.recomputation import recompute
from flowgrad.verification.run_config import RunConfig
from flowgrad.verification.trial_tables import TRIALS, verified_trials


def trials_of(folder: str | Path, book: RuleBook | None = None) -> tuple[Trial, ...]:
    """Collect every validated prescription of a run, once for each rule whose fix was in it, and every override of
    theirs that was left out to see what it does.

    Reads the reports in the folder, or `trials.csv` where there is one. A rule that names several subjects counts once.
    Verdicts are computed anew from the observations first, and rules compared with the rule book.

    Args:
        folder: of the run.
        book: the rules that were tried; None: those of the run's config, or else the shipped ones.

    Raises:
        EvidenceError: a folder without validated fixes, or a verdict that does not follow from the observations.
        ReportError: a report that cannot be read.
    """
    folder = Path(folder)
    if (folder / TRIALS).is_file():
        return verified_trials(folder, book)
    reports = sorted(folder.glob("report*.xml"))
    if not reports:
        raise EvidenceError(f"{folder}: there is no report*.xml and no {TRIALS}; name the folder of a run")
    found = tuple(trial for path in reports for trial in _of_report(path, book))
    if not found:
        raise EvidenceError(f"{folder}: no report holds a validated fix")
    return Ledger().plus(found).trials


def _of_report(path: Path, book: RuleBook | None) -> Iterator[Trial]:
    try:
        report = read(path)
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror or error}") from error
    if isinstance(report, ClaimsReport):
        raise EvidenceError(f"{path}: these are claims, not the report of a run")
    checked = recompute(report, path.parent)
    if checked.missing:
        raise EvidenceError(f"{path}: {checked.missing} is not beside it; a verdict is not taken on trust")
    told, left_out = provenance(report, path.parent, book), check_ablations(report, path.parent)
    if left_out.missing:
        raise EvidenceError(f"{path}: {left_out.missing} is not beside it; what an override did is not taken on trust")
    if problems := [*checked.problems, *told.problems, *left_out.problems]:
        raise EvidenceError(f"{path}: {problems[0]}")
    if told.rules_unchecked:
        raise EvidenceError(f"{path}: not checked: {told.unchecked[0]}; a rule is not taken on trust")
    config = RunConfig.beside(path.parent)
    for part in report.reports if isinstance(report, RunReport) else (report,):
        for trial in _of_part(part, report.run.id if report.run else part.layer):
            yield replace(trial, tried_on=config.case if config else "")


def _of_part(part: Report, experiment: str) -> Iterator[Trial]:
    for finding in part.findings:
        proof = finding.validation
        if proof is None:
            continue
        yield from _of_overrides(finding, experiment, proof)
        yield Trial(
            rule=finding.rule,
            rule_sha256=finding.rule_sha256,
            experiment=experiment,
            comparison=proof.comparison,
            metric=proof.metric,
            n=proof.n,
            p=proof.p_adjusted,
            verdict=proof.verdict,
            observations_sha256=proof.observations_sha256,
        )


def _of_overrides(finding: CausalModel, experiment: str, proof: Validation) -> Iterator[Trial]:
    """Trials of the overrides of a rule that acted. The rule's own seeds stand for one that could not be left out."""
    for override in finding.fix:
        found = override.ablation
        if found is None or not found.arm:
            continue
        yield Trial(
            rule=finding.rule,
            rule_sha256=finding.rule_sha256,
            experiment=experiment,
            comparison="left out",
            metric=found.metric or proof.metric,
            n=found.n or proof.n,
            p=math.nan if found.p is None else found.p,
            verdict=found.outcome,
            observations_sha256=found.observations_sha256,
            override=f"{override.path}={override.value}",
            share=found.share,
        )
