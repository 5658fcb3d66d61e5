"""Pictures of each watched thing, from the tables that a run left of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from flowgrad.html.figures import Figure, Region
from flowgrad.html.folder import Folder
from flowgrad.html.pictures import boosters, layers, teachers
from flowgrad.html.pictures.rows import COLUMNS, row_pictures, zombie_region
from flowgrad.report import Report

_AFTER = "_treated"
MOST_SUBJECTS = 4
"""Number of tables that are drawn."""


def subject_pictures(folder: Folder, diagnoses: Sequence[Sequence[Report]]) -> list[Figure]:
    """Draw the rows of each embedding table, the layers of each network, the rounds of each booster and the map of each
    student, before and after.

    Args:
        folder: of the run.
        diagnoses: reports of each diagnosis, in their order.
    """
    return [*_tables(folder), *_layers(folder), *_teachers(folder), *_boosters(folder, diagnoses)]


def _tables(folder: Folder) -> Iterator[Figure]:
    region = None
    names = folder.names("points_*.csv")
    for place, name in enumerate(names[: 2 * MOST_SUBJECTS]):
        points = folder.table(name, (), COLUMNS[1:])
        if points is None:
            continue
        region = _region(folder) if not place else region
        subject, after, title = _subject(name)
        rows = f"rows_{subject}{after}.csv"
        told = folder.table(rows, ("rule", "row"))
        named: dict[str, set[str]] = {}
        if told is not None:
            named = {str(rule): set(part["row"].astype(str)) for rule, part in told.groupby("rule", sort=False)}
        files = (name, rows) if told is not None else (name,)
        yield from row_pictures(points, named, title, region, files)


def _layers(folder: Folder) -> Iterator[Figure]:
    names = folder.names("layers_*.csv")[: 2 * MOST_SUBJECTS]
    read = {name: folder.table(name, layers.COLUMNS, layers.NUMBERS) for name in names}
    held = {name: table for name, table in read.items() if table is not None}
    ranges = {
        subject: layers.common_ranges([table for name, table in held.items() if _subject(name)[0] == subject])
        for subject in {_subject(name)[0] for name in held}
    }
    for name, table in held.items():
        subject, _, title = _subject(name)
        yield from layers.layer_pictures(table, title, (name,), ranges[subject])


def _teachers(folder: Folder) -> Iterator[Figure]:
    for name in folder.names("teacher_*.csv")[: 2 * MOST_SUBJECTS]:
        table = folder.table(name, teachers.COLUMNS, ["cka"])
        drawn = None if table is None else teachers.teacher_picture(table, _subject(name)[2], (name,))
        if drawn is not None:
            yield drawn


def _boosters(folder: Folder, diagnoses: Sequence[Sequence[Report]]) -> Iterator[Figure]:
    for after, reports in (("", diagnoses[:1]), (_AFTER, diagnoses[-1:])):
        title = f"booster, {'after all changes' if after else 'before'}"
        curves, gain = f"booster_curves{after}.csv", f"booster_gain{after}.csv"
        table = folder.table(curves, boosters.CURVES, ("round", "value"))
        known = {
            m.name: m.value for one in reports for part in one for m in part.measurements if part.kind == "boosting"
        }
        kept = int(known["kept_round"]) if known.get("kept_round", 0) > 0 else None
        drawn = (
            None if table is None else boosters.evaluation_picture(table, kept, title, (curves, f"report{after}.xml"))
        )
        if drawn is not None:
            yield drawn
        gained = folder.table(gain, boosters.GAIN, ("round", "gain"))
        shown = None if gained is None else boosters.gain_picture(gained, title, (gain,))
        if shown is not None:
            yield shown


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
