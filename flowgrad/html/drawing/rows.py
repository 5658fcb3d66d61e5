"""Draws intervals and pairs, one row below the other."""

from __future__ import annotations

from html import escape

from flowgrad.html.drawing.axes import BOTTOM, RIGHT, TOP, WIDTH, Scale, at, scale, x_axis
from flowgrad.html.drawing.bands import Drawn
from flowgrad.html.figures import Interval, Intervals, Pairs, finite

_LEFT = 16
_ROW = 38
_PAIR = 22
MOST_ROWS = 30
"""Number of rows that are drawn; the table behind the picture has more."""
_LONGEST = 44
GOOD, BAD, OPEN = "c2", "c1", "c7"
_SIGNS = {"confirmed": GOOD, "refuted": BAD, "holds": GOOD, "rejects too often": BAD, "kept": GOOD}
"""Colour of each verdict; others are open."""


def draw_intervals(figure: Intervals) -> Drawn:
    """Draw each difference as a dot on its interval, below its label."""
    rows = figure.rows[:MOST_ROWS]
    bottom = TOP + _ROW * len(rows)
    zero = [figure.reference] if figure.reference is not None else []
    x = scale([*zero, *(v for r in rows for v in (r.value, r.low, r.high))], _LEFT, WIDTH - RIGHT)
    parts = x_axis(x, figure.x_label, bottom)
    if figure.reference is not None:
        parts.append(f'<path class="z" d="M{at(x(figure.reference))} {TOP}V{at(bottom)}"/>')
    used: dict[str, dict[str, None]] = {}
    for place, row in enumerate(rows):
        sign = _SIGNS.get(row.verdict, OPEN)
        used.setdefault(sign, {})[row.verdict] = None
        parts += _interval(row, TOP + place * _ROW, x, sign)
    return (
        parts,
        bottom + BOTTOM,
        [(sign, ", ".join(filter(None, words))) for sign, words in used.items() if any(words)],
    )


def _interval(row: Interval, top: float, x: Scale, sign: str) -> list[str]:
    y = at(top + 27)
    told = f": {row.verdict}" if row.verdict else ""
    parts = [f'<text class="s" x="{_LEFT}" y="{at(top + 15)}">{escape(_cut(row.label, _LONGEST - len(told)))}'
             f"<tspan class='q'>{escape(told)}</tspan></text>"]  # fmt: skip
    bounds = finite([row.low, row.high])
    if len(bounds) == 2:
        low, high = (at(x(bound)) for bound in bounds)
        parts.append(f'<path class="i {sign}" d="M{low} {y}H{high}M{low} {at(top + 23)}v8M{high} {at(top + 23)}v8"/>')
    parts += [f'<path class="d w {sign}" d="M{at(x(value))} {y}h0"/>' for value in finite([row.value])]
    if not finite([row.value]):
        parts.append(f'<text class="s q" x="{_LEFT}" y="{at(top + 31)}">not known</text>')
    return parts


def draw_pairs(figure: Pairs) -> Drawn:
    """Draw both values of each pair on one line, which links them. Colours are those of neither good nor bad: the
    second may be the worse, and lines of learning curves have colours of their own.
    """
    pairs = figure.pairs[:MOST_ROWS]
    bottom = TOP + _PAIR * len(pairs) + 4
    longest = max((len(_cut(one.label, 12)) for one in pairs), default=1)
    left = 14 + 7 * longest
    x = scale((v for one in pairs for v in (one.before, one.after)), left + 8, WIDTH - RIGHT)
    parts = x_axis(x, figure.x_label, bottom)
    for place, one in enumerate(pairs):
        y = TOP + place * _PAIR + 14
        parts.append(f'<text class="e" x="{left}" y="{at(y + 4)}">{escape(_cut(one.label, 12))}</text>')
        before, after = (at(x(v)) if v is not None and x.shows(v) else None for v in (one.before, one.after))
        if before and after:
            parts.append(f'<path class="g" d="M{before} {y}H{after}"/>')
        if before:
            parts.append(f'<circle class="o {OPEN}" cx="{before}" cy="{y}" r="5"/>')
        if after:
            parts.append(f'<path class="d w {OPEN}" d="M{after} {y}h0"/>')
        if not (before and after):
            parts.append(f'<text class="e q" x="{WIDTH - RIGHT}" y="{at(y + 4)}">not known</text>')
    return parts, bottom + BOTTOM, [(f"{OPEN} hollow", figure.before), (OPEN, figure.after)]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: max(most - 1, 1)]}…"
