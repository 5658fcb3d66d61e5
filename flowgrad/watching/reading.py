"""Reads all trackers of a training at one time, their findings told together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from flowgrad.measurements import Measurements
from flowgrad.rules import Finding
from flowgrad.trackers import joined
from flowgrad.trackers.base import Tracker

SHOWN = 5
"""Number of rows of a table that a finding names."""


class Reading(NamedTuple):
    """One tracker as it was read. The rows of tables are not kept: of all tables together they may be millions."""

    measured: Measurements
    findings: tuple[Finding, ...]
    """Findings, each with the first of the rows that it names."""
    rows: Mapping[str, int]
    """Number of rows that each finding names, by rule."""
    blind: str
    """Reason why no verdict can rest on it; empty where one can."""
    unjudged: Mapping[str, str]
    """Figures that are not known, by the rule that could not be judged for them."""

    @property
    def kind(self) -> str:
        """Kind of subject."""
        return self.measured.kind

    @property
    def name(self) -> str:
        """Name of the watched thing."""
        return self.measured.subject


def read(trackers: Iterable[Tracker]) -> list[Reading]:
    """Read trackers in order; a finding that another tracker's finding explains is marked so."""
    alone = [_read(tracker) for tracker in trackers]
    found = joined([one.findings for one in alone])
    return [one._replace(findings=findings) for one, findings in zip(alone, found, strict=True)]


def _read(tracker: Tracker) -> Reading:
    measured, book = tracker.measurements(), tracker.rule_book
    found = book.evaluate(measured)
    rows = {one.rule_id: len(one.rows) for one in found if one.rows is not None}
    shown = tuple(one if one.rows is None else replace(one, rows=one.rows.head(SHOWN).copy()) for one in found)
    unjudged = book.unjudged(measured)
    if measured.kind == "embedding":
        measured = replace(measured, tables={})
    return Reading(measured, shown, rows, measured.coverage.blind, unjudged)
