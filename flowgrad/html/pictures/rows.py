"""Rows of an embedding table: how often each is looked up, and whether it circles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from flowgrad.html.figures import Cloud, Figure, Region, Scatter

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("row", "rank", "exposures")
_MOST_RULES = 4
"""Number of rules whose rows have a colour of their own."""


def row_pictures(
    points: pd.DataFrame, named: Mapping[str, set[str]], subject: str, region: Region | None, files: tuple[str, ...]
) -> list[Figure]:
    """Draw exposures by rank, and coherence against jitter where both are known.

    Args:
        points: rows at even ranks of exposure, with `rank`, `exposures`, and where they are known `coherence` and
            `jitter`.
        named: rule -> the rows that it names.
        subject: name of the table.
        region: region of rows that circle.
        files: that the figures are in.
    """
    return [
        one
        for one in (_exposures(points, named, subject, files), _circling(points, named, subject, region, files))
        if one is not None
    ]


def _exposures(
    points: pd.DataFrame, named: Mapping[str, set[str]], subject: str, files: tuple[str, ...]
) -> Scatter | None:
    known = points[points["exposures"] > 0]
    if not len(known):
        return None
    total, never = int(points["rank"].max()), int((points["exposures"] == 0).sum())
    text = (
        f"Lookups of each row of {subject}, the most frequent first: from {known['exposures'].max():,.0f} to "
        f"{known['exposures'].min():,.0f}; {len(points):,} of {total:,} rows are drawn"
        f"{f', of which {never} were never looked up and have no dot' if never else ''}. {_told(named)}"
    )
    clouds = _clouds(known, named, "rank", "exposures")
    return Scatter(
        f"{subject}: how often rows are looked up", text, files, "row, by rank", "lookups", clouds, log_x=True, log_y=True
    )


def _circling(
    points: pd.DataFrame, named: Mapping[str, set[str]], subject: str, region: Region | None, files: tuple[str, ...]
) -> Scatter | None:
    if not {"coherence", "jitter"} <= set(points.columns):
        return None
    known = points[points["coherence"].notna() & (points["jitter"] > 0)]
    if not len(known):
        return None
    text = (
        f"Each dot is a row of {subject}. To the left, its moves over consecutive windows oppose each other; the higher, "
        f"the more it trembles. Coherence is known of {len(known):,} of the {len(points):,} rows drawn. {_told(named)}"
    )
    clouds = _clouds(known, named, "coherence", "jitter")
    return Scatter(
        f"{subject}: rows that circle", text, files, "coherence (cosine)", "jitter", clouds, region, log_y=True
    )


def _clouds(known: pd.DataFrame, named: Mapping[str, set[str]], x: str, y: str) -> tuple[Cloud, ...]:
    rows = known["row"].astype(str)
    taken = rows.isin(set().union(*named.values())) if named else rows != rows
    parts = [("rows that no finding names", known[~taken])]
    parts += [(f"named by {rule}", known[rows.isin(ids)]) for rule, ids in list(named.items())[:_MOST_RULES]]
    return tuple(
        Cloud(f"{name} ({len(part):,} drawn)", tuple(part[x].astype(float)), tuple(part[y].astype(float)))
        for name, part in parts
        if len(part)
    )


def _told(named: Mapping[str, set[str]]) -> str:
    if not named:
        return "No finding names rows of it."
    return " ".join(f"{rule} names {len(ids):,} rows." for rule, ids in named.items())
