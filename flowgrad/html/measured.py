"""Makes the table of all figures that were measured, one column a diagnosis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flowgrad.html.figures import Table
from flowgrad.html.findings import number
from flowgrad.report import Report

_MOST = 400
"""Number of figures that are shown."""


def measured_table(diagnoses: Mapping[str, Sequence[Report]]) -> Table | None:
    """One line a figure of a watched thing: its value in each diagnosis, empty where it was not known there."""
    held: dict[tuple[str, str, str], dict[str, float]] = {}
    for name, reports in diagnoses.items():
        for report in reports:
            for metric in report.measurements:
                held.setdefault((report.layer, metric.name, metric.unit), {})[name] = metric.value
    if not held:
        return None
    rows = tuple(
        (*key, *(number(values.get(name)) for name in diagnoses)) for key, values in list(held.items())[:_MOST]
    )
    note = f"{len(held) - _MOST} more stand in the XML" if len(held) > _MOST else ""
    return Table("Figures of each diagnosis", ("watched", "figure", "unit", *diagnoses), rows, note)
