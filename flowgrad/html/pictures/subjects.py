"""Pictures of each watched thing, from the tables that a run left of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from flowgrad.errors import RuleError
from flowgrad.html.figures import Figure, Region
from flowgrad.html.folder import Folder
from flowgrad.html.pictures.rows import COLUMNS, row_pictures
from flowgrad.measures import VOCABULARY
from flowgrad.rules.condition import Condition

MOST_SUBJECTS = 4
"""Number of tables that are drawn."""


def subject_pictures(folder: Folder) -> list[Figure]:
    """Draw the rows of each embedding table, before and after."""
    return [*_tables(folder)]


def _tables(folder: Folder) -> Iterator[Figure]:
    region = None
    names = folder.names("points_*.csv")
    for place, name in enumerate(names[: 2 * MOST_SUBJECTS]):
        points = folder.table(name, (), COLUMNS[1:])
        if points is None:
            continue
        region = _region(folder) if not place else region
        subject, after = re.fullmatch(r"points_(.*?)(_treated)?\.csv", name).groups()  # type: ignore[union-attr]
        rows = f"rows_{subject}{after or ''}.csv"
        told = folder.table(rows, ("rule", "row"))
        named: dict[str, set[str]] = {}
        if told is not None:
            named = {str(rule): set(part["row"].astype(str)) for rule, part in told.groupby("rule", sort=False)}
        title = f"{subject}, {'after all changes' if after else 'before'}"
        files = (name, rows) if told is not None else (name,)
        yield from row_pictures(points, named, title, region, files)


def _region(folder: Folder) -> Region | None:
    """Region that the rule on circling rows names, where the config holds the rule."""
    rules = folder.mapping("config.yaml").get("rules")
    rule: Any = rules.get("zombie_rows") if isinstance(rules, dict) else None
    text = rule.get("rows") if isinstance(rule, dict) else None
    if not isinstance(text, str):
        return None
    try:
        bounds = Condition.parse(text, [one.name for one in VOCABULARY["embedding"]]).thresholds()
    except RuleError:
        return None
    coherence, jitter = bounds.get("coherence"), bounds.get("jitter")
    if coherence is None or jitter is None:
        return None
    label = f"zombie region: coherence below {coherence:g}, jitter above {jitter:g}"
    return Region(label, x_high=coherence, y_low=jitter)
