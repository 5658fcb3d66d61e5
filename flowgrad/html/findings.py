"""Makes what a page says of findings, coverage and proofs from reports."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from flowgrad.html.page import Change, Figured, Found, Gap, Proof, Sighting
from flowgrad.measures import VOCABULARY
from flowgrad.report import CausalModel, Report, RowList, Validation
from flowgrad.report.text import ablation_words, earned_words, to_words
from flowgrad.rules.rule import SEVERITIES

MOST_PLACES = 12
"""Number of places of one finding that a page tells; of more the first ones are told, and the rest counted."""
_ROWS = 8
"""Number of rows of a finding that are named."""
_LONGEST = 2_000
"""Number of characters of one text; what is longer is cut, and says so."""


def findings_of(reports: Sequence[Report], acted: Iterable[str] = ()) -> tuple[Found, ...]:
    """Tell each finding once, with the places at which it was made, the most severe first.

    Args:
        reports: of one diagnosis.
        acted: rules that the run acted on.
    """
    rules = set(acted)
    groups: dict[tuple[str, str, str], list[tuple[Report, CausalModel]]] = {}
    for report in reports:
        for finding in report.findings:
            groups.setdefault((finding.type, finding.rule, finding.severity), []).append((report, finding))
    found = [_found(members, members[0][1].rule in rules) for members in groups.values()]
    return tuple(sorted(found, key=lambda one: (-_rank(one.severity), not one.acted)))


def _found(members: Sequence[tuple[Report, CausalModel]], acted: bool) -> Found:
    lead, told = members[0][1], members[:MOST_PLACES]
    more = f" and {len(members) - len(told)} more places" if len(told) < len(members) else ""
    return Found(
        type=_cut(lead.type),
        rule=_cut(lead.rule),
        severity=lead.severity,
        places=_cut(", ".join(_place(report, one) for report, one in told)) + more,
        sightings=tuple(_sighting(report, one) for report, one in told),
        implies=_cut(lead.implies),
        action=_cut(lead.action),
        expected_effect=_cut(f"{lead.expected_effect} {earned_words(lead.fix)}".strip()),
        risk=_cut(lead.risk),
        confidence=to_words(lead.confidence),
        follows=_cut(lead.follows),
        candidates=tuple((_cut(one.cause), _cut(one.check)) for one in lead.candidates),
        changes=_changes(members),
        deferred=_cut(lead.deferred),
        judged=to_words(lead.judged),
        proof=None if lead.validation is None else proof_of(lead.validation),
        acted=acted,
    )


def _place(report: Report, finding: CausalModel) -> str:
    places = finding.places
    if places is None or not places.shown:
        return report.layer
    more = f" and {places.count - len(places.shown)} more" if places.count > len(places.shown) else ""
    return ", ".join(one.layer for one in places.shown) + more


def _sighting(report: Report, finding: CausalModel) -> Sighting:
    kinds = [report.kind] if finding.places is None else [one.kind for one in finding.places.shown]
    known = {one.name: one for kind in reversed(kinds) for one in VOCABULARY.get(kind, ())}
    figures = tuple(
        Figured(
            _cut(one.name),
            number(one.value),
            number(one.threshold),
            known[one.name].unit if one.name in known else "",
            known[one.name].description if one.name in known else "",
        )
        for one in finding.evidence
    )
    rows: RowList | None = finding.rows
    if rows is None:
        return Sighting(_cut(_place(report, finding)), _cut(finding.premise), figures)
    shown = tuple(_cut(str(row.id)) for row in rows.shown[:_ROWS])
    return Sighting(_cut(_place(report, finding)), _cut(finding.premise), figures, rows.count, shown, rows.table)


def _changes(members: Sequence[tuple[Report, CausalModel]]) -> tuple[Change, ...]:
    """The fix of all places: overrides in one piece, else each wording for a library."""
    overrides = list(dict.fromkeys(change for _, one in members for change in one.fix))
    given = [one for one in overrides if one.value]
    found = []
    kept = [one for one in given if one.ablation is None or not one.ablation.dropped] or given
    if given:
        was = ", ".join(f"{one.path} was {one.was}" for one in kept if one.was)
        notes = [was] if was else []
        notes += [f"{one.path}: {told}" for one in given if (told := ablation_words(one.ablation))]
        found.append(Change(_cut(" ".join(f"{one.path}={one.value}" for one in kept)), _cut("; ".join(notes))))
    for one in overrides:
        if not one.value:
            factor = "its new value is not known" if one.scale is None else f"times {one.scale:.6g}"
            found.append(Change(_cut(one.path), factor))
    plain = dict.fromkeys(change for _, one in members for change in one.plain)
    found += [Change(_cut(one.text), _cut(one.framework) if one.framework != "any" else "") for one in plain]
    return tuple(found)


def proof_of(one: Validation, higher_is_better: bool | None = None) -> Proof:
    """Make the proof of a validation."""
    return Proof(
        verdict=one.verdict,
        metric=one.metric,
        before=number(one.baseline),
        after=number(one.treated),
        difference=number(one.difference),
        low=number(one.ci_low),
        high=number(one.ci_high),
        level=1 - (one.alpha or 0.05) * (1 if one.margin is None else 2),
        p=number(one.p_adjusted),
        n=one.n,
        unit=one.unit,
        test=one.test,
        higher_is_better=higher_is_better,
        reason=_cut(one.reason),
    )


def gaps_of(reports: Sequence[Report]) -> tuple[Gap, ...]:
    """Tell what each tracker could not see or judge; those that say nothing of it are told as such."""
    found = []
    for report in reports:
        held = report.coverage
        if held is None:
            found.append(Gap(report.layer, report.status, "nothing is known of what was seen", (), (), (), ()))
            continue
        found.append(
            Gap(
                _cut(report.layer),
                report.status,
                _cut(held.blind),
                tuple((one.name, one.value) for one in held.seen),
                tuple((_cut(one.name), _cut(one.because)) for one in held.unseen),
                tuple((_cut(one.rule), _cut(one.because)) for one in held.unjudged),
                tuple(held.unknown.split()),
            )
        )
    return tuple(found)


def number(value: float | None) -> float | None:
    """The number; None where it is not known. An infinity is a number: a loss that diverged."""
    return None if value is None or math.isnan(value) else float(value)


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else -1


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} … ({len(text) - _LONGEST} characters more)"
