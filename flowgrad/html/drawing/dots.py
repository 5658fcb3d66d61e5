"""Draws clouds of points."""

from __future__ import annotations

from html import escape
from itertools import cycle

from flowgrad.html.drawing.axes import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Scale, at, frame, scale
from flowgrad.html.drawing.bands import Drawn
from flowgrad.html.figures import Region, Scatter

_HEIGHT = 300
_REST = "c7"
_SIGNS = ("c1", "c0", "c2", "c4", "c3")
_NAMED = 16
"""Number of points up to which each is labelled."""


def draw_scatter(figure: Scatter) -> Drawn:
    """Draw each cloud as dots of one colour, in the order given, so that the last lies on top."""
    bounds = [] if figure.region is None else [figure.region]
    shared = [figure.x_range or (), figure.y_range or ()]
    xs = [v for c in figure.clouds for v in c.x] + [v for r in bounds for v in (r.x_low, r.x_high) if v is not None]
    ys = [v for c in figure.clouds for v in c.y] + [v for r in bounds for v in (r.y_low, r.y_high) if v is not None]
    x = scale([*xs, *shared[0]], LEFT, WIDTH - RIGHT, figure.log_x)
    y = scale([*ys, *shared[1]], _HEIGHT - BOTTOM, TOP, figure.log_y)
    parts = [*(_region(r, x, y) for r in bounds), *frame(x, y, figure.x_label, figure.y_label, _HEIGHT - BOTTOM)]
    legend = []
    signs = cycle(_SIGNS)
    for cloud in figure.clouds:
        sign = _REST if cloud.rest else next(signs)
        known = [(a, b, i) for i, (a, b) in enumerate(zip(cloud.x, cloud.y, strict=True)) if x.shows(a) and y.shows(b)]
        path = "".join(f"M{x(a):.0f} {y(b):.0f}h0" for a, b, _ in known)  # many points: whole units are enough
        wide = "d w" if cloud.labels else "d t" if cloud.rest else "d"
        if path:
            parts.append(f'<path class="{wide} {sign}" d="{path}"/>')
        for a, b, i in known if len(cloud.labels) <= _NAMED else ():
            parts.append(_label(x(a), y(b), cloud.labels[i]) if cloud.labels else "")
        legend.append((sign, cloud.name))
    if figure.region is not None:
        legend.append(("region", figure.region.label))
    return parts, _HEIGHT, legend


def _label(x: float, y: float, text: str) -> str:
    side, shift = ("e", -8) if x > WIDTH * 0.6 else ("s", 8)
    return f'<text class="{side} q" x="{at(x + shift)}" y="{at(y - 6)}">{escape(text[:28])}</text>'


def _region(region: Region, x: Scale, y: Scale) -> str:
    left = x.start if region.x_low is None else x(region.x_low)
    right = x.end if region.x_high is None else x(region.x_high)
    bottom = y.start if region.y_low is None else y(region.y_low)
    top = y.end if region.y_high is None else y(region.y_high)
    return f'<path class="r" d="M{at(left)} {at(top)}H{at(right)}V{at(bottom)}H{at(left)}z"/>'
