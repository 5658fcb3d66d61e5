"""Builds a report from measurements and findings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from flowgrad.measurements import Measurements
from flowgrad.measures import VOCABULARY
from flowgrad.report.overrides import override_text
from flowgrad.report.report import (
    CausalModel,
    CoverageReport,
    Evaluation,
    Metric,
    OpenCause,
    Override,
    OverrideAblation,
    PlainChange,
    Report,
    RowList,
    RowRecord,
    RunIdentity,
    Seen,
    Unjudged,
    Unseen,
    Validation,
)
from flowgrad.rules.rule import Finding

if TYPE_CHECKING:
    from flowgrad.rules import RuleBook


def causal_model(
    finding: Finding, overrides: tuple[Override, ...] = (), table: str = "", shown: int = 10, deferred: str = ""
) -> CausalModel:
    """Convert a finding to its form in the report.

    Args:
        finding: finding of a rule.
        overrides: its fix where a config is at hand, from `prescription`, or `fix_without_config`; the finding's own
            `fix` is ignored.
        table: file next to the report that holds all rows the finding names; empty where there is none.
        deferred: why the fix is not part of the prescription, where it is not.
        shown: how many of those rows the report itself lists, from the first (worst) on.

    Raises:
        ValueError: for a negative `shown`, or a column of `finding.rows` that does not hold numbers.
    """
    if shown < 0:
        raise ValueError(f"shown={shown} must be 0 or more")
    return CausalModel(
        type=finding.type,
        rule=finding.rule_id,
        severity=finding.severity,
        premise=finding.premise,
        implies=finding.implies,
        action=finding.action,
        expected_effect=finding.expected_effect,
        confidence=finding.confidence,
        risk=finding.risk,
        evidence=finding.evidence,
        rows=_row_list(finding, table, shown),
        fix=tuple(_with_counts(finding, override) for override in overrides),
        plain=tuple(PlainChange(framework, text) for framework, text in finding.plain.items()),
        candidates=tuple(OpenCause(one.cause, one.check) for one in finding.candidates),
        judged=None if finding.judged is None else Evaluation(**asdict(finding.judged)),
        deferred=deferred,
        rule_sha256=finding.rule_sha256,
        follows=finding.follows,
    )


def _with_counts(finding: Finding, override: Override) -> Override:
    """The override with how often it earned its place in validated runs, as the finding knows it."""
    earned, tried = finding.overrides.get(override.path, (0, 0))
    return replace(override, earned=earned, tried=tried) if tried else override


def _row_list(finding: Finding, table: str, shown: int) -> RowList | None:
    if finding.rows is None:
        return None
    head = finding.rows.head(shown)
    names = [str(name) for name in head.columns]
    lines = zip(head.index.tolist(), head.to_numpy(dtype=float).tolist(), strict=True)
    # Figures of a row that are not known are left out.
    records = tuple(
        RowRecord(row, {n: v for n, v in zip(names, values, strict=True) if not math.isnan(v)}) for row, values in lines
    )
    return RowList(len(finding.rows), records, table)


def build_report(
    measurements: Measurements,
    findings: Sequence[CausalModel],
    run: RunIdentity | None = None,
    book: RuleBook | None = None,
) -> Report:
    """Build the report on one subject: every scalar that is known, in its order, the findings in theirs, and the
    coverage.

    Args:
        measurements: the measurements.
        findings: the findings.
        run: which training it was.
        book: the rules that judged: rules that could not be judged are listed, and nothing is called healthy where no
            rule could be. None: they are not listed.
    """
    units = {measure.name: measure.unit for measure in VOCABULARY.get(measurements.kind, ())}
    scalars = {name: float(value) for name, value in measurements.scalars.items()}
    metrics = tuple(
        Metric(name, value, units.get(name, _unit_by_name(name)))
        for name, value in scalars.items()
        if not math.isnan(value)
    )
    unknown = [name for name, value in scalars.items() if math.isnan(value)]
    coverage = _coverage(measurements, unknown, book)
    return Report(measurements.kind, measurements.subject, run, metrics, tuple(findings), coverage)


def _coverage(measurements: Measurements, unknown: Sequence[str], book: RuleBook | None) -> CoverageReport:
    told = measurements.coverage
    blind, unjudged = told.blind, {} if book is None else book.unjudged(measurements)
    if not blind and book is not None and not book.judges(measurements):
        blind = "no rule could be judged: every figure that one needs is unknown"
    return CoverageReport(
        seen=tuple(Seen(name, float(value)) for name, value in told.seen.items()),
        unseen=tuple(Unseen(name, because) for name, because in told.unseen.items()),
        unjudged=tuple(Unjudged(rule, because) for rule, because in unjudged.items()),
        unknown=" ".join(unknown),
        blind=blind,
    )


def _unit_by_name(name: str) -> str:
    """Unit of a name outside the vocabulary, which is a share that a rule defines; only a name that says so is called a
    share.
    """
    return "share" if name == "share" or name.endswith("_share") else ""


def fix_without_config(finding: Finding) -> tuple[Override, ...]:
    """Make a finding's fix for users whose config is not at hand, where the rule does not give it in plain words: `set`
    and `copy` give values, `scale` a factor.

    `copy` reads `finding.measured`; a value that is missing there or not finite leaves the override without a value:
    the path is right, the new value is not known. A finding without a fix gives no override.
    """
    fix = finding.fix
    if fix is None or finding.plain:
        return ()
    return (
        *(Override(path, value=override_text(value)) for path, value in fix.set.items()),
        *(Override(path, scale=float(factor)) for path, factor in fix.scale.items()),
        *(Override(path, value=_copied(finding.measured.get(name, math.nan))) for path, name in fix.copy.items()),
    )


def _copied(value: float) -> str:
    """Write a measured value: values are floats, and a count such as 42.0 must fit a config node that takes an int."""
    number = float(value)
    if not math.isfinite(number):
        return ""
    return override_text(int(number) if number.is_integer() else number)


def with_validations(report: Report, validations: Mapping[str, Validation]) -> Report:
    """Make the report with the validation of each finding whose rule id is in `validations`.

    Ids that no finding here has are passed over, so that one mapping serves all reports of a run.
    """
    findings = (
        replace(found, validation=validations[found.rule]) if found.rule in validations else found
        for found in report.findings
    )
    return replace(report, findings=tuple(findings))


def with_ablations(report: Report, ablations: Mapping[str, OverrideAblation]) -> Report:
    """Make the report with the test of each override that is in `ablations`, as `path=value`."""
    findings = (
        replace(
            found,
            fix=tuple(
                replace(one, ablation=ablations.get(f"{one.path}={one.value}", one.ablation)) for one in found.fix
            ),
        )
        for found in report.findings
    )
    return replace(report, findings=tuple(findings))
