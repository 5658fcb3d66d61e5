"""Writes one document about one run, from all that watched it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from flowgrad.report import RunIdentity, RunReport
from flowgrad.rules import Finding, settled
from flowgrad.rules.following import by_severity
from flowgrad.subject import as_agent_xml
from flowgrad.trackers.base import Tracker


def run_report(trackers: Iterable[Tracker], run: RunIdentity | None = None) -> RunReport:
    """The reports of several trackers of one run, in the order given: the towers of a model, the course of its loss.

    Their findings are reported together, as `joined` says.

    Example::

        report = run_report([course, users, items], RunIdentity("two_towers", seed=0))

    Args:
        trackers: each is read once.
        run: which training they watched; its id, seed and the like stand at the head of the document.

    Raises:
        ValueError: no tracker, or two of one kind and name: a reader could not distinguish their findings.
    """
    trackers = tuple(trackers)
    if not trackers:
        raise ValueError("no tracker given: a run report holds the report of one at least")
    (kind, name), times = Counter((tracker.KIND, tracker.name) for tracker in trackers).most_common(1)[0]
    if times > 1:
        raise ValueError(f"{times} {kind} trackers are named {name!r}; give each a `name` of its own when it is made")
    measured = [tracker.measurements() for tracker in trackers]
    found = joined([tracker.rule_book.evaluate(seen) for tracker, seen in zip(trackers, measured, strict=True)])
    told = zip(trackers, measured, found, strict=True)
    reports = (tracker.report_of(seen, own) for tracker, seen, own in told)
    return RunReport(tuple(reports), run)


def joined(findings: Iterable[Sequence[Finding]]) -> list[tuple[Finding, ...]]:
    """Join the findings of several trackers of one run, as `Tracker.findings` gives them.

    A finding that another tracker's finding explains is marked so (`Finding.follows`): it stands at `low`, without a
    fix.

    Args:
        findings: those of each tracker.

    Returns:
        The same for each tracker, most severe first.
    """
    each = [tuple(own) for own in findings]
    settling = iter(settled([finding for own in each for finding in own]))
    return [by_severity([next(settling) for _ in own]) for own in each]


def to_agent_xml(trackers: Iterable[Tracker], run: RunIdentity | None = None) -> str:
    """Write `run_report` as a whole XML document (`flowgrad_report`), valid against `flowgrad/report/report.xsd`.

    It is a `str` without an XML declaration, as `Tracker.to_agent_xml` gives for one tracker.

    Raises:
        ValueError: as `run_report`.
        ReportError: for a `run` that cannot be written.
    """
    return as_agent_xml(run_report(trackers, run))
