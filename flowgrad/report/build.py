"""From what was measured and found to a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from flowgrad.measurements import Measurements
from flowgrad.measures import VOCABULARY
from flowgrad.report.overrides import override_text
from flowgrad.report.report import (
    CausalModel,
    Metric,
    Override,
    Report,
    RowList,
    RowRecord,
    RunIdentity,
    Validation,
)
from flowgrad.rules.rule import Finding


def causal_model(
    finding: Finding, overrides: tuple[Override, ...] = (), table: str = "", shown: int = 10, deferred: str = ""
) -> CausalModel:
    """A finding as the report tells it.

    Args:
        finding: what a rule found.
        overrides: its fix, from `prescription` or `fix_without_config`; the finding's own `fix` is not looked at.
        table: file beside the report that holds all rows the finding names; empty where there is none.
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
        fix=tuple(overrides),
        deferred=deferred,
        rule_sha256=finding.rule_sha256,
    )


def _row_list(finding: Finding, table: str, shown: int) -> RowList | None:
    if finding.rows is None:
        return None
    head = finding.rows.head(shown)
    names = [str(name) for name in head.columns]
    lines = zip(head.index.tolist(), head.to_numpy(dtype=float).tolist(), strict=True)
    records = tuple(RowRecord(row, dict(zip(names, values, strict=True))) for row, values in lines)
    return RowList(len(finding.rows), records, table)


def build_report(measurements: Measurements, findings: Sequence[CausalModel], run: RunIdentity | None = None) -> Report:
    """The report on one subject: every scalar measured, in its order, and the findings in theirs."""
    units = {measure.name: measure.unit for measure in VOCABULARY.get(measurements.kind, ())}
    metrics = tuple(
        Metric(name, float(value), units.get(name, _unit_by_name(name))) for name, value in measurements.scalars.items()
    )
    return Report(measurements.kind, measurements.subject, run, metrics, tuple(findings))


def _unit_by_name(name: str) -> str:
    """Names outside the vocabulary are shares that rules define; only one that says so is called a share."""
    return "share" if name == "share" or name.endswith("_share") else ""


def fix_without_config(finding: Finding) -> tuple[Override, ...]:
    """A finding's fix for users whose config is not at hand: `set` and `copy` give values, `scale` a factor.

    `copy` reads `finding.measured`; a value that is missing there or not finite leaves the override without a value:
    the path is right, the new value is not known. A finding without a fix gives no override.
    """
    fix = finding.fix
    if fix is None:
        return ()
    return (
        *(Override(path, value=override_text(value)) for path, value in fix.set.items()),
        *(Override(path, scale=float(factor)) for path, factor in fix.scale.items()),
        *(Override(path, value=_copied(finding.measured.get(name, math.nan))) for path, name in fix.copy.items()),
    )


def _copied(value: float) -> str:
    """Measured values are floats, and a count such as 42.0 must fit a config node that takes an int."""
    number = float(value)
    if not math.isfinite(number):
        return ""
    return override_text(int(number) if number.is_integer() else number)


def with_validations(report: Report, validations: Mapping[str, Validation]) -> Report:
    """The report with the validation of each finding whose rule id is in `validations`.

    Ids that no finding here has are passed over, so that one mapping serves all reports of a run.
    """
    findings = (
        replace(found, validation=validations[found.rule]) if found.rule in validations else found
        for found in report.findings
    )
    return replace(report, findings=tuple(findings))
