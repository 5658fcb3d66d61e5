"""Tells each finding once, with all the places where it was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from flowgrad.report import Place, PlaceList
from flowgrad.rules import SEVERITIES, Finding
from flowgrad.watching.reading import Reading

SHOWN = 8
"""Number of places that are named."""


class Merged(NamedTuple):
    """A finding of one type, at one place or more."""

    lead: Finding
    """The finding at the place that bears it out best."""
    places: PlaceList
    rows: int
    """Number of rows that it names at that place."""


def merged(readings: Sequence[Reading]) -> list[Merged]:
    """Put findings of one type together, most severe first.

    Args:
        readings: of all trackers of the run.
    """
    watched = Counter(reading.kind for reading in readings)
    by_type: dict[str, list[tuple[Finding, Reading]]] = {}
    for reading in readings:
        for finding in reading.findings:
            by_type.setdefault(finding.type, []).append((finding, reading))
    found = [_merged(group, watched) for group in by_type.values()]
    return sorted(found, key=lambda one: -SEVERITIES.index(one.lead.severity))


def told_before(found: Sequence[Merged]) -> dict[str, str]:
    """Reason why the change of a finding is not told with it, by its type: a finding before asks for the same."""
    first: dict[str, str] = {}
    repeated = {}
    for lead, *_ in found:
        if lead.candidates or lead.follows:
            continue
        if lead.action in first:
            repeated[lead.type] = f"the same change is told with {first[lead.action]}"
        first.setdefault(lead.action, lead.type)
    return repeated


def _merged(group: Sequence[tuple[Finding, Reading]], watched: Counter[str]) -> Merged:
    ordered = sorted(group, key=lambda one: _weight(*one), reverse=True)
    lead, first = ordered[0]
    subjects: dict[tuple[str, str], Place] = {}
    for finding, reading in ordered:
        rule = "" if finding.rule_id == lead.rule_id else finding.rule_id
        subjects.setdefault((reading.kind, finding.subject), Place(finding.subject, reading.kind, rule))
    kinds = {own for own, _ in subjects}
    of = watched[first.kind] if len(kinds) == 1 else 0
    places = PlaceList(len(subjects), of, tuple(subjects.values())[:SHOWN])
    return Merged(lead, places, first.rows.get(lead.rule_id, 0))


def _weight(finding: Finding, reading: Reading) -> tuple[int, bool, bool, float, int]:
    """Weight by which the finding that leads is chosen: severe, of a known cause, standing by itself."""
    rows = reading.rows.get(finding.rule_id, 0)
    rank = SEVERITIES.index(finding.severity)
    return rank, not finding.candidates, not finding.follows, finding.confidence.value, rows
