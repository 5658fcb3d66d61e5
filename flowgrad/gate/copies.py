"""Counts equal rows, and says whether chance explains them.

Two rows are equal by chance where columns have few values. They are copies, or one thing that was recorded twice, where
the rows agree in columns that no other rows agree in. Three answers are given (`kind`):

- `chance`: so many equal rows arise among independent rows of such columns
- `copied`: some column alone has so many values that equal ones would hardly occur, whatever the columns' dependence
- `open`: no column says so alone, and yet rows agree wholly far more often than in half of their columns only
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowgrad.gate.rows import OTHER, Codes, Keys, Rows, columns_of, first_of, numbers_of, row_codes, rows_of

CHANCE, OPEN, COPIED = "chance", "open", "copied"
EXAMPLES = 3
"""Number of rows that are shown at most."""
_SLACK, _LEAST = 2.0, 5.0
"""Factor and number by which equal rows must exceed the allowance of one column's values: Poisson counts do so with a
probability below 1 in 1,000, and the allowance is an upper bound already.
"""
_LIFT, _GAP = 10.0, 3.0
"""Ratio of full agreement of rows to that of independent columns, and to agreement in half of the columns only, above
which it is open whether chance explains it.
"""
_SURE_LIFT = 1000.0
"""Ratio as `_LIFT` above which it is not open: rows hardly agree in half of the columns, and yet wholly."""
_LOOKED_AT = 64
"""Number of columns that chance is judged by, at most; evenly spaced."""
_FINEST = 1e-9
"""Share of a column's range below which two values differ by rounding, and show nothing of how finely it is written."""
_PARTS = 4
_HEAVY_ROWS, _HEAVY_SHARE = 5, 0.01
"""Number and share of distinct rows that hold a value from which it is no mark of a row."""
_MULTIPLE_OF = 20
"""Number of distinct rows from which it is no chance that each stands a multiple of 2 times: less than 1 in a
million.
"""


@dataclass(frozen=True)
class Copies:
    """Equal rows of one table."""

    rows: int
    distinct: int
    """Number of rows that differ from all others before them."""
    groups: int
    """Number of sets of two or more equal rows."""
    effective: float
    """Number of rows that a mean over these is worth, where equal rows carry the same information: n^2 / sum m^2 (Kish
    1965, Survey Sampling), m the times that each distinct row stands there.
    """
    multiple: int
    """Whole number that the times of every distinct row are a multiple of, beyond chance; else 1."""
    kind: str
    """Explanation of the equal rows: `chance`, `open` or `copied`; `chance` where no rows are equal."""
    examples: tuple[int, ...]
    """Places of the first rows that repeat an earlier one."""

    @property
    def copied(self) -> int:
        """Number of rows that repeat an earlier one."""
        return self.rows - self.distinct


@dataclass(frozen=True)
class Seen:
    """Rows of one part that also stand in another."""

    rows: int
    """Number of rows of the part that were checked."""
    count: int
    """Number of these rows that stand in the other part."""
    by_chance: float
    """Count that the values of a single column, or of half of the columns, allow among independent rows: an upper
    bound."""
    kind: str
    """The explanation of the equal rows: one of those that `Copies.kind` has."""
    examples: tuple[int, ...]
    """Places of the first of these rows."""
    within: float = math.nan
    """Share of the other part's rows that repeat an earlier one of it, where that was counted."""

    @property
    def share(self) -> float:
        """Share of the rows, `count` over `rows`, in [0, 1]."""
        return self.count / self.rows if self.rows else 0.0


def copies(table: Any) -> Copies:
    """Find equal rows of a data frame, an array of shape (rows, columns) or a sequence of columns.

    Args:
        table: of any types; see `flowgrad.gate.rows.rows_of`.
    """
    return copies_among(rows_of(columns_of(table)))


def copies_among(found: Rows) -> Copies:
    """Find equal rows as `copies` does, of rows that are numbers already."""
    codes = row_codes(found.keys)
    times = np.bincount(codes)
    n, distinct = len(codes), len(times)
    squares = float((times.astype(float) ** 2).sum())
    repeated = np.ones(n, dtype=bool)
    repeated[first_of(codes)] = False
    kind = CHANCE
    if distinct < n:
        kind = _kind(found, codes, np.zeros(n, dtype=bool), within=True)[0]
    return Copies(
        rows=n,
        distinct=distinct,
        groups=int((times > 1).sum()),
        effective=n * n / squares if n else 0.0,
        multiple=multiple_of(times),
        kind=kind,
        examples=tuple(np.flatnonzero(repeated)[:EXAMPLES].tolist()),
    )


def multiple_of(times: NDArray[np.intp]) -> int:
    """Whole number that the times of every distinct row are a multiple of, beyond chance; else 1."""
    return reduce(math.gcd, np.unique(times).tolist()) if len(times) >= _MULTIPLE_OF else 1


def seen(others: Any, table: Any) -> Seen:
    """Find rows of `table` that stand among `others`, which have the same columns."""
    before, after = columns_of(others), columns_of(table)
    return seen_among(rows_of(before, after), len(before[0]))


def seen_among(both: Rows, others: int) -> Seen:
    """Find rows as `seen` does, of rows that are numbers already, of which so many are the others."""
    codes = row_codes(both.keys)
    new = np.arange(len(codes)) >= others
    known = np.zeros(int(codes.max(initial=-1)) + 1, dtype=bool)
    known[codes[~new]] = True
    found = known[codes[new]]
    kind, by_chance = (CHANCE, 0.0)
    if found.any():
        kind, by_chance = _kind(both, codes, new, within=False)
    rows = int(new.sum())
    return Seen(rows, int(found.sum()), min(by_chance, rows), kind, tuple(np.flatnonzero(found)[:EXAMPLES].tolist()))


def _kind(found: Rows, codes: Codes, new: NDArray[np.bool_], *, within: bool) -> tuple[str, float]:
    """Explanation of equal rows, and how many of them chance allows."""
    columns = len(found.keys)
    places = np.unique(np.linspace(0, columns - 1, min(_LOOKED_AT, columns)).round().astype(int))
    recurring, extra = _excess(codes, new, within)
    allowed = _all_pairs(len(codes), new, within)
    first = first_of(codes)
    for place in places:
        chosen = _rare(found.keys[place][first])
        if not chosen.any():
            continue
        kept = chosen[codes]
        chance = _chance(found.keys[place][first][chosen], found.kinds[place])
        pairs = chance * _all_pairs(int(kept.sum()), new[kept], within)
        if int(recurring[chosen].sum()) > _SLACK * pairs + _LEAST:
            return COPIED, pairs
        if chosen.all():
            allowed = min(allowed, pairs)
    if extra > _SLACK * allowed + _LEAST:
        return OPEN, allowed
    return _by_halves(found.keys[places], codes, new, within, allowed)


def _rare(values: Keys) -> NDArray[np.bool_]:
    """Flags of distinct rows that hold a value that few others do: all but those such as the zeros of a sparse
    column.
    """
    codes, _ = pd.factorize(values)
    times = np.bincount(codes)[codes]
    return times < max(_HEAVY_ROWS, _HEAVY_SHARE * len(values))


def _by_halves(keys: Keys, codes: Codes, new: NDArray[np.bool_], within: bool, allowed: float) -> tuple[str, float]:
    """Whether rows that agree in half of the columns are as many as one expects where rows agree wholly by chance."""
    if len(keys) < 2:
        return CHANCE, allowed
    pairs = _all_pairs(len(codes), new, within)
    whole = _agreeing(codes, new, within)
    values = [pd.factorize(column)[0] for column in keys]
    independent = pairs * math.prod(_agreeing(value, new, within) / pairs for value in values)
    order = np.argsort([-int(value.max()) for value in values], kind="stable")
    halves = [_agreeing(row_codes(keys[order[start::2]]), new, within) - whole for start in (0, 1)]
    groups = int(_excess(codes, new, within)[0].sum())
    if whole >= _SURE_LIFT * independent and groups > _SLACK * min(halves) + _LEAST:
        return COPIED, min(allowed, min(halves))
    if whole >= _LIFT * independent + _LEAST and whole >= _GAP * min(halves) + _LEAST:
        return OPEN, min(allowed, min(halves))
    return CHANCE, allowed


def _all_pairs(rows: int, new: NDArray[np.bool_], within: bool) -> float:
    return rows * (rows - 1) / 2 if within else float(new.sum()) * float((~new).sum())


def _agreeing(codes: Codes | NDArray[np.int64], new: NDArray[np.bool_], within: bool) -> float:
    """Number of pairs of rows of one code."""
    size = int(codes.max()) + 1
    if within:
        times = np.bincount(codes, minlength=size).astype(float)
        return float((times * (times - 1)).sum() / 2)
    one, other = (np.bincount(codes[part], minlength=size).astype(float) for part in (~new, new))
    return float(one @ other)


def _excess(codes: Codes, new: NDArray[np.bool_], within: bool) -> tuple[NDArray[np.bool_], int]:
    """Flags of distinct rows that recur, and the number of rows that repeat one."""
    size = int(codes.max()) + 1
    if within:
        times = np.bincount(codes, minlength=size)
        return times > 1, len(codes) - int((times > 0).sum())
    one, other = (np.bincount(codes[part], minlength=size) for part in (~new, new))
    both = (one > 0) & (other > 0)
    return both, int(other[both].sum())


def _chance(distinct: Keys, kind: str) -> float:
    """Upper bound of the probability that two rows agree in a column without being one row twice: as often as distinct
    rows do, and no less than the column is written finely.

    Args:
        distinct: the column's values in distinct rows.
        kind: of the column.
    """
    pairs = max(len(distinct) * (len(distinct) - 1) / 2, 1.0)
    _, times = np.unique(distinct, return_counts=True)
    same = float((times.astype(float) * (times - 1)).sum() / 2)
    finely = 0.0 if kind == OTHER else _by_grid(np.sort(numbers_of(distinct, kind)))
    return min(1.0, max((same + 1) / pairs, finely))


def _by_grid(values: NDArray[np.float64]) -> float:
    """Probability that two values agree if each quarter of the sorted ones fills the grid of its smallest step: whole
    numbers often do, measured ones never.
    """
    quarters = [part for part in np.array_split(values, _PARTS) if len(part)]
    return sum((len(part) / len(values)) ** 2 / _levels(part) for part in quarters)


def _levels(values: NDArray[np.float64]) -> float:
    """Number of values that a column that has these can have, by the smallest step between two of them."""
    with np.errstate(over="ignore"):
        width, steps = float(values[-1] - values[0]), np.diff(values)
    steps = steps[steps > _FINEST * width]
    return width / float(steps.min()) + 1 if math.isfinite(width) and len(steps) else 1.0
