"""Pictures of a table of features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FORMATS = (".png", ".svg", ".pdf")
_DPI = 150


def heat_map(values: Floats, names: Sequence[str], title: str, legend: str, path: Path) -> None:
    """A square table of pairs as colours, NaN grey, to a file whose bytes repeat.

    Args:
        values: symmetric, shape (columns, columns); the diagonal is not shown.
        names: of the columns.
        title: above the picture.
        legend: of the colours.
        path: ends in .png, .svg or .pdf.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise ImportError("plot_interactions needs matplotlib: pip install 'flowgrad[plots]'") from error
    shown = np.where(np.eye(len(names), dtype=bool), np.nan, values)
    size = 2.5 + 0.28 * len(names)
    # No date and no random id in the file; and a figure of its own, so that the caller's are let alone.
    with mpl.rc_context({"svg.hashsalt": "flowgrad", "svg.fonttype": "none"}):
        figure = Figure(figsize=(size + 1.5, size), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        colours = mpl.colormaps["viridis"].with_extremes(bad="0.92")
        drawn = axes.imshow(shown, cmap=colours, interpolation="nearest")
        axes.set_xticks(range(len(names)), labels=list(names), rotation=90)
        axes.set_yticks(range(len(names)), labels=list(names))
        axes.tick_params(labelsize=7, length=0)
        axes.set_title(title, fontsize=9)
        figure.colorbar(drawn, ax=axes, label=legend, shrink=0.8)
        metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {"Software": None}}
        figure.savefig(path, dpi=_DPI, metadata=metadata[path.suffix.lower()])
