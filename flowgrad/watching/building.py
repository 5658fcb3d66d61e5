"""Builds the one report of a watched training."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import torch

from flowgrad.errors import ReportError
from flowgrad.report import (
    FINDINGS,
    HEALTHY,
    NOT_OBSERVED,
    WATCH,
    CausalModel,
    Group,
    Metric,
    Report,
    RunIdentity,
    Treated,
    causal_model,
    fix_without_config,
    to_xml,
)
from flowgrad.watching.coverage import Counts, Words, blindness, coverage
from flowgrad.watching.merging import Merged, merged, told_before
from flowgrad.watching.naming import listed
from flowgrad.watching.rate import deferred, verdict
from flowgrad.watching.reading import Reading

MOST_BYTES = 20_000
"""Number of bytes that the XML of a report is brought down to, as far as leaving out details does."""
_FIGURES = {
    "flow": ("lr", "lr_ratio", "median_update_ratio", "dead_units_max", "val_best", "val_rise"),
    "training": ("loss_first", "loss_last", "loss_fall", "loss_to_variance"),
}
"""Figures that are told of the whole, by the kind of tracker."""
_LEVELS = ("info", "low", "medium", "high", "critical")


def build(
    name: str,
    readings: Sequence[Reading],
    counts: Counts,
    *,
    optimizers: Sequence[Any],
    extra: Mapping[str, str],
    blind: str,
    nothing: str,
    words: Words,
    treated: Sequence[Treated] = (),
) -> Report:
    """Build the report.

    Args:
        name: of what is trained.
        readings: of all trackers.
        counts: of steps and of what was logged.
        optimizers: that stepped or were given.
        extra: further things that were not seen, with the reason, by name.
        blind: reason why watching stopped; empty where it did not.
        nothing: reason why no step was seen, where there was none.
        words: advice to the loop.
        treated: changes that findings made while it trained.
    """
    blind = blind or blindness(readings, counts, nothing)
    found = [] if not counts.steps else merged(readings)
    scalars = {one.kind: one.measured.scalars for one in readings if one.kind != "embedding"}
    lr = scalars.get("flow", {}).get("lr", math.nan)
    metrics = [Metric(key, value) for key, value in _metrics(scalars, counts)]
    tables = sum(one.kind == "embedding" for one in readings) + sum(key.startswith("table ") for key in extra)
    report = Report(
        WATCH,
        name,
        _identity(name, counts, optimizers, lr, scalars.get("flow", {}).get("lr_peak", math.nan)),
        tuple(metrics),
        tuple(_models(found)),
        coverage(readings, counts, extra, blind, tables, words),
        tuple(_groups(readings)),
        verdict(found, lr, observed=not blind),
        tuple(treated),
    )
    return _within_bounds(report)


def _identity(name: str, counts: Counts, optimizers: Sequence[Any], lr: float, peak: float) -> RunIdentity:
    kinds = ", ".join(dict.fromkeys(type(one).__name__ for one in optimizers))
    training: dict[str, str | float | int] = {"optimizer": kinds or "unknown"}
    if not math.isnan(lr):
        training["lr"] = lr
        if peak > 1.001 * lr:  # which a schedule lowered, often to 0
            training["lr_peak"] = peak
    training |= {"epochs": counts.epochs, "steps": counts.steps}
    versions = {
        "flowgrad": import_module("flowgrad").__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    return RunIdentity(name, training=training, environment=versions)


def _metrics(scalars: Mapping[str, Mapping[str, float]], counts: Counts) -> Iterator[tuple[str, float]]:
    yield "steps", float(counts.steps)
    for kind, names in _FIGURES.items():
        for name in names:
            value = scalars.get(kind, {}).get(name, math.nan)
            if not math.isnan(value):
                yield name, float(value)


def _models(found: Sequence[Merged]) -> Iterator[CausalModel]:
    put_off = {**told_before(found), **deferred(found)}
    for lead, places, rows in found:
        model = replace(causal_model(lead, fix_without_config(lead)), places=places)
        if model.rows is not None:
            model = replace(model, rows=replace(model.rows, count=rows))
        if lead.type in put_off:
            model = replace(model, fix=(), plain=(), deferred=put_off[lead.type])
        yield model


def _groups(readings: Sequence[Reading]) -> Iterator[Group]:
    alike: dict[tuple[str, int, str], list[Reading]] = {}
    for one in readings:
        if one.kind == "training" or (one.kind == "batches" and not one.measured.step):
            continue  # losses have no parts, and what nobody told is no part of the report
        width = int(one.measured.scalars.get("dim", 0.0)) if one.kind == "embedding" else 0
        alike.setdefault((one.kind, width, _status(one)), []).append(one)
    for (kind, width, status), members in alike.items():
        yield Group(kind, listed([one.name for one in members]), len(members), status, _content(kind, width, members))


def _status(reading: Reading) -> str:
    return FINDINGS if reading.findings else NOT_OBSERVED if reading.blind else HEALTHY


def _content(kind: str, width: int, members: Sequence[Reading]) -> str:
    if kind == "embedding":
        rows = [int(one.measured.scalars.get("rows", 0.0)) for one in members]
        spread = f"{min(rows):,} to {max(rows):,}" if min(rows) != max(rows) else f"{rows[0]:,}"
        return f"{spread} rows, {width} wide"
    if kind == "flow":
        return f"{len(members[0].measured.tables['rows'])} tensors"
    return ""


def _within_bounds(report: Report) -> Report:
    """Leave out details, those of the least severe findings first, until the report is short enough."""
    for level in _LEVELS:
        try:
            if len(to_xml(report)) <= MOST_BYTES:
                return report
        except ReportError:
            return report  # writing it raises, and says what is wrong
        rank = _LEVELS.index(level)
        report = replace(report, findings=tuple(_shortened(one, rank) for one in report.findings))
    return report


def _shortened(finding: CausalModel, rank: int) -> CausalModel:
    if _LEVELS.index(finding.severity) > rank:
        return finding
    rows = None if finding.rows is None else replace(finding.rows, shown=())
    return replace(finding, rows=rows, evidence=(), candidates=finding.candidates[:2], risk="", expected_effect="")
