"""Makes the table of a page from one of pandas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowgrad.html.figures import Table

if TYPE_CHECKING:
    import pandas as pd


def table_of(frame: pd.DataFrame, caption: str, columns: Sequence[str], most: int, note: str = "") -> Table:
    """Make a table of some columns; what is not known is an empty cell.

    Args:
        frame: the table.
        caption: above it.
        columns: those that are shown; names that it does not have are passed over.
        most: number of lines that are shown; where there are more, the note says so.
        note: beside the caption.
    """
    shown = [name for name in columns if name in frame]
    rows = tuple(
        tuple(None if isinstance(v, float) and math.isnan(v) else v for v in line)
        for line in frame[shown].head(most).itertuples(index=False, name=None)
    )
    left = f"the first {most} of {len(frame)} lines" if len(frame) > most else ""
    return Table(caption, tuple(shown), rows, ", ".join(filter(None, (left, note))))
