"""Makes the page of a job that leaves tables and no report, such as a benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flowgrad.html.figures import Figure, Table
from flowgrad.html.folder import Folder
from flowgrad.html.frames import table_of
from flowgrad.html.page import Page, Section, Verdict
from flowgrad.html.pictures.calibrations import FILE as CALIBRATION
from flowgrad.html.pictures.calibrations import calibration_pictures

if TYPE_CHECKING:
    import pandas as pd

_FIRST = ("calibration.csv", "scores.csv", "overhead.csv", "robustness.csv", "repairs.csv", "significance.csv")
"""Tables that sum a job up, which come first."""
_MOST_TABLES = 10
_MOST_LINES = 100
_MOST_COLUMNS = 24
_LARGEST = 4 << 20
"""Number of bytes of a table up to which it is shown; longer ones are named."""


def job_page(path: Path) -> Page:
    """Make a page of a job's tables, those that sum it up first."""
    folder = Folder(path)
    names = folder.names("*.csv")
    ordered = [*(one for one in _FIRST if one in names), *(one for one in names if one not in _FIRST)]
    small = [one for one in ordered if (path / one).stat().st_size <= _LARGEST]
    held = {name: table for name in small[:_MOST_TABLES] if (table := folder.table(name)) is not None}
    left = [one for one in ordered if one not in small[:_MOST_TABLES]]
    missing = [*folder.missing, *([f"tables that are only in the folder: {', '.join(left)}"] if left else [])]
    title = str(folder.mapping("config.yaml").get("name") or path.resolve().name)
    first = next(iter(held), "")
    sections = []
    if figures := tuple(_pictures(held)):
        sections.append(Section("Pictures", "", figures))
    sections += [
        Section(name.removesuffix(".csv").replace("_", " ").capitalize(), "", (), (_table(name, one),))
        for name, one in held.items()
    ]
    return Page(
        title=title,
        kind="job",
        verdict=Verdict(
            "done" if held else "failed",
            f"{title}: {len(ordered)} table{'' if len(ordered) == 1 else 's'}",
            f"This job proves no change; what it measured is in its tables{f', {first} first' if first else ''}.",
        ),
        sections=tuple(sections),
        missing=tuple(missing),
    )


def _pictures(held: dict[str, pd.DataFrame]) -> Iterator[Figure]:
    if CALIBRATION in held:
        yield from calibration_pictures(held[CALIBRATION])


def _table(name: str, table: pd.DataFrame) -> Table:
    known = [str(one) for one in table.columns if table[one].notna().any()]
    shown = known[:_MOST_COLUMNS]
    note = f"{len(shown)} of {len(known)} columns" if len(shown) < len(known) else ""
    return table_of(table, name, shown, _MOST_LINES, note)
