"""Takes the findings of a report that a script of the user's own left, and says which changes have names there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from flowgrad.errors import FlowGradError
from flowgrad.measurements import Measurements
from flowgrad.prescription import Prescription
from flowgrad.report import CausalModel, Override, Report, Validation, with_validations
from flowgrad.rules import Finding, RuleBook
from flowgrad.rules.rule import Candidate, Fix
from flowgrad.rules.suggestion import did_you_mean

Told = tuple[tuple[Measurements, tuple[Finding, ...]], ...]
UNTRIED = "advice, not tried"


def check_names(fixes: Mapping[str, str], book: RuleBook) -> None:
    """Refuse names for changes that no rule makes.

    Raises:
        FlowGradError: names one, and what it may have been meant for.
    """
    known = sorted(
        {path for rule in book.values() if rule.fix is not None for path in (*rule.fix.set, *rule.fix.scale)}
    )
    for path in fixes:
        if path not in known:
            raise FlowGradError(f"training.fixes: no rule changes {path!r}{did_you_mean(str(path), known)}")


def told_findings(reports: Sequence[Report], book: RuleBook, config: DictConfig) -> tuple[Told, dict[str, str]]:
    """Make findings of a script's reports, each with its rule's fix where the script has a name for all of it.

    Returns:
        The findings, and for each rule that claims a cause and whose fix cannot be tried the reason.
    """
    untried: dict[str, str] = {}
    told = []
    for report in reports:
        found = tuple(_finding(one, report, book, config, untried) for one in report.findings)
        known = {metric.name: metric.value for metric in report.measurements}
        told.append((Measurements(report.kind, report.layer, known), found))
    return tuple(told), untried


def told_again(
    reports: Sequence[Report], prescription: Prescription, validations: Mapping[str, Validation]
) -> tuple[Report, ...]:
    """The script's reports without its own name of the run, with the change that was tried and what came of it."""
    return tuple(
        with_validations(
            replace(report, run=None, findings=tuple(_changed(one, prescription) for one in report.findings)),
            validations,
        )
        for report in reports
    )


def advice(report_findings: Sequence[Finding], prescription: Prescription) -> Iterator[str]:
    """A line for each finding whose change was not tried because the script has no name for it."""
    for finding in report_findings:
        reason = prescription.overruled.get(finding.rule_id, "")
        if reason.startswith(UNTRIED):
            change = next(iter(finding.plain.values()), finding.action)
            yield f"{finding.type} on {finding.subject} → {change} (untried: {reason.partition(': ')[2]})"


def _finding(told: CausalModel, report: Report, book: RuleBook, config: DictConfig, untried: dict[str, str]) -> Finding:
    fix, reason = _fix(told, book, config)
    if reason:
        untried.setdefault(told.rule, f"{UNTRIED}: {reason}")
    places = () if told.places is None else told.places.shown
    measured = {metric.name: metric.value for metric in report.measurements}
    measured |= {one.name: one.value for one in told.evidence}
    return Finding(
        told.rule,
        told.type,
        told.severity,
        ", ".join(place.layer for place in places) or report.layer,
        told.premise,
        told.implies,
        told.action,
        told.expected_effect,
        told.confidence,
        risk=told.risk,
        evidence=told.evidence,
        fix=fix,
        measured=measured,
        rule_sha256=told.rule_sha256,
        plain={change.framework: change.text for change in told.plain},
        candidates=tuple(Candidate(one.cause, one.check) for one in told.candidates),
        follows=told.follows,
    )


def _fix(told: CausalModel, book: RuleBook, config: DictConfig) -> tuple[Fix | None, str]:
    """The fix in the script's names; None, with the reason where the report claims a cause that has one."""
    if told.candidates or told.follows or told.deferred:
        return None, ""  # it claims no cause, or another finding stands for its change
    rule = book.get(told.rule, None)
    if rule is None or rule.sha256 != told.rule_sha256:
        return None, "the report was made by other rules than this run's"
    if rule.fix is None:
        return None, "no config has a name for this change" if told.plain else ""
    names: Mapping[str, str] = config.training.fixes
    if rule.fix.rows or rule.fix.copy:
        return None, f"{(*rule.fix.rows, *rule.fix.copy)[0]} depends on rows or figures of the run"
    if missing := [path for path in rule.fix.paths if path not in names]:
        return None, f"training.fixes has no name for {', '.join(missing)}"
    values = {}
    for path, value in rule.fix.set.items():
        held = OmegaConf.select(config, names[path])
        new = config.training["values"].get(value, value) if isinstance(value, str) else value
        if not _alike(held, new) or (isinstance(new, str) and new == value):
            return None, f"{names[path]}={held} cannot become {value!r}; training.values may say what that is here"
        values[names[path]] = new
    for path in rule.fix.scale:
        held = OmegaConf.select(config, names[path])
        if isinstance(held, bool) or not isinstance(held, int | float):
            return None, f"{names[path]}={held} is no number to scale"
    return Fix(set=values, scale={names[path]: by for path, by in rule.fix.scale.items()}), ""


def _alike(held: Any, new: Any) -> bool:
    """Whether a parameter that has the one value can have the other: both are switches, numbers or texts."""
    if isinstance(held, bool) or isinstance(new, bool):
        return isinstance(held, bool) and isinstance(new, bool)
    if isinstance(held, int | float):
        return isinstance(new, int | float)
    return type(held) is type(new)


def _changed(told: CausalModel, prescription: Prescription) -> CausalModel:
    overrides: tuple[Override, ...] = prescription.by_rule.get(told.rule, ())
    return replace(
        told, fix=overrides, deferred="" if overrides else prescription.overruled.get(told.rule, told.deferred)
    )
