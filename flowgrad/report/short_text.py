"""Writes a report so that it is read on one screen: the status, what to do, and what could not be seen."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

from flowgrad.report.codec import clean
from flowgrad.report.report import CausalModel, CoverageReport, PlaceList, RateVerdict, Report, RunReport
from flowgrad.report.text import unjudged_words
from flowgrad.rules.rule import SEVERITIES

LINES = 60
"""Number of lines at most."""
WIDTH = 110
_LABEL = 13
_LISTED, _IN_FULL = 20, 4
"""Number of reports, of several, that have a line each, and that are written in full."""
_NAMES = 4
"""Number of rows whose names are written."""
_VERDICTS = {
    "too_high": "too high",
    "too_low": "too low",
    "badly_scheduled": "badly scheduled",
    "contradictory": "findings contradict each other",
    "open": "open: some findings name it as a candidate",
    "no_objection": "no objection",
    "not_judged": "not judged",
}


def to_short_text(report: Report | RunReport) -> str:
    """Write a report in at most `LINES` lines of about `WIDTH` characters. What there is no room for is counted.

    Each of several reports has a line, and the first of those with the same status and findings is written in full.
    """
    if isinstance(report, RunReport):
        return "\n\n".join(_several(report.reports))
    head = _head(report)
    tail = [*_coverage(report.coverage)] if report.coverage is not None else []
    room = LINES - len(head) - min(len(tail), LINES // 4) - 1
    findings = _findings(report.findings, room)
    left = LINES - len(head) - len(findings) - 1
    if len(tail) > left:
        tail = [*tail[: left - 1], "  ... the XML has the rest"]
    return "\n".join([*head, *findings, *tail])


def _several(reports: Sequence[Report]) -> Iterator[str]:
    alike: dict[tuple[str, ...], list[Report]] = {}
    for one in reports:
        alike.setdefault((one.status, *sorted({finding.type for finding in one.findings})), []).append(one)
    lines = [f"{len(reports)} trainings, one after the other:"]
    for one in reports[:_LISTED]:
        steps = 0 if one.run is None else one.run.training.get("steps", 0)
        kinds = ", ".join(dict.fromkeys(finding.type for finding in one.findings))
        lines.append("  " + _short(f"{one.layer}: steps {steps}, {one.status}{f': {kinds}' if kinds else ''}"))
    if len(reports) > _LISTED:
        lines.append(f"  ... and {len(reports) - _LISTED} more; the XML has them")
    yield "\n".join(lines)
    for first, *others in list(alike.values())[:_IN_FULL]:
        same = [_short(f"Alike: {', '.join(one.layer for one in others)}")] if others else []
        yield "\n".join([to_short_text(first), *same])
    if len(alike) > _IN_FULL:
        yield f"... and {len(alike) - _IN_FULL} more that differ; the XML has them"


def _head(report: Report) -> list[str]:
    counts = Counter(finding.severity for finding in report.findings)
    told = ", ".join(f"{counts[level]} {level}" for level in reversed(SEVERITIES) if counts[level])
    lines = [f"{_line(report.layer)}: {report.status}{f' ({told})' if told else ''}"]
    if report.coverage is not None and report.coverage.blind:  # findings of before it went blind may stand, too
        lines += _labelled("Blind", report.coverage.blind)
    training = {} if report.run is None else report.run.training
    if training:
        lines += _labelled("Run", ", ".join(f"{name} {_value(value)}" for name, value in training.items()))
    for group in report.watched:
        content = f" ({group.content})" if group.content else ""
        lines += _labelled("Watched", f"{group.count} {group.kind}: {group.layers}{content}: {group.status}")
    if report.learning_rate is not None:
        lines += _labelled("Rate", _rate(report.learning_rate))
    for one in report.treated:
        lines += _labelled("Changed", f"{one.kind} at step {one.step:,}: {one.old} → {one.new}, for {one.finding}")
    return lines


def _rate(found: RateVerdict) -> str:
    parts = [_VERDICTS.get(found.verdict, found.verdict)]
    if found.because:
        parts.append(f"by {found.because}" if found.verdict != "not_judged" else found.because)
    if found.change:
        parts.append(f"change: {found.change}")
    return "; ".join(parts)


def _findings(findings: Sequence[CausalModel], room: int) -> list[str]:
    """Write as many findings in full as there is room for, and the rest in a line each, as those that are low, unless
    others follow from them.
    """
    ordered = sorted(findings, key=lambda one: (-SEVERITIES.index(one.severity), bool(one.follows)))
    explaining = {one.follows for one in findings}
    if not ordered:
        return []
    lines: list[str] = []
    for place, finding in enumerate(ordered):
        rest = len(ordered) - place - 1
        whole = _finding(finding)
        low = SEVERITIES.index(finding.severity) <= SEVERITIES.index("low") and finding.type not in explaining
        if low or len(lines) + len(whole) + rest > room:
            whole = whole[:1]
        if len(lines) + len(whole) + (rest > 0) > room:
            return [*lines, f"  ... and {rest + 1} more findings; the XML has them"]
        lines += whole
    return lines


def _finding(finding: CausalModel) -> list[str]:
    follows = f", follows from {finding.follows}" if finding.follows else ""
    head = f"[{finding.severity}] {finding.type}{_places(finding.places)}{follows}"
    return [_short(head), *(line for label, text in _parts(finding) if text for line in _labelled(label, text, most=3))]


def _parts(finding: CausalModel) -> Iterator[tuple[str, str]]:
    yield "Premise", finding.premise
    yield "Where", _names(finding)
    if not finding.candidates and not finding.deferred:
        yield "Implies", finding.implies
    for one in finding.candidates[:3]:
        yield "Check", f"{one.cause}: {one.check}"
    if len(finding.candidates) > 3:
        yield "Check", f"... and {len(finding.candidates) - 3} more candidates"
    if finding.deferred:
        yield "Change", finding.deferred
    elif finding.plain:
        yield "Change", finding.plain[0].text
    elif not finding.candidates:
        yield "Action", finding.action


def _names(finding: CausalModel) -> str:
    """Names of the rows, where rows have names that say what they are: the tensors of a network."""
    rows, places = finding.rows, finding.places
    if rows is None or places is None or not any(place.kind == "flow" for place in places.shown):
        return ""
    names = [str(row.id) for row in rows.shown[:_NAMES]]
    return ", ".join(names) + (f" and {rows.count - len(names)} more" if names and rows.count > len(names) else "")


def _places(places: PlaceList | None) -> str:
    if places is None or not places.shown:
        return ""
    names = ", ".join(dict.fromkeys(place.layer for place in places.shown[:2]))  # two trackers may watch one
    more = f" and {places.count - 2} more" if places.count > 2 else ""
    of = f" (of {places.of})" if places.of > places.count or places.count > 2 < places.of else ""
    return f" at {names}{more}{of}"


def _coverage(coverage: CoverageReport) -> list[str]:
    lines = _labelled("Seen", ", ".join(f"{one.name} {_value(one.value)}" for one in coverage.seen))
    for one in coverage.unseen:
        lines += _labelled("Not seen", f"{one.name}: {one.because}", most=3)
    return lines + _labelled("Not judged", unjudged_words(coverage))


def _labelled(label: str, text: str, most: int = 4) -> list[str]:
    return textwrap.wrap(
        _line(text),
        WIDTH,
        initial_indent=f"  {label}".ljust(_LABEL),
        subsequent_indent=" " * _LABEL,
        break_long_words=False,
        break_on_hyphens=False,
        max_lines=most,
        placeholder=" ...",
    )


def _short(text: str) -> str:
    line = _line(text)
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 4]} ..."


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _line(text: str) -> str:
    """Write one line without characters that act on a terminal."""
    return " ".join("".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in clean(text)).split())
