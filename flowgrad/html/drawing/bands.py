"""Draws lines with bands."""

from __future__ import annotations

from html import escape

from flowgrad.html.drawing.axes import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Scale, at, frame, scale
from flowgrad.html.figures import Lines, Series

HEIGHT = 280
COLOURS = 8
"""Number of colours; further lines begin again with another dash."""
_FEW = 40
"""Number of points up to which each is marked."""

Drawn = tuple[list[str], int, list[tuple[str, str]]]


def draw_lines(figure: Lines) -> Drawn:
    """Draw each series as a line, with its band, and the marks above all."""
    ys = [v for one in figure.series for part in (one.y, one.low, one.high) for v in part]
    xs = [v for one in figure.series for v in one.x]
    x = scale([*xs, *(figure.x_range or ())], LEFT, WIDTH - RIGHT, figure.log_x, pad=0.02)
    y = scale([*ys, *(figure.y_range or ()), *(mark.y for mark in figure.marks)], HEIGHT - BOTTOM, TOP, figure.log_y)
    parts = frame(x, y, figure.x_label, figure.y_label, HEIGHT - BOTTOM)
    legend = []
    for place, one in enumerate(figure.series):
        name = f"c{place % COLOURS}"
        parts += _band(one, x, y, name)
        parts += _line(one, x, y, name)
        legend.append((name, one.name))
    for mark in figure.marks:
        if x.shows(mark.x) and y.shows(mark.y):
            parts += _mark(x(mark.x), y(mark.y), mark.label)
    return parts, HEIGHT, legend


def _band(one: Series, x: Scale, y: Scale, name: str) -> list[str]:
    if not one.low:
        return []
    known = [(a, b, c) for a, b, c in zip(one.x, one.low, one.high, strict=True) if y.shows(b) and y.shows(c)]
    if len(known) < 2:
        return []
    up = [f"{at(x(a))} {at(y(c))}" for a, _, c in known]
    down = [f"{at(x(a))} {at(y(b))}" for a, b, _ in reversed(known)]
    return [f'<path class="b {name}" d="M{"L".join([*up, *down])}z"/>']


def _line(one: Series, x: Scale, y: Scale, name: str) -> list[str]:
    """Draw the line, with a gap where a value is not known."""
    path, pen = [], "M"
    points = []
    for a, b in zip(one.x, one.y, strict=True):
        if not (x.shows(a) and y.shows(b)):
            pen = "M"
            continue
        path.append(f"{pen}{at(x(a))} {at(y(b))}")
        points.append(f"M{at(x(a))} {at(y(b))}h0")
        pen = "L"
    if not path:
        return []
    dots = f'<path class="d {name}" d="{"".join(points)}"/>' if len(points) <= _FEW else ""
    return [f'<path class="l {name}" d="{"".join(path)}"/>{dots}']


def _mark(x: float, y: float, label: str) -> list[str]:
    side = "e" if x > WIDTH * 0.6 else "s"
    shift = -9 if side == "e" else 9
    return [
        f'<circle class="k" cx="{at(x)}" cy="{at(y)}" r="5"/>'
        f'<text class="{side} n" x="{at(x + shift)}" y="{at(max(y - 9, TOP + 8))}">{escape(label)}</text>'
    ]
