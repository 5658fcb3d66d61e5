"""Makes the page of a watched training, with its pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flowgrad.files import write_atomically
from flowgrad.html import Figure, report_page, to_html, to_json
from flowgrad.html.extracts import layer_history, row_points
from flowgrad.html.pictures.curves import loss_curve
from flowgrad.html.pictures.layers import layer_pictures
from flowgrad.html.pictures.rows import row_pictures, zombie_region

if TYPE_CHECKING:
    from flowgrad.trackers import EmbeddingTracker
    from flowgrad.watching.watched_run import Watch

MOST_TABLES = 4
"""Number of tables that are drawn, those with findings first."""


def write_pages(watch: Watch, path: str | Path, twin: str | Path | None) -> None:
    """Write the page of a watched training, and its twin in JSON where a path is given; see `Watch.to_html`."""
    page = report_page(watch.to_report(), pictures_of(watch))
    write_atomically(path, to_html(page))
    if twin is not None:
        write_atomically(twin, to_json(page))


def pictures_of(watch: Watch) -> list[Figure]:
    """Draw the layers of the network over time, and the rows of tables with findings, or of the first ones."""
    figures: list[Figure] = []
    if watch.network is not None:
        losses = loss_curve(watch.network.loss_curve(), watch.name, ())
        figures += [] if losses is None else [losses]
        layers = layer_history(watch.network)
        figures += [] if layers is None else layer_pictures(layers, watch.name, ())
    tables = sorted(watch.tables.values(), key=lambda one: -len(one.findings()))
    for tracker in tables[:MOST_TABLES]:
        figures += _rows(tracker)
    return figures


def _rows(tracker: EmbeddingTracker) -> Iterator[Figure]:
    points = row_points(tracker.measurements())
    if points is None:
        return
    named = {one.rule_id: set(map(str, one.rows.index)) for one in tracker.findings() if one.rows is not None}
    rule = tracker.rule_book.get("zombie_rows")
    region = zombie_region(rule.rows.text) if rule is not None and rule.rows is not None else None
    yield from row_pictures(points, named, tracker.name, region, ())
