"""Makes the page of a report alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flowgrad.html.figures import Figure, Table
from flowgrad.html.findings import findings_of, gaps_of
from flowgrad.html.measured import measured_table
from flowgrad.html.of_run import facts_of
from flowgrad.html.page import Page, Section, Step
from flowgrad.html.verdicts import of_findings, of_proof
from flowgrad.report import Report, RunReport


def report_page(report: Report | RunReport, figures: Sequence[Figure] = ()) -> Page:
    """Make the page of a report, with pictures where there are any."""
    reports = report.reports if isinstance(report, RunReport) else (report,)
    findings = findings_of(reports)
    proof = next((one.proof for one in findings if one.proof is not None), None)
    change = next((one.changes[0] for one in findings if one.proof is not None and one.changes), None)
    verdict = of_findings(findings, reports) if proof is None else of_proof(proof, change, None)
    sections = [Section("What was seen", "", tuple(figures))] if figures else []
    tables = tuple(_tables(reports))
    if tables:
        sections.append(Section("Measurements", "", (), tables))
    identity = report.run if report.run is not None else reports[0].run if reports else None
    name = (
        identity.id if isinstance(report, RunReport) and identity is not None else reports[0].layer if reports else ""
    )
    first = findings[0] if findings else None
    steps = () if first is None else (
        Step(
            "Diagnosis",
            (f"{first.type} on {first.places}",),
            first.sightings[0].premise,
            len(findings) - 1,
            first.changes[0] if first.changes else None,
            "",
        ),
    )  # fmt: skip
    return Page(
        title=name,
        kind="report",
        verdict=verdict,
        steps=steps,
        findings=findings,
        gaps=gaps_of(reports),
        sections=tuple(sections),
        facts=tuple(facts_of(identity)),
    )


def _tables(reports: Sequence[Report]) -> Iterator[Table]:
    for report in reports:
        if report.watched:
            rows = tuple((one.kind, one.layers, one.count, one.content, one.status) for one in report.watched)
            yield Table("What was watched", ("kind", "names", "count", "content", "status"), rows)
        rate = report.learning_rate
        if rate is not None:
            row = (rate.verdict.replace("_", " "), rate.lr, rate.because, rate.change)
            yield Table("Learning rate", ("verdict", "rate now", "because", "change"), (row,))
        if report.treated:
            changes = tuple((one.step, one.kind, one.where, one.old, one.new, one.finding) for one in report.treated)
            yield Table("Changed while it trained", ("step", "what", "where", "from", "to", "finding"), changes)
    measured = measured_table({"value": reports})
    if measured is not None:
        yield measured
