"""Draws pictures of a student and its teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from flowgrad.drawing import as_written, new_figure

PANELS = {
    "speed_ratio": "speed over that of the others",
    "unexplained": "teacher's layer unexplained",
    "lost": "lost in the layer",
    "too_narrow": "outside of its width",
    "drift": "drift of its weights",
}
"""Title of each column's panel in the picture."""


def similarity_figure(similarity: pd.DataFrame, pairs: Mapping[str, str], title: str) -> Any:
    """Draw a heat map of the similarity of layers, a frame around each pair.

    Args:
        similarity: lines are the student's layers, columns the teacher's; NaN stays white.
        pairs: {student layer: teacher layer}.
        title: above the picture.
    """
    figure = new_figure(2.5 + 0.45 * similarity.shape[1], 1.8 + 0.35 * similarity.shape[0])
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots()
    drawn = axes.pcolormesh(similarity.to_numpy(), cmap="Blues", vmin=0, vmax=1)
    axes.invert_yaxis()
    axes.set_xticks(np.arange(similarity.shape[1]) + 0.5, labels=list(similarity.columns), rotation=60, ha="right")
    axes.set_yticks(np.arange(similarity.shape[0]) + 0.5, labels=list(similarity.index))
    axes.set_xlabel("teacher")
    axes.set_ylabel("student")
    for student, teacher in pairs.items():
        row, column = similarity.index.get_loc(student), similarity.columns.get_loc(teacher)
        axes.plot(
            column + np.array([0.03, 0.97, 0.97, 0.03, 0.03]),
            row + np.array([0.03, 0.03, 0.97, 0.97, 0.03]),
            color="0.15",
            linewidth=1.2,
        )
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        as_written(text)
        text.set_fontsize(7)
    figure.colorbar(drawn, ax=axes, label="linear CKA", pad=0.02)
    return figure


def health_figure(rows: pd.DataFrame, title: str) -> Any:
    """Draw which layers can follow the teacher: one panel a measure of `PANELS`, one bar a layer.

    Args:
        rows: a line a layer, as of `DistillationTracker.layer_table`.
        title: above the picture.
    """
    figure = new_figure(2 + 1.9 * len(PANELS), 1.4 + 0.3 * len(rows))
    figure.suptitle(title, fontsize=10)
    panels = figure.subplots(1, len(PANELS), sharey=True, squeeze=False)[0]
    places = np.arange(len(rows))
    for axes, (column, label) in zip(panels, PANELS.items(), strict=True):
        axes.barh(places, rows[column].to_numpy(), height=0.6)
        axes.set_xlabel(label, fontsize=7)
        axes.tick_params(labelsize=7)
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(places, labels=list(map(str, rows.index)))
    panels[0].invert_yaxis()
    for text in panels[0].get_yticklabels():
        as_written(text)
    return figure
