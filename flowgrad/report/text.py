"""Writes a report as plain text for people; agents read the XML."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from flowgrad.evidence.confidence import NEAR, Confidence
from flowgrad.report.codec import clean
from flowgrad.report.report import (
    NOT_OBSERVED,
    CausalModel,
    CoverageReport,
    Evaluation,
    Metric,
    Override,
    OverrideAblation,
    PlainChange,
    Report,
    RowList,
    RunIdentity,
    RunReport,
    Validation,
)
from flowgrad.rules.rule import SEVERITIES

WIDTH = 100
IDS_SHOWN = 5
UNJUDGED_NAMED = 3

_LABEL = 18


def to_text(report: Report | RunReport) -> str:
    """Write the findings, worst first (severity, then confidence), then the measurements. Lines have about 100
    characters.

    Figures are rounded to six digits. Control characters are replaced, so that a report
    from elsewhere cannot steer a terminal.
    """
    if isinstance(report, Report):
        return _report(report)
    parts = [_report(part) for part in report.reports]
    return "\n".join([*([_run(report.run) + "\n"] if report.run else []), *parts])


def _report(report: Report) -> str:
    lines = [f"{_line(report.kind).capitalize()} report: {_line(report.layer)}"]
    if report.run:
        lines.append(_run(report.run))
    lines.append("")
    for finding in sorted(report.findings, key=_badness):
        lines += [*_finding(finding), ""]
    if report.status == NOT_OBSERVED:
        lines += ["Not observed: no verdict can rest on what was seen.", ""]
    elif report.healthy:
        lines += ["No findings.", ""]
    if report.coverage is not None:
        lines += [*_coverage(report.coverage), ""]
    if report.measurements:
        lines += ["Measurements", *_measurements(report.measurements), ""]
    return "\n".join(lines)


def _coverage(coverage: CoverageReport) -> list[str]:
    """Lines on the evidence that the report rests on, and on figures that are not known."""
    parts = [
        ("Blind", coverage.blind),
        ("Seen", ", ".join(f"{one.name} {_figure(one.value)}" for one in coverage.seen)),
        *(("Not seen", f"{one.name}: {one.because}") for one in coverage.unseen),
        ("Not judged", unjudged_words(coverage, named=UNJUDGED_NAMED)),
    ]
    lines = [line for label, text in parts if text for line in _labelled(label, text)]
    return ["Coverage", *(lines or ["  nothing is known of what was seen"])]


def unjudged_words(coverage: CoverageReport, named: int = 0) -> str:
    """Tell which rules could not be judged, each with its reason where there are up to `named`, else how many they are;
    empty where all were judged.
    """
    rules = sum(len(one.rule.split()) for one in coverage.unjudged)  # a run report lists those of one reason together
    if rules <= named:
        return "; ".join(f"{one.rule} ({one.because})" for one in coverage.unjudged)
    return f"{rules} rule{'' if rules == 1 else 's'}, for figures that are not known; the XML names them"


def _run(run: RunIdentity) -> str:
    parts = [
        f"Run {_line(run.id)}",
        f"arm {_line(run.arm)}" if run.arm else "",
        f"round {run.round}" if run.round else "",
        f"seed {run.seed}" if run.seed is not None else "",
    ]
    return ", ".join(part for part in parts if part)


def _badness(finding: CausalModel) -> tuple[int, float]:
    rank = SEVERITIES.index(finding.severity) if finding.severity in SEVERITIES else -1
    return -rank, -finding.confidence.value


def _finding(finding: CausalModel) -> list[str]:
    parts = [
        ("Premise", finding.premise),
        ("Follows from", finding.follows),
        ("Implies", finding.implies),
        ("Action", finding.action),
        ("Expected effect", f"{finding.expected_effect} {earned_words(finding.fix)}".strip()),
        ("Risk", finding.risk),
        ("Confidence", _confidence(finding.confidence)),
        *((f"Candidate {n}", f"{one.cause}: {one.check}") for n, one in enumerate(finding.candidates, start=1)),
        *(("Fix", _override(override)) for override in finding.fix),
        *(("Change", _plain(change, len(finding.plain))) for change in finding.plain),
        ("Judged by", _evaluation(finding.judged)),
        ("Deferred", finding.deferred),
        ("Rows", _rows(finding.rows)),
        ("Validation", _validation(finding.validation)),
    ]
    head = f"[{_line(finding.severity)}] {_line(finding.type)} (rule {_line(finding.rule)})"
    return [head, *(line for label, text in parts if text for line in _labelled(label, text))]


def _labelled(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        _line(text),
        WIDTH,
        initial_indent=f"  {label}".ljust(_LABEL) + " ",
        subsequent_indent=" " * (_LABEL + 1),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _confidence(confidence: Confidence) -> str:
    interval = f"95% interval {confidence.low:.2f} to {confidence.high:.2f}"
    if confidence.basis == "prior":
        if confidence.value == 0.5:
            return f"{confidence.value:.2f} (prior: no validated run behind it)"
        return f"{confidence.value:.2f} (prior: by fixes of other rules, no validated run of its own, {interval})"
    basis = f"{confidence.basis}: {confidence.confirmed} of {confidence.trials} confirmed"
    if confidence.refuted:
        basis += f", {confidence.refuted} refuted"
    tried = [told for told in (confidence.tried_on, NEAR.get(confidence.near)) if told]
    return f"{confidence.value:.2f} ({'; '.join([f'{basis}, {interval}', *tried])})"


def _plain(change: PlainChange, of: int) -> str:
    """Write a change in plain words; the library is named where there are several."""
    return f"{change.framework}: {change.text}" if of > 1 else change.text


def to_words(told: Confidence | Evaluation | None) -> str:
    """Write a confidence with what it rests on, or the evaluation that was judged; empty where there is none."""
    return _confidence(told) if isinstance(told, Confidence) else _evaluation(told)


def _evaluation(judged: Evaluation | None) -> str:
    if judged is None:
        return ""
    told = [judged.metric, f"{judged.direction} is better" if judged.direction != "unknown" else "of unknown direction"]
    return ", ".join([*told, *([f"on {judged.on}"] if judged.on else []), *([judged.model] if judged.model else [])])


def _override(override: Override) -> str:
    told = ablation_words(override.ablation)
    return f"{_change(override)}{f'; {told}' if told else ''}"


def ablation_words(found: OverrideAblation | None) -> str:
    """Tell what an override is worth: whether it was kept, and what is lost without it; empty where it was not left
    out.
    """
    if found is None:
        return ""
    if found.share is None or math.isnan(found.share):
        return f"{found.outcome}: {found.because}" if found.because else found.outcome
    if math.isinf(found.share):
        return f"{found.outcome}: without it {found.metric} is not finite on every seed"
    interval = (
        ""
        if found.share_low is None or found.share_high is None or math.isnan(found.share_low)
        else (f" [{found.share_low:.1%}, {found.share_high:.1%}]")
    )
    same = found.ci_low is not None and found.ci_high is not None and found.ci_low <= 0 <= found.ci_high
    error = "is the same by the paired test" if same else f"is {'worse' if (found.loss or 0) > 0 else 'better'}"
    return (
        f"{found.outcome}: without it validation {found.metric} {error}, {found.share:.1%}{interval} of the gain is "
        f"lost ({found.n} seeds)"
    )


def earned_words(fix: Sequence[Override]) -> str:
    """Tell how often the overrides of a fix earned their place in validated runs; empty where none was left out."""
    tried = [f"{one.path} in {one.earned} of {one.tried} runs" for one in fix if one.tried]
    return f"Earned its place: {', '.join(tried)}." if tried else ""


def _change(override: Override) -> str:
    if override.value:
        change = f"{override.was} -> {override.value}" if override.was else f"-> {override.value}"
    else:
        change = "value not known" if override.scale is None else f"times {_figure(override.scale)}"
    return f"{override.path}: {change}"


def _rows(rows: RowList | None) -> str:
    if rows is None:
        return ""
    ids = ", ".join(str(row.id) for row in rows.shown[:IDS_SHOWN])
    more = ", ..." if ids and rows.count > IDS_SHOWN else ""
    return f"{rows.count}{': ' if ids else ''}{ids}{more}{f' (all in {rows.table})' if rows.table else ''}"


def _validation(validation: Validation | None) -> str:
    if validation is None:
        return ""
    v = validation
    if v.reason:
        return f"{v.verdict}, not tested: {_line(v.reason)}"
    level = 1 - (v.alpha or 0.05) * (1 if v.margin is None else 2)
    against = "" if v.margin is None else f" against a margin of {v.margin:.3g} of the baseline"
    return (
        f"{v.verdict}: {v.metric} {_figure(v.baseline)} -> {_figure(v.treated)} on {v.n} pairs ({v.unit}), "
        f"difference {_figure(v.difference)}, {level:.0%} interval {_figure(v.ci_low)} to {_figure(v.ci_high)}, "
        f"{v.test}{against} p = {v.p:.2g}, adjusted {v.p_adjusted:.2g} for {v.family}"
    )


def _measurements(metrics: tuple[Metric, ...]) -> list[str]:
    names, values = [_line(metric.name) for metric in metrics], [_figure(metric.value) for metric in metrics]
    wide, broad = max(map(len, names)), max(map(len, values))
    return [
        f"  {name:<{wide}}  {value:>{broad}}  {_line(metric.unit)}".rstrip()
        for name, value, metric in zip(names, values, metrics, strict=True)
    ]


def _figure(value: float) -> str:
    return f"{value:.6g}"


def _line(text: str) -> str:
    """Write one line without characters that act on a terminal."""
    return " ".join("".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in clean(text)).split())
