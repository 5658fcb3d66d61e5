"""Tells columns that are a running mean or sum of the target in which the row's own target stands.

A window that ends with the row before (`s.shift(1).rolling(7).mean()`) is known when the row is predicted; one that
ends with the row itself (`s.rolling(7).mean()`) is not. Which of the two a column is follows from its differences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

LONGEST = 60
"""Number of rows of the longest window that is tried."""
LEAST_ROWS = 30
"""Number of rows, at least, at which a window with the row's own target and one without differ."""
AGREEING = 0.9
"""Share of these rows at which the column has to be the former to rounding: the first rows of a window have a mean of
fewer.
"""
MOST_ROWS, MOST_GROUPINGS, MOST_COLUMNS = 2000, 8, 100
"""Number of rows that are looked at, of columns whose values are tried as the series that rows belong to, and of
columns that are tried as windows.
"""
_FIRST = 200
"""Number of rows of which half have to agree before all are looked at."""
_ROUNDING = 4 * float(np.finfo(np.float32).eps)


def hold_own_target(
    columns: Floats, ordered: Sequence[bool], target: Floats, groups: Places | None = None
) -> list[bool]:
    """Say of each column whether it is a window with the row's own target, in the order in which the rows are given:
    a mean or sum of up to `LONGEST` rows, of all rows so far, or one with weights that fall exponentially.

    Rows are taken as one series, as one of each group where these are known, and as one of each value of the columns of
    few values, such as a shop's number. Rows in another order say nothing, and no column is told then.

    Args:
        columns: shape (rows, columns); NaN where missing.
        ordered: whether the values of each column are numbers, not categories.
        target: shape (rows,).
        groups: number of the series of each row, shape (rows,); None where they are not known.

    >>> y = np.random.default_rng(0).normal(size=200)
    >>> mean = np.convolve(y, np.ones(3) / 3)[:200]
    >>> hold_own_target(np.stack([mean, np.roll(mean, 1)], 1), [True, True], y)
    [True, False]
    """
    found = [False] * columns.shape[1]
    numbers = [place for place, is_number in enumerate(ordered) if is_number][:MOST_COLUMNS]
    for rows, series in _orders(columns, groups):
        windows = _Windows(target[rows], _before(series))
        for place in numbers:
            found[place] = found[place] or windows.hold(columns[rows, place])
    return found


def _orders(columns: Floats, groups: Places | None) -> Iterator[tuple[Places, Floats]]:
    """Rows in the order of a series, and the series of each."""
    count = len(columns)
    first = np.arange(min(count, MOST_ROWS))
    yield first, np.zeros(len(first))
    if groups is not None:
        yield _by_series(groups.astype(float))
    tried = 0
    for column in columns.T:
        values = len(np.unique(column))
        if tried < MOST_GROUPINGS and 1 < values <= count / 10 and not np.isnan(column).any():
            tried += 1
            yield _by_series(column)


def _by_series(series: Floats) -> tuple[Places, Floats]:
    """Rows of whole series, those of most rows first, each in the order given."""
    _, of, counts = np.unique(series, return_inverse=True, return_counts=True)
    order = np.lexsort((of, -counts[of]))  # stable: rows of one series stay in their order
    rows = order[:MOST_ROWS]
    return rows, series[rows]


def _before(series: Floats) -> Places:
    """Number of rows before each that are of its series."""
    starts = np.flatnonzero(np.r_[True, series[1:] != series[:-1]])
    return np.arange(len(series)) - np.repeat(starts, np.diff(np.r_[starts, len(series)]))


class _Windows:
    """Differences that windows over a target have from one row to the next, with the row's own target and without."""

    def __init__(self, y: Floats, before: Places) -> None:
        self._y, self._last, self._before = y, _shifted(y, 1), before
        self._size = float(np.abs(y).max())
        lengths = [length for length in range(2, LONGEST + 1) if (before > length).sum() >= LEAST_ROWS]
        self._lengths = np.array(lengths, dtype=float).reshape(-1, 1)
        shape = (len(lengths), len(y))
        self._with = np.array([y - _shifted(y, length) for length in lengths]).reshape(shape)
        self._without = np.array([self._last - _shifted(y, length + 1) for length in lengths]).reshape(shape)
        self._known = (before >= 2) & (before > self._lengths)

    def hold(self, x: Floats) -> bool:
        """Whether differences of a column are those of a window that ends with the row itself."""
        if np.isfinite(x).sum() <= 2 * LEAST_ROWS or not np.ptp(x[np.isfinite(x)]):
            return False
        step = x - _shifted(x, 1)
        size = _ROUNDING * max(float(np.nanmax(np.abs(x))), self._size)
        return (
            self._of_rows(self._lengths * step, size * self._lengths)
            or self._of_rows(np.broadcast_to(step, self._with.shape), size * self._lengths)
            or self._so_far(x, step, size)
        )

    def _of_rows(self, told: Floats, size: Floats) -> bool:
        """Whether it is a window over one of the numbers of rows."""

        def agree(lengths: Any, rows: slice, **more: Any) -> Any:
            ends = self._with[lengths, rows], self._without[lengths, rows], self._known[lengths, rows]
            return _agree(told[lengths, rows], *ends, size=size[lengths], **more)

        likely = agree(slice(None), slice(_FIRST), least=0, share=0.5)
        return any(agree([length], slice(None))[0] for length in np.flatnonzero(likely))

    def _so_far(self, x: Floats, step: Floats, size: float) -> bool:
        """Whether it is a sum or a mean of all rows so far, or a mean with weights that fall exponentially."""
        y, last, earlier = self._y, self._last, _shifted(x, 1)
        known = (self._before >= 2) & np.isfinite(step)
        if _agree(step, y, last, known, size=size):
            return True
        moved = known & (np.abs(step) > 8 * size) & (np.abs(y - last) > 8 * size)
        if moved.sum() < LEAST_ROWS:
            return False
        counts = [np.divide(of - earlier, step, out=np.full(len(y), np.nan), where=moved) for of in (y, last)]
        exact = moved & np.r_[False, moved[:-1]]
        grow = [float((np.abs(np.diff(of, prepend=np.nan) - 1) < 1e-3)[exact].mean()) for of in counts if exact.any()]
        # Of a straight line, both do, as both have one weight throughout.
        if exact.sum() >= LEAST_ROWS and grow[0] > AGREEING > grow[1]:
            return True
        middles = [float(np.median(of[moved])) for of in counts]
        weights = [1 / middle if middle > 0 else np.nan for middle in middles]
        ways = [weight * (of - earlier) for weight, of in zip(weights, (y, last), strict=True)]
        return (
            middles[0] > 1
            and bool(_agree(step, ways[0], weights[0] * (last - earlier), known, size=size))
            and not _agree(step, ways[1], weights[1] * (y - earlier), known, size=size)
        )


def _shifted(values: Floats, rows: int) -> Floats:
    """The entry so many rows before each."""
    return np.r_[np.full(min(rows, len(values)), np.nan), values[: max(len(values) - rows, 0)]]


def _agree(
    told: Floats, with_own: Floats, without: Floats, known: NDArray[np.bool_], *, size: Any, least: int = LEAST_ROWS,
    share: float = AGREEING,
) -> Any:  # fmt: skip
    """Whether differences are those with the row's own target, at more than a share of the rows where those without are
    others; along the last axis.
    """
    with np.errstate(invalid="ignore"):
        differ = known & (np.abs(with_own - without) > 8 * size)
        agree = differ & (np.abs(told - with_own) <= size)
    count = differ.sum(-1)
    return (count >= least) & (agree.sum(-1) >= share * count)
