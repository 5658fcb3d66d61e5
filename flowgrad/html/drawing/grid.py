"""Draws grids of colours."""

from __future__ import annotations

import math
from html import escape
from itertools import groupby

from flowgrad.html.drawing.axes import BOTTOM, RIGHT, TOP, WIDTH, at, short
from flowgrad.html.drawing.bands import Drawn
from flowgrad.html.figures import Heat, finite

SHADES = 7
"""Number of shades, from `h0` for the lowest values."""
MOST_ROWS, MOST_COLUMNS = 30, 32
"""Number of rows and columns that are drawn, evenly spaced; the files have more."""
_LONGEST = 20
_LETTER = 7.2


def draw_heat(figure: Heat) -> Drawn:
    """Draw each cell in the shade of its value; a cell whose value is not known stays empty."""
    rows = _spaced(len(figure.rows), MOST_ROWS)
    columns = _spaced(len(figure.columns), MOST_COLUMNS)
    names = [_cut(figure.rows[i]) for i in rows]
    left = 14 + _LETTER * max((len(name) for name in names), default=1)
    tall = 16 if len(rows) > 12 else 22
    bottom = TOP + tall * len(rows)
    wide = (WIDTH - RIGHT - left) / max(len(columns), 1)
    values = [[_of(figure.values[i][j], figure.log) for j in columns] for i in rows]
    known = finite(v for line in values for v in line)
    bounds = [_of(bound, figure.log) for bound in figure.value_range or ()] or known
    low, high = (min(bounds), max(bounds)) if bounds else (0.0, 0.0)
    paths: dict[int, list[str]] = {}
    for i, line in enumerate(values):
        for shade, cells in groupby(enumerate(line), key=lambda one: _shade(one[1], low, high)):
            if shade is not None:  # neighbours of one shade are one rectangle
                places = [j for j, _ in cells]
                width = at(wide * len(places))
                place = f"M{at(left + places[0] * wide)} {TOP + i * tall}h{width}v{tall - 1}h-{width}z"
                paths.setdefault(shade, []).append(place)
    parts = [f'<path class="h{shade}" d="{"".join(paths[shade])}"/>' for shade in sorted(paths)]
    for i, name in enumerate(names):
        parts.append(
            f'<text class="e" x="{at(left - 6)}" y="{at(TOP + i * tall + tall / 2 + 4)}">{escape(name)}</text>'
        )
    for i, j in figure.framed:
        if i in rows and j in columns:
            at_i, at_j = rows.index(i), columns.index(j)
            parts.append(
                f'<rect class="f" x="{at(left + at_j * wide + 1)}" y="{TOP + at_i * tall + 1}" '
                f'width="{at(wide - 2)}" height="{tall - 3}"/>'
            )
    # As many labels as there is room for.
    room = max(1, int((WIDTH - left) / 64))
    for j in dict.fromkeys(_spaced(len(columns), room)):
        name = _cut(figure.columns[columns[j]], 9)
        parts.append(f'<text class="m" x="{at(left + (j + 0.5) * wide)}" y="{bottom + 17}">{escape(name)}</text>')
    middle = at((left + WIDTH - RIGHT) / 2)
    parts.append(f'<text class="m" x="{middle}" y="{bottom + 36}">{escape(figure.x_label)}</text>')
    if not known:
        return parts, bottom + BOTTOM, [("empty", f"{figure.value_label}: not known")]
    back = (lambda v: 10**v) if figure.log else (lambda v: v)
    legend = [
        ("h0", f"{figure.value_label} {short(_rounded(back(low)))}"),
        (f"h{SHADES - 1}", f"{figure.value_label} {short(_rounded(back(high)))}"),
    ]
    if len(known) < sum(map(len, values)):
        legend.append(("empty", "zero or not known" if figure.log else "not known"))
    return parts, bottom + BOTTOM, legend


def _shade(value: float, low: float, high: float) -> int | None:
    if not math.isfinite(value):
        return None
    if high <= low:
        return SHADES // 2
    share = (value / 2 - low / 2) / (high / 2 - low / 2)  # halves: the difference of huge numbers is none
    return min(int(min(max(share, 0.0), 1.0) * SHADES), SHADES - 1)


def _of(value: float, log: bool) -> float:
    if not math.isfinite(value):
        return math.nan
    if not log:
        return value
    return math.log10(value) if value > 0 else math.nan


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _spaced(count: int, most: int) -> list[int]:
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)] if most > 1 else [0]


def _cut(text: str, most: int = _LONGEST) -> str:
    return text if len(text) <= most else f"…{text[1 - most :]}"
