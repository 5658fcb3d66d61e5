"""Takes from measurements and trackers the bounded tables that pictures are drawn from, for the files of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from flowgrad.measurements import Measurements

if TYPE_CHECKING:
    import pandas as pd

MOST_POINTS = 1_500
"""Number of rows of a table that are kept for its pictures."""
_KEPT = ("exposures", "coherence", "jitter")


def row_points(measured: Measurements) -> pd.DataFrame | None:
    """Rows of an embedding table at even ranks of exposure, the most frequent first; None for other subjects.

    Returns:
        `row`, `rank` (from 1, of all rows), `exposures`, `coherence`, `jitter`; NaN where a figure is not known.
    """
    rows = measured.tables.get("rows")
    if measured.kind != "embedding" or rows is None or not len(rows):
        return None
    order = np.argsort(-rows["exposures"].fillna(0).to_numpy(dtype=float), kind="stable")
    ranks = np.unique(np.linspace(0, len(order) - 1, min(MOST_POINTS, len(order))).round().astype(int))
    points = rows.iloc[order[ranks]][[name for name in _KEPT if name in rows]].reset_index(names="row")
    points.insert(1, "rank", ranks + 1)
    return points
