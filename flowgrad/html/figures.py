"""Holds the kinds of pictures that a page has, as plain data; `drawing` draws them and the JSON twin writes them down.

A number that is not known is None, or NaN within a series: it is left out of the drawing, and never drawn as zero.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

WIDE = 10
"""Ratio of the highest to the lowest value from which on an axis is logarithmic."""
MOST_LINES = 60
"""Number of lines of the table behind a picture; of longer ones, evenly spaced lines are shown."""

Cell = str | float | int | bool | None
"""Content of a cell: a text, a number, or None where it is not known."""


@dataclass(frozen=True)
class Table:
    """A table with a caption."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    """Text that says what is left out, and where it stands."""

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether each column holds numbers only, which are aligned to the right and sorted by size."""
        columns = list(zip(*self.rows, strict=True)) if self.rows else [()] * len(self.columns)
        return tuple(any(_is_number(c) for c in one) and all(_is_number(c, c is None) for c in one) for one in columns)


@dataclass(frozen=True)
class Figure(ABC):
    """A picture: its caption, what it shows in words, and the files that its figures are in."""

    title: str
    text: str
    """One or two sentences that tell a reader who does not see the picture what is in it."""
    files: tuple[str, ...]

    @abstractmethod
    def table(self) -> Table:
        """Make the table of the figures behind the picture."""


@dataclass(frozen=True)
class Series:
    """One line: its name and its points, and the band around it where there is one."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True)
class Mark:
    """A point that is singled out, with its label."""

    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Lines(Figure):
    """Lines over a common axis."""

    x_label: str
    y_label: str
    series: tuple[Series, ...]
    marks: tuple[Mark, ...] = ()
    log_x: bool = False
    log_y: bool = False
    x_range: tuple[float, float] | None = None
    """Range of the axis, which pictures that are compared share; None: that of the values."""
    y_range: tuple[float, float] | None = None
    kind: str = field(default="lines", init=False)

    def within(self, title: str, x_range: tuple[float, float], y_range: tuple[float, float]) -> Lines:
        """The same picture under another title, on axes that it shares with others."""
        wide = y_range[0] > 0 and y_range[1] > WIDE * y_range[0]
        return replace(self, title=title, x_range=x_range, y_range=y_range, log_y=wide)

    def table(self) -> Table:
        """One line an x, one column a series."""
        xs = sorted({x for one in self.series for x in one.x})
        held = [dict(zip(one.x, one.y, strict=True)) for one in self.series]
        kept = thinned(xs, MOST_LINES)
        rows = tuple((x, *(_known(by.get(x)) for by in held)) for x in kept)
        note = f"{len(kept)} of {len(xs)} lines" if len(kept) < len(xs) else ""
        return Table(self.title, (self.x_label, *(one.name for one in self.series)), rows, note)


@dataclass(frozen=True)
class Interval:
    """One difference, with its interval."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    verdict: str
    p: float | None = None


@dataclass(frozen=True)
class Intervals(Figure):
    """Differences with their intervals, one below the other, against a line at `reference`."""

    x_label: str
    rows: tuple[Interval, ...]
    reference: float | None = 0.0
    kind: str = field(default="intervals", init=False)

    def table(self) -> Table:
        """One line a difference."""
        rows = tuple((r.label, r.value, r.low, r.high, r.p, r.verdict) for r in self.rows)
        return Table(self.title, ("comparison", self.x_label, "low", "high", "p (adjusted)", "verdict"), rows)


@dataclass(frozen=True)
class Pair:
    """Two values of the same seed."""

    label: str
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Pairs(Figure):
    """Pairs of dots, a line a seed."""

    x_label: str
    before: str
    """Name of the first arm."""
    after: str
    """Name of the second arm."""
    pairs: tuple[Pair, ...]
    unit: str = "seed"
    kind: str = field(default="pairs", init=False)

    def table(self) -> Table:
        """One line a pair."""
        rows = tuple((one.label, one.before, one.after) for one in thinned(self.pairs, MOST_LINES))
        note = f"{len(rows)} of {len(self.pairs)} {self.unit}s" if len(rows) < len(self.pairs) else ""
        return Table(self.title, (self.unit, self.before, self.after), rows, note)


@dataclass(frozen=True)
class Cloud:
    """Points of one kind."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    labels: tuple[str, ...] = ()
    """Name of each point, where points have names that are shown."""
    rest: bool = False
    """Whether these are the points that no other cloud holds, which are drawn faintly."""


@dataclass(frozen=True)
class Region:
    """A rectangle of the plane; None where a side is open."""

    label: str
    x_low: float | None = None
    x_high: float | None = None
    y_low: float | None = None
    y_high: float | None = None


@dataclass(frozen=True)
class Scatter(Figure):
    """Points in a plane, in clouds."""

    x_label: str
    y_label: str
    clouds: tuple[Cloud, ...]
    region: Region | None = None
    x_range: tuple[float, float] | None = None
    """Range of the axis, which pictures that are compared share; None: that of the values."""
    y_range: tuple[float, float] | None = None
    log_x: bool = False
    log_y: bool = False
    kind: str = field(default="scatter", init=False)

    def table(self) -> Table:
        """One line a cloud, or a point where points have names."""
        if any(one.labels for one in self.clouds):
            named = tuple((n, c.name, x, y) for c in self.clouds for n, x, y in zip(c.labels, c.x, c.y, strict=True))
            rows = tuple(thinned(named, MOST_LINES))
            return Table(self.title, ("name", "kind", self.x_label, self.y_label), rows)
        columns = ("points", "count", *(f"{axis}, {part}" for axis in (self.x_label, self.y_label) for part in _PARTS))
        return Table(self.title, columns, tuple((c.name, len(c.x), *_spread(c.x), *_spread(c.y)) for c in self.clouds))


@dataclass(frozen=True)
class Heat(Figure):
    """A grid of colours: a line a row, a column a step or name."""

    x_label: str
    y_label: str
    value_label: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    """One tuple a row."""
    log: bool = False
    value_range: tuple[float, float] | None = None
    """Values of the palest and of the darkest shade; None: the lowest and the highest that are known."""
    framed: tuple[tuple[int, int], ...] = ()
    """Cells with a frame: (row, column)."""
    kind: str = field(default="heat", init=False)

    def table(self) -> Table:
        """Every value where there are few columns, else of each row the first, the middle and the last."""
        places = range(len(self.columns)) if len(self.columns) <= 12 else (0, len(self.columns) // 2, -1)
        kept = thinned(list(zip(self.rows, self.values, strict=True)), MOST_LINES)
        rows = tuple((name, *(_known(values[i]) for i in places)) for name, values in kept)
        note = f"{len(kept)} of {len(self.rows)} lines" if len(kept) < len(self.rows) else ""
        return Table(self.title, (self.y_label, *(self.columns[i] for i in places)), rows, note)


_PARTS = ("lowest", "median", "highest")


def thinned(items: Sequence, most: int) -> list:
    """Take at most so many items, evenly spaced, with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def finite(values: Iterable[float | None]) -> list[float]:
    """Values that are finite numbers, in their order."""
    return [v for v in values if v is not None and math.isfinite(v)]


def increasing(values: Sequence[float]) -> bool:
    """Whether each value is larger than the one before."""
    return all(a < b for a, b in pairwise(values))


def _spread(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    known = sorted(finite(values))
    return (known[0], known[len(known) // 2], known[-1]) if known else (None, None, None)


def _known(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _is_number(cell: Cell, or_unknown: bool = False) -> bool:
    return or_unknown or (isinstance(cell, int | float) and not isinstance(cell, bool))
