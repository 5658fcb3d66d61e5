"""Writes a report for a notebook."""

from __future__ import annotations

from html import escape

from flowgrad.report.report import CausalModel, Report


def to_html(report: Report) -> str:
    """Write a fragment of HTML without scripts or styles from elsewhere; every text in it is escaped."""
    rate = "" if report.learning_rate is None else report.learning_rate.verdict.replace("_", " ")
    groups = "".join(
        f"<li>{escape(f'{one.count} {one.kind}: {one.layers} {one.content}')}: {escape(one.status)}</li>"
        for one in report.watched
    )
    unseen = () if report.coverage is None else report.coverage.unseen
    missing = "".join(f"<li><b>{escape(one.name)}</b>: {escape(one.because)}</li>" for one in unseen)
    blind = "" if report.coverage is None else escape(report.coverage.blind)
    return (
        f"<section><h3>{escape(report.layer)}: {escape(report.status)}</h3><p>{blind}</p>"
        f"<p>Learning rate: {escape(rate)}</p><ul>{groups}</ul>"
        f"{''.join(_finding(one) for one in report.findings)}"
        f"<details><summary>Not seen</summary><ul>{missing}</ul></details></section>"
    )


def _finding(finding: CausalModel) -> str:
    places = "" if finding.places is None else ", ".join(place.layer for place in finding.places.shown)
    checks = "".join(f"<li>{escape(one.cause)}: {escape(one.check)}</li>" for one in finding.candidates)
    change = "".join(f"<pre>{escape(one.text)}</pre>" for one in finding.plain)
    return (
        f"<details><summary>[{escape(finding.severity)}] <b>{escape(finding.type)}</b> {escape(places)}</summary>"
        f"<p>{escape(finding.premise)}</p><p>{escape(finding.implies)}</p><ul>{checks}</ul>{change}</details>"
    )
