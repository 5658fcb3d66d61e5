"""Rows of an embedding table: how often each is looked up, and whether it circles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from flowgrad.errors import RuleError
from flowgrad.html.figures import Cloud, Figure, Region, Scatter, thinned
from flowgrad.measures import VOCABULARY
from flowgrad.rules.condition import Condition

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("row", "rank", "exposures")
_SEEN = {"coherence", "jitter"}
_REST = "rows that no finding names"
_MOST_RANKS = 150
"""Number of rows of the picture of exposures, which is a line but for its ends."""
_MOST_ROWS = 500
"""Number of rows of the picture of rows that circle."""
_MOST_RULES = 4
"""Number of rules whose rows have a colour of their own."""


def row_pictures(
    points: pd.DataFrame,
    named: Mapping[str, set[str]],
    subject: str,
    region: Region | None,
    files: tuple[str, ...],
    ranges: Ranges = (None, None),
) -> list[Figure]:
    """Draw exposures by rank, and coherence against jitter where both are known.

    Args:
        points: rows at even ranks of exposure, with `rank`, `exposures`, and where they are known `coherence` and
            `jitter`.
        named: rule -> the rows that it names.
        subject: name of the table.
        region: region of rows that circle.
        files: that the figures are in.
        ranges: of coherence and jitter; None: those of the points.
    """
    return [
        one
        for one in (_exposures(points, named, subject, files), _circling(points, named, subject, region, files, ranges))
        if one is not None
    ]


Ranges = tuple[tuple[float, float] | None, tuple[float, float] | None]
"""Ranges of coherence and of jitter."""


def circling_ranges(tables: Sequence[pd.DataFrame]) -> Ranges:
    """Ranges of all tables together, so that pictures of before and after can be compared."""
    known = [one[one["coherence"].notna() & (one["jitter"] > 0)] for one in tables if set(one.columns) >= _SEEN]
    values = [[float(v) for one in known for v in one[name]] for name in ("coherence", "jitter")]
    coherence, jitter = ((min(of), max(of)) if of else None for of in values)
    return coherence, jitter


def zombie_region(condition: str) -> Region | None:
    """The part of the plane in which rows circle, by the coherence that the rule asks for; its label has all of it.

    Args:
        condition: which rows the rule names.
    """
    try:
        bound = Condition.parse(condition, [one.name for one in VOCABULARY["embedding"]]).thresholds().get("coherence")
    except RuleError:
        return None
    return None if bound is None else Region(f"zombie region: {condition}", x_high=bound)


def _exposures(
    points: pd.DataFrame, named: Mapping[str, set[str]], subject: str, files: tuple[str, ...]
) -> Scatter | None:
    known = points[points["exposures"] > 0]
    if not len(known):
        return None
    # Ranks are drawn on a logarithmic axis, and chosen evenly on it.
    known = known.iloc[np.unique(np.geomspace(1, len(known), _MOST_RANKS).round().astype(int)) - 1]
    total, never = int(points["rank"].max()), bool((points["exposures"] == 0).any())
    text = (
        f"Lookups of each row of {subject}, the most frequent first: from {known['exposures'].max():,.0f} to "
        f"{known['exposures'].min():,.0f}; {len(known):,} of {total:,} rows are drawn"
        f"{'; rows that were never looked up have no dot' if never else ''}. {_told(named)}"
    )
    clouds = _clouds(known, named, "rank", "exposures")
    return Scatter(
        f"{subject}: how often rows are looked up",
        text,
        files,
        "row, by rank",
        "lookups",
        clouds,
        log_x=True,
        log_y=True,
    )


def _circling(
    points: pd.DataFrame,
    named: Mapping[str, set[str]],
    subject: str,
    region: Region | None,
    files: tuple[str, ...],
    ranges: Ranges,
) -> Scatter | None:
    if not set(points.columns) >= _SEEN:
        return None
    known = _thinned(points[points["coherence"].notna() & (points["jitter"] > 0)], _MOST_ROWS)
    if not len(known):
        return None
    text = (
        f"Each dot is a row of {subject}. To the left, its moves over consecutive windows oppose each other; the "
        f"higher, the more it trembles; {len(known):,} of {int(points['rank'].max()):,} rows are drawn. {_told(named)}"
    )
    clouds = _clouds(known, named, "coherence", "jitter")
    return Scatter(
        f"{subject}: rows that circle", text, files, "coherence (cosine)", "jitter", clouds, region, *ranges, log_y=True
    )


def _thinned(known: pd.DataFrame, most: int) -> pd.DataFrame:
    return known.iloc[thinned(range(len(known)), most)]


def _clouds(known: pd.DataFrame, named: Mapping[str, set[str]], x: str, y: str) -> tuple[Cloud, ...]:
    rows = known["row"].astype(str)
    taken = rows.isin(set().union(*named.values())) if named else rows != rows
    parts = [(_REST, known[~taken])]
    parts += [(f"named by {rule}", known[rows.isin(ids)]) for rule, ids in list(named.items())[:_MOST_RULES]]
    return tuple(
        Cloud(
            f"{name} ({len(part):,} drawn)",
            tuple(part[x].astype(float)),
            tuple(part[y].astype(float)),
            rest=name == _REST,
        )
        for name, part in parts
        if len(part)
    )


def _told(named: Mapping[str, set[str]]) -> str:
    if not named:
        return "No finding names rows of it."
    return " ".join(f"{rule} names {len(ids):,} rows." for rule, ids in named.items())
