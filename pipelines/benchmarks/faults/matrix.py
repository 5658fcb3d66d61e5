"""Shows which faults are found in which pairs of model and data: a table, and a picture of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from flowgrad.drawing import new_figure, picture

SOUND = "sound runs without a fix"


def matrix_table(table: pd.DataFrame, pairs: Sequence[str]) -> pd.DataFrame:
    """Make one line a fault, a column for each pair: `found/true`; the last line counts sound runs without a fix.

    Args:
        table: table of `case_table` with the lines of one method.
        pairs: name of each line's pair of model and data.
    """
    table = table.assign(pair=list(pairs))
    sound = table["kind"] == "control"
    table = table.assign(
        hits=table["hits"].where(~sound, (table["found"] == 0).astype(int)),
        true=table["true"].where(~sound, 1),
        fault=table["fault"].where(~sound, SOUND),
        last=sound,
    )
    counts = table.groupby(["last", "fault", "pair"], sort=False, as_index=False)[["hits", "true"]].sum()
    counts["cell"] = counts["hits"].astype(str) + "/" + counts["true"].astype(str)
    wide = counts.pivot_table(index=["last", "fault"], columns="pair", values="cell", aggfunc="first", sort=False)
    wide = wide.sort_index(level="last", kind="stable", sort_remaining=False)
    wide = wide.reindex(columns=list(dict.fromkeys(pairs))).fillna("")
    return wide.droplevel("last").reset_index().rename_axis(columns=None)


def matrix_picture(matrix: pd.DataFrame) -> bytes:
    """Draw the table of `matrix_table` as SVG: a cell is the darker, the larger the share that was found."""
    cells = matrix.set_index("fault")
    shares = cells.map(_share).to_numpy(dtype=float)
    figure = new_figure(3 + 1.1 * cells.shape[1], 1.6 + 0.35 * len(cells))
    axes = figure.subplots()
    axes.pcolormesh(np.ma.masked_invalid(shares), cmap="Blues", vmin=0, vmax=1.6, edgecolors="white", linewidth=2)
    axes.invert_yaxis()
    for (row, column), share in np.ndenumerate(shares):
        weight = "bold" if share < 1 else "normal"
        axes.text(column + 0.5, row + 0.5, cells.iloc[row, column], ha="center", va="center", weight=weight)
    axes.set_xticks(np.arange(cells.shape[1]) + 0.5, labels=[name.replace(" on ", "\non ") for name in cells.columns])
    axes.set_yticks(np.arange(len(cells)) + 0.5, labels=[name.replace("_", " ") for name in cells.index])
    axes.tick_params(length=0, labelsize=8)
    for side in axes.spines.values():
        side.set_visible(False)
    return picture(figure, ".svg")


def _share(cell: str) -> float:
    hits, _, true = cell.partition("/")
    return int(hits) / int(true) if true.strip("0") else float("nan")
