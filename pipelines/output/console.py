"""Shows a progress bar while a run trains, and tables at the end."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipelines.output.tables import rounded


def progress() -> Progress:
    """Make a bar on standard error that vanishes when it is done."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def print_table(table: pd.DataFrame, folder: Path, title: str | None = None) -> None:
    """Print all of a table, rounded, and where its files are."""
    shown = Table(box=box.SIMPLE_HEAD, title=title)
    for name in table.columns:
        shown.add_column(str(name), overflow="fold")
    for _, line in rounded(table).iterrows():
        shown.add_row(*(escape(value) for value in line))
    console = Console()
    if not console.is_terminal:
        console.width = 160
    console.print(shown)
    console.print(f" files: {folder}", markup=False, highlight=False, soft_wrap=True)
