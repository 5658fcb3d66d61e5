"""Pictures of each watched thing, from the tables that a run left of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from flowgrad.html.figures import Figure, Region
from flowgrad.html.folder import Folder
from flowgrad.html.pictures import boosters, layers, teachers
from flowgrad.html.pictures.rows import COLUMNS, circling_ranges, row_pictures, zombie_region
from flowgrad.report import Report

Table = tuple[str, Any]
"""A table with the name of its file."""
_AFTER = "_treated"
_MOST_FILES = 8
"""Number of files of a kind that are drawn."""


def subject_pictures(folder: Folder, diagnoses: Sequence[Sequence[Report]]) -> list[Figure]:
    """Draw the rows of each embedding table, the layers of each network, the rounds of each booster and the map of each
    student, before and after.

    Args:
        folder: of the run.
        diagnoses: reports of each diagnosis, in their order.
    """
    figures: list[Figure] = []
    figures += folder.drawn("points_*.csv", partial(_rows, folder))
    figures += folder.drawn("layers_*.csv", partial(_layers, folder))
    for name in folder.names("teacher_*.csv")[:_MOST_FILES]:
        figures += folder.drawn(name, partial(_teacher, folder, name))
    for after, reports in (("", diagnoses[:1]), (_AFTER, diagnoses[-1:])):
        figures += folder.drawn("booster_*.csv", partial(_booster, folder, after, reports))
    return figures


def _tables(folder: Folder, kind: str, columns: tuple[str, ...], numbers: tuple[str, ...]) -> dict[str, list[Table]]:
    """Tables of a kind, by the subject that they are of: of before and of after."""
    found: dict[str, list[Table]] = {}
    for name in folder.names(f"{kind}_*.csv")[:_MOST_FILES]:
        table = folder.table(name, columns, numbers)
        if table is not None:
            found.setdefault(_subject(name)[0], []).append((name, table))
    return found


def _rows(folder: Folder) -> list[Figure]:
    """Pictures of each table of embeddings, those of before and of after on the same scale."""
    tables = _tables(folder, "points", (), COLUMNS[1:])
    region = _region(folder) if tables else None
    figures: list[Figure] = []
    for members in tables.values():
        ranges = circling_ranges([table for _, table in members])
        for name, points in members:
            subject, after, title = _subject(name)
            rows = f"rows_{subject}{after}.csv"
            told = folder.table(rows, ("rule", "row"))
            parts = () if told is None else told.groupby("rule", sort=False)
            named = {str(rule): set(part["row"].astype(str)) for rule, part in parts}
            files = (name,) if told is None else (name, rows)
            figures += row_pictures(points, named, title, region, files, ranges)
    return figures


def _layers(folder: Folder) -> list[Figure]:
    figures: list[Figure] = []
    for members in _tables(folder, "layers", layers.COLUMNS, layers.NUMBERS).values():
        ranges = layers.common_ranges([table for _, table in members])
        for name, table in members:
            figures += layers.layer_pictures(table, _subject(name)[2], (name,), ranges)
    return figures


def _teacher(folder: Folder, name: str) -> list[Figure | None]:
    table = folder.table(name, teachers.COLUMNS, ["cka"])
    return [] if table is None else [teachers.teacher_picture(table, _subject(name)[2], (name,))]


def _booster(folder: Folder, after: str, diagnoses: Sequence[Sequence[Report]]) -> list[Figure | None]:
    title = f"booster, {'after all changes' if after else 'before'}"
    curves, gain = f"booster_curves{after}.csv", f"booster_gain{after}.csv"
    boosted = [part for one in diagnoses for part in one if part.kind == "boosting"]
    kept = next((m.value for part in boosted for m in part.measurements if m.name == "kept_round"), 0.0)
    told, gained = (
        folder.table(curves, boosters.CURVES, ("round", "value")),
        folder.table(gain, boosters.GAIN, ("round", "gain")),
    )
    drawn: list[Figure | None] = []
    if told is not None:
        files = (curves, f"report{after}.xml")
        drawn.append(boosters.evaluation_picture(told, int(kept) if kept > 0 else None, title, files))
    if gained is not None:
        drawn.append(boosters.gain_picture(gained, title, (gain,)))
    return drawn


def _subject(name: str) -> tuple[str, str, str]:
    """The subject of a table, what its file's name has after it, and both in words: `points_item_emb_treated.csv`."""
    stem = name.removesuffix(".csv").partition("_")[2]
    subject = stem.removesuffix(_AFTER)
    after = stem[len(subject) :]
    return subject, after, f"{subject}, {'after all changes' if after else 'before'}"


def _region(folder: Folder) -> Region | None:
    """Region that the rule on circling rows names, where the config holds the rule."""
    rules = folder.mapping("config.yaml").get("rules")
    rule: Any = rules.get("zombie_rows") if isinstance(rules, dict) else None
    text = rule.get("rows") if isinstance(rule, dict) else None
    return zombie_region(text) if isinstance(text, str) else None
