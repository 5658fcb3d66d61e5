"""Draws pictures whose bytes repeat, without touching what the caller has open in pyplot."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from flowgrad.errors import FlowGradError
from flowgrad.files import write_atomically

FORMATS = (".png", ".svg", ".pdf")

_DPI = 150
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}
"""Metadata of each format, without date and version."""


def picture_path(path: str | Path) -> Path:
    """Return the path, if a picture can be written there.

    Raises:
        FlowGradError: it does not end in one of `FORMATS`.
    """
    if Path(path).suffix.lower() not in FORMATS:
        raise FlowGradError(f"path={str(path)!r} must end in {', '.join(FORMATS)}")
    return Path(path)


def new_figure(width: float, height: float) -> Any:
    """Make an empty `matplotlib.figure.Figure` of its own, in inches.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise ImportError("a plot needs matplotlib: pip install 'flowgrad[plots]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def picture(figure: Any, suffix: str = ".png") -> bytes:
    """Write the figure as bytes in one of `FORMATS`."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    # The ids in an SVG are random otherwise.
    with mpl.rc_context({"svg.hashsalt": "flowgrad", "svg.fonttype": "none"}):
        figure.savefig(buffer, format=suffix[1:].lower(), dpi=_DPI, metadata=_METADATA[suffix.lower()])
    return buffer.getvalue()


def save(figure: Any, path: Path) -> None:
    """Write the figure to a path that `picture_path` has passed."""
    write_atomically(path, picture(figure, path.suffix))


def as_written(text: Any) -> None:
    """Show a name with `$` in it as it is, not as a formula."""
    text.set_parse_math(False)
