"""Scales and axes of a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from flowgrad.html.figures import finite

WIDTH = 460
"""Width of a picture in its own units; it is as wide as its column on the page."""
LEFT, RIGHT, TOP, BOTTOM = 66, 12, 12, 44
_LONGEST = 56
"""Number of letters of an axis' label."""
_LARGEST = 1e300
"""Size of the largest number that an axis reaches to; what lies beyond is drawn at its end."""
_WANTED = 5
"""Number of ticks that an axis has, about."""


@dataclass(frozen=True)
class Scale:
    """Maps values to places on an axis."""

    low: float
    high: float
    start: float
    """Place of `low`."""
    end: float
    """Place of `high`."""
    log: bool = False
    whole: bool = False
    """Whether all values are whole numbers, so that labels are too."""

    def __call__(self, value: float) -> float:
        """Place of a value, in units of the picture."""
        low, high = self._of(self.low), self._of(self.high)
        share = (self._of(value) - low) / (high - low) if high > low else 0.5
        return self.start + min(max(share, -0.05), 1.05) * (self.end - self.start)

    def shows(self, value: float | None) -> bool:
        """Whether a value has a place on this axis."""
        return value is not None and math.isfinite(value) and (not self.log or value > 0)

    def _of(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def ticks(self) -> list[float]:
        """Values at which the axis is labelled."""
        if self.log:
            return _log_ticks(self.low, self.high)
        return _even_ticks(self.low, self.high, self.whole)


def scale(values: Iterable[float | None], start: float, end: float, log: bool = False, pad: float = 0.04) -> Scale:
    """Make the scale that holds all values that are known."""
    known = [min(max(v, -_LARGEST), _LARGEST) for v in finite(values) if not log or v > 0]
    if not known:
        return Scale(1.0, 10.0, start, end, log) if log else Scale(0.0, 1.0, start, end)
    low, high = min(known), max(known)
    if log:
        room = max(math.log10(high / low) * pad, 0.05)
        return Scale(low / 10**room, high * 10**room, start, end, log=True)
    room = (high - low) * pad or abs(low) * 0.1 or 1.0
    return Scale(low - room, high + room, start, end, whole=all(v == round(v) for v in known))


def _nice(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * n for n in (1, 2, 2.5, 5, 10) if power * n >= step * 0.999)


def _log_ticks(low: float, high: float) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    decades = list(range(first, last + 1))
    if len(decades) >= 3:
        every = -(-len(decades) // (_WANTED + 1))
        return [10.0**n for n in decades[::every]]
    parts = [m * 10.0**n for n in range(first - 1, last + 1) for m in (1, 2, 5)]
    ticks = [v for v in parts if low <= v <= high]
    return ticks if len(ticks) > 1 or high - low < 1e-300 else _even_ticks(low, high)


def _even_ticks(low: float, high: float, whole: bool = False) -> list[float]:
    step = _nice((high - low) / _WANTED) if high > low else 1.0
    if whole:
        step = max(1.0, 5.0 if step == 2.5 else step)
    return [n * step for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def frame(x: Scale, y: Scale, x_label: str, y_label: str, bottom: float) -> list[str]:
    """Draw grid, ticks and labels of both axes."""
    parts = []
    for value in y.ticks():
        place = at(y(value))
        parts.append(f'<path class="g" d="M{LEFT} {place}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="e" x="{LEFT - 6}" y="{at(y(value) + 4)}">{short(value)}</text>')
    parts += x_axis(x, x_label, bottom)
    middle = at((y.start + y.end) / 2)
    parts.append(f'<text class="m" transform="translate(13 {middle})rotate(-90)">{escape(_cut(y_label))}</text>')
    return parts


def x_axis(x: Scale, label: str, bottom: float) -> list[str]:
    """Draw the axis below a picture."""
    parts = [f'<path class="a" d="M{at(x.start)} {at(bottom)}H{at(x.end)}"/>']
    ticks = ((at(x(value)), short(value)) for value in x.ticks())
    parts += [f'<text class="m" x="{place}" y="{at(bottom + 17)}">{text}</text>' for place, text in ticks]
    parts.append(f'<text class="m" x="{at((x.start + x.end) / 2)}" y="{at(bottom + 36)}">{escape(_cut(label))}</text>')
    return parts


def at(place: float) -> str:
    """Write a place with one digit after the point."""
    text = f"{place:.1f}"
    return text[:-2] if text.endswith(".0") else text


def _cut(label: str) -> str:
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"


def short(value: float) -> str:
    """Write the label of a tick."""
    if 1e3 <= abs(value) < 1e6 and value == round(value):
        return f"{value:,.0f}"
    digits, e, power = f"{value:.4g}".partition("e")
    return f"{digits}e{int(power)}" if e else digits
