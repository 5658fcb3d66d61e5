"""Pictures of a table of features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowgrad.drawing import as_written, new_figure, save

Floats = NDArray[np.float64]


def heat_map(values: Floats, names: Sequence[str], title: str, legend: str, path: Path) -> None:
    """A square table of pairs as colours, NaN grey, to a file whose bytes repeat.

    Args:
        values: symmetric, shape (columns, columns); the diagonal is not shown.
        names: of the columns.
        title: above the picture.
        legend: of the colours.
        path: one that `flowgrad.drawing.picture_path` has passed.

    Raises:
        ImportError: matplotlib is not installed.
    """
    size = 2.5 + 0.28 * len(names)
    figure = new_figure(size + 1.5, size)
    import matplotlib as mpl

    shown = np.where(np.eye(len(names), dtype=bool), np.nan, values)
    axes = figure.add_subplot()
    colours = mpl.colormaps["viridis"].with_extremes(bad="0.92")
    drawn = axes.imshow(shown, cmap=colours, interpolation="nearest")
    axes.set_xticks(range(len(names)), labels=list(names), rotation=90)
    axes.set_yticks(range(len(names)), labels=list(names))
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        as_written(text)
    axes.tick_params(labelsize=7, length=0)
    axes.set_title(title, fontsize=9)
    figure.colorbar(drawn, ax=axes, label=legend, shrink=0.8)
    save(figure, path)
