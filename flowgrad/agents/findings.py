"""The verb `findings`: what a report says, most severe first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, cast

from flowgrad.agents.answers import SCHEMA_VERSION, Blind, Finding, Findings, MadeChange, Rate, Status, Unseen
from flowgrad.agents.plain import plain
from flowgrad.agents.run_files import RunFiles, run_files, shown
from flowgrad.errors import FlowGradError
from flowgrad.report import FINDINGS, HEALTHY, CausalModel, Report
from flowgrad.report.mapping import fields_of
from flowgrad.report.report import RateVerdict
from flowgrad.report.structure import CAUSAL_MODEL, Attributes, Shape
from flowgrad.rules import SEVERITIES
from flowgrad.rules.suggestion import did_you_mean

MOST_FINDINGS = 1_000
MOST_UNSEEN = 20
_RATE = Shape(RateVerdict, "learning_rate")
_CALM = ("no_objection", "not_judged")


def findings(run: str, *, limit: int = 20, least: str = "info", rule: str = "", subject: str = "") -> Findings:
    """Answer what a report says.

    Args:
        run: run folder, or report as XML. Of a folder of several reports, `report.xml` is read.
        limit: number of findings told, the most severe first, of these the ones that know their cause; all are
            counted.
        least: severity from which on findings are told.
        rule: id of a rule, or a type, that alone is told; empty: every.
        subject: name of a subject (the report's, or a place's) that alone is told; empty: every.

    Raises:
        FlowGradError: there is no such run or subject, or its report cannot be read.
    """
    files = run_files(run)
    document, parts = files.read()
    every = [(part, found) for part in parts for found in part.findings]
    known = {part.layer for part in parts} | {name for one in every for name in places_of(*one)}
    if subject and subject not in known:
        raise FlowGradError(f"{run}: no report on {subject!r} in it{did_you_mean(subject, sorted(known))}")
    asked = [
        (part, found)
        for part, found in every
        if SEVERITIES.index(found.severity) >= SEVERITIES.index(least)
        and (not rule or rule in (found.rule, found.type))
        and (not subject or subject in places_of(part, found))
    ]
    # A finding that knows its cause may answer what others of its severity ask; one that follows comes after it.
    asked.sort(key=lambda one: (-SEVERITIES.index(one[1].severity), bool(one[1].follows), bool(one[1].candidates)))
    unseen = [*_unseen(parts)]
    told = [finding_of(part, found) for part, found in asked[: max(0, min(limit, MOST_FINDINGS))]]
    answer: dict[str, Any] = {
        "answer": "findings",
        "schema_version": SCHEMA_VERSION,
        "run": run,
        "report": str(files.report),
        "reports": [str(path) for path in files.reports[1:]],
        **_identity(document or parts[0]),
        "status": status_of(parts),
        "severities": counts(found for _, found in every),
        "total": len(asked),
        "findings": told,
        **_rate(parts),
        **_changed(parts),
        "blind": [*_blind(parts)],
        "unseen": unseen[:MOST_UNSEEN],
        "unjudged": sum(len(one.rule.split()) for part in parts if part.coverage for one in part.coverage.unjudged),
        "next": _next(files, told),
    }
    if len(unseen) > MOST_UNSEEN:
        answer["cut"] = {"unseen": len(unseen)}
    return cast(Findings, answer)


def finding_of(part: Report, found: CausalModel) -> Finding:
    """Make the mapping of a finding, without the rows that it names."""
    content = fields_of(found, CAUSAL_MODEL, float)
    content.get("rows", {}).pop("row", None)
    return cast(Finding, plain({"layer": part.layer, "kind": part.kind, **content}))


def places_of(part: Report, found: CausalModel) -> tuple[str, ...]:
    """Names of the subjects that a finding was made at."""
    further = () if found.places is None else tuple(place.layer for place in found.places.shown)
    return (part.layer, *further)


def counts(found: Iterator[CausalModel]) -> dict[str, int]:
    """Count findings by severity, the most severe first; severities without one are left out."""
    number = Counter(finding.severity for finding in found)
    return {level: number[level] for level in reversed(SEVERITIES) if number[level]}


def status_of(parts: Sequence[Report]) -> Status:
    """Status of several reports: findings where one has some; not observed where each is blind."""
    states = [part.status for part in parts]
    return next((cast(Status, state) for state in (FINDINGS, HEALTHY) if state in states), "NOT_OBSERVED")


def _identity(document: Any) -> dict[str, Any]:
    run = document.run
    if run is None:
        return {}
    told = {"id": run.id, "arm": run.arm, "round": run.round}
    training = plain(fields_of(run, Shape(type(run), "run", (Attributes("training", "training"),)), float))
    facts = training.get("training")
    return plain({name: value for name, value in told.items() if value}) | ({"training": facts} if facts else {})


def _rate(parts: Sequence[Report]) -> dict[str, Rate]:
    """The verdict on the learning rate; of several trainings, the first that says something against one."""
    told = [part.learning_rate for part in parts if part.learning_rate is not None]
    told.sort(key=lambda one: one.verdict in _CALM)
    return {"learning_rate": plain(fields_of(told[0], _RATE, float))} if told else {}


def _changed(parts: Sequence[Report]) -> dict[str, list[MadeChange]]:
    told = [plain(vars(one)) for part in parts for one in part.treated]
    return {"changed": told} if told else {}


def _blind(parts: Sequence[Report]) -> Iterator[Blind]:
    for part in parts:
        if part.coverage is not None and part.coverage.blind:
            yield plain({"layer": part.layer, "kind": part.kind, "because": part.coverage.blind})


def _unseen(parts: Sequence[Report]) -> Iterator[Unseen]:
    for part in parts:
        for one in () if part.coverage is None else part.coverage.unseen:
            yield plain({"layer": part.layer, "name": one.name, "because": one.because})


def _next(files: RunFiles, told: Sequence[Finding]) -> list[str]:
    """Commands that lead on from here."""
    found = [f"flowgrad explain {told[0]['rule']}"] if told else []
    named = next((one for one in told if one.get("rows", {}).get("count")), None)
    if named is not None:
        places = named.get("places", {}).get("place")
        found.append(f"flowgrad rows {shown(files.given)} {shown(places[0]['layer'] if places else named['layer'])}")
    if (files.folder / "significance.csv").is_file():
        found.append(f"flowgrad prove {shown(files.folder)}")
    return found
