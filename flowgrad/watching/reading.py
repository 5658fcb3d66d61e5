"""Reads all trackers of a training at one time, their findings told together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from flowgrad.measurements import Measurements
from flowgrad.rules import Finding
from flowgrad.trackers import joined
from flowgrad.trackers.base import Tracker


class Reading(NamedTuple):
    """One tracker as it was read."""

    measured: Measurements
    findings: tuple[Finding, ...]
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
    trackers = tuple(trackers)
    measured = [tracker.measurements() for tracker in trackers]
    found = joined([tracker.rule_book.evaluate(seen) for tracker, seen in zip(trackers, measured, strict=True)])
    return [
        Reading(seen, own, seen.coverage.blind, tracker.rule_book.unjudged(seen))
        for tracker, seen, own in zip(trackers, measured, found, strict=True)
    ]
