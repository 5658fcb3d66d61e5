"""Pictures of what may be compressed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from flowgrad.drawing import as_written, new_figure

_NAME_LENGTH = 32
_MOST = 60


def saliency_figure(rows: pd.DataFrame, title: str) -> Any:
    """Each layer's part of the weights and of the saliency, and its weights of little saliency, as bars.

    Args:
        rows: the analyzer's row table.
        title: above the picture.
    """
    rows = rows.iloc[:_MOST]
    figure = new_figure(7.5, 1.6 + 0.3 * len(rows))
    as_written(figure.suptitle(title, fontsize=10))
    left, right = figure.subplots(1, 2, sharey=True)
    place = np.arange(len(rows)) + 0.5
    entries = rows["entries"] / rows["entries"].sum()
    left.barh(place - 0.19, entries, height=0.36, color="0.75", label="weights")
    left.barh(place + 0.19, rows["saliency_share"].fillna(0), height=0.36, color="tab:blue", label="saliency")
    left.legend(frameon=False, fontsize=7)
    left.set_title("part of the whole", fontsize=8)
    right.barh(place, rows["removable"].fillna(0), height=0.7, color="0.4")
    right.set_xlim(0, 1)
    right.set_title("weights that hold 1 % of it together", fontsize=8)
    left.set_ylim(len(rows), 0)
    left.set_yticks(place, labels=[_short(str(name)) for name in rows.index])
    for text in left.get_yticklabels():
        as_written(text)
    for axes in (left, right):
        axes.tick_params(labelsize=7)
    return figure


def sensitivity_figure(rises: pd.DataFrame, title: str, score: str) -> Any:
    """Rise of the loss by bits, a line a tensor.

    Args:
        rises: a line a tensor, a column a level.
        title: above the picture.
        score: what the rises are by.
    """
    figure = new_figure(7.5, 4.2)
    as_written(figure.suptitle(title, fontsize=10))
    axes = figure.subplots()
    bits = sorted(rises.columns)
    for name, line in rises.iloc[:_MOST].iterrows():
        values = line[bits].to_numpy(dtype=float)
        axes.plot(range(len(bits)), np.where(values > 0, values, np.nan), "o-", markersize=3, label=_short(str(name)))
    if (rises.to_numpy() > 0).any():
        axes.set_yscale("log")
    axes.set_xticks(range(len(bits)), labels=[str(one) for one in bits])
    axes.set_xlabel("bits")
    axes.set_ylabel(f"rise of the loss ({score})")
    axes.grid(alpha=0.3)
    legend = axes.legend(frameon=False, fontsize=6, loc="upper left", bbox_to_anchor=(1, 1))
    for text in legend.get_texts():
        as_written(text)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else f"…{name[1 - _NAME_LENGTH :]}"
