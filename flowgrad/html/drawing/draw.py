"""Draws a figure of any kind."""

from __future__ import annotations

from html import escape
from typing import NamedTuple

from flowgrad.errors import FlowGradError
from flowgrad.html.drawing.axes import WIDTH
from flowgrad.html.drawing.bands import draw_lines
from flowgrad.html.drawing.dots import draw_scatter
from flowgrad.html.drawing.grid import draw_heat
from flowgrad.html.drawing.rows import draw_intervals, draw_pairs
from flowgrad.html.figures import Figure, Heat, Intervals, Lines, Pairs, Scatter


class Drawing(NamedTuple):
    """A picture: SVG, and its legend as (class of the sign, text)."""

    svg: str
    legend: tuple[tuple[str, str], ...]


def draw(figure: Figure, name: str) -> Drawing:
    """Draw a figure.

    Args:
        figure: that is drawn.
        name: of the picture within the page, which begins the ids of its title and description.

    Raises:
        FlowGradError: it is of no kind that is drawn.
    """
    match figure:
        case Lines():
            parts, height, legend = draw_lines(figure)
        case Intervals():
            parts, height, legend = draw_intervals(figure)
        case Pairs():
            parts, height, legend = draw_pairs(figure)
        case Scatter():
            parts, height, legend = draw_scatter(figure)
        case Heat():
            parts, height, legend = draw_heat(figure)
        case _:
            raise FlowGradError(f"{type(figure).__name__} is no kind of figure that is drawn; use one of flowgrad.html")
    head = (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{escape(figure.title)}</title><desc id="{name}-d">{escape(figure.text)}</desc>'
    )
    return Drawing(f"{head}{''.join(parts)}</svg>", tuple(legend))
