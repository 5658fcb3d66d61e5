"""Finds rows that belong together, such as the visits of one patient, by columns whose values repeat together.

Columns of the patient do not change from visit to visit, columns of the visit do. No whole row is then equal to
another, and yet the rows are fewer independent cases than they seem: all that is said of the patient's columns rests on
the patients.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowgrad.gate.rows import NUMBER, OTHER, WHOLE, Codes, Keys, Rows, first_of, row_codes
from flowgrad.lazy import LazyModule

spatial, stats = LazyModule("scipy.spatial"), LazyModule("scipy.stats")

Floats = NDArray[np.float64]

_MOST_COLUMNS, _MOST_SEEDS = 64, 5
"""Number of columns that are compared, evenly spaced, and of pairs of them that are followed up, at most."""
_MOST_ROWS = 4000
"""Number of rows among which columns are compared, drawn at random, and of units that are placed among others."""
_LEAST_VALUES = 10
"""Number of values of a column, and of units that recur, from which they are no levels of a factor."""
_LEAST_RECURRENCE = 1.1
"""Ratio of rows to values from which a column recurs at all."""
_TOGETHER = 10.0
"""Ratio of pairs of rows that agree in two columns to those of independent columns from which they repeat together."""
_LEAST_PAIRS = 20
"""Number of pairs of rows that agree from which that ratio is known."""
_CONSTANT = 0.8
"""Share of the agreeing pairs of rows that agree in one more column, where that column is one of the unit."""
_IDENTIFIED = 0.8
"""Share of the units that half of their columns tell apart, where the columns are no mere functions of each other."""
_FOLLOWS = 0.9
"""Share of a column's variance that the nearest unit in other columns says, from which the column follows from them."""
_FINEST = 1e-6
"""Width of a cell as a share of the middle half of a column: values in one differ by rounding alone."""
_LEAST_SHARE = 0.05
"""Share of the rows that must repeat a unit, those of the largest unit apart: that may be what stands for no value."""


class Units(NamedTuple):
    """Rows that belong together."""

    codes: Codes
    """Number of each row's unit, shape (rows,)."""
    columns: tuple[int, ...]
    """Places of the columns that do not change within a unit, and that do not follow from each other."""
    alike: float
    """Intraclass correlation of the target: share of its variance that lies between units, from 0 to 1, without what
    curves of the columns say of it. Rows that are alike in nothing but their columns, as in a designed experiment, are
    cases of their own.
    """
    effective: float
    """Number of independent rows that all rows are worth to a mean of the target (Kish 1965, Survey Sampling)."""

    @property
    def number(self) -> int:
        """Number of units."""
        return int(self.codes.max(initial=-1)) + 1


def units_among(rows: Rows) -> Units | None:
    """Find units: rows that agree in several columns that repeat together and that tell the units apart twice over.

    A column that recurs alone (a store, a day), pairs of few values, and columns that are computed from one column make
    no unit: no column but theirs says the same again.

    Args:
        rows: columns, and the target last.

    Returns:
        The units; None where there are none.
    """
    keys, target = _usable(rows), _numbers(rows.keys[-1], rows.kinds[-1])
    total = rows.keys.shape[1]
    chosen = np.arange(total)
    if total > _MOST_ROWS:
        chosen = np.sort(np.random.default_rng(0).choice(total, _MOST_ROWS, replace=False))
    sample = {place: column[chosen] for place, column in keys.items()}
    done: set[int] = set()
    for pair in _seeds(sample, len(chosen)):
        if done.issuperset(pair):
            continue
        columns = _grown(sample, pair)
        done.update(columns)
        codes = row_codes(np.array([keys[place] for place in columns], dtype=np.uint64))
        first = first_of(codes)
        values = {place: _numbers(rows.keys[place], rows.kinds[place])[first] for place in columns}
        told = _independent({place: keys[place][first] for place in columns if not _counts(values[place])})
        if _told_apart(codes, [keys[place] for place in told]):
            return Units(
                codes, tuple(sorted(told)), *_likeness(codes, target, _curves([values[place] for place in told]))
            )
    return None


def _usable(rows: Rows) -> dict[int, Keys]:
    """Columns of many values that recur, by place, as numbers in the order of the values."""
    found = {}
    total = rows.keys.shape[1]
    for place in range(len(rows.keys) - 1):
        column = _ordered(rows.keys[place], rows.kinds[place])
        if _LEAST_VALUES <= len(pd.unique(column)) <= total / _LEAST_RECURRENCE:
            found[place] = column
    places = np.array(list(found), dtype=int)
    if len(places) > _MOST_COLUMNS:
        places = places[np.unique(np.linspace(0, len(places) - 1, _MOST_COLUMNS).round().astype(int))]
    return {int(place): found[int(place)] for place in places}


def _ordered(column: Keys, kind: str) -> Keys:
    """Numbers of a column's values, in their order; numbers that differ by rounding alone have one."""
    values = column.view(np.float64) if kind == NUMBER else column.view(np.int64).astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = np.quantile(finite, (0.25, 0.75)) if len(finite) else (0.0, 0.0)
    width = _FINEST * (high - low)
    if kind == NUMBER and np.isfinite(width) and width > np.spacing(max(abs(low), abs(high))):
        with np.errstate(over="ignore"):
            values = np.round((values - low) / width) + 0.0
    return np.unique(values, return_inverse=True)[1].astype(np.uint64)


def _seeds(sample: dict[int, Keys], total: int) -> list[tuple[int, int]]:
    """Pairs of columns that repeat together, those first that do so most."""
    pairs = total * (total - 1) / 2
    alone = {place: _agreeing(column) for place, column in sample.items()}
    found = []
    for one, other in combinations(sample, 2):
        both = _agreeing(_joined(sample[one], sample[other]))
        expected = alone[one] * alone[other] / max(pairs, 1.0)
        if both >= _LEAST_PAIRS and both >= _TOGETHER * expected:
            found.append((both / expected, one, other))
    return [(one, other) for _, one, other in sorted(found, reverse=True)]


def _joined(one: Keys, other: Keys) -> Keys:
    """One number for each pair of values, neither of them larger than 32 bits."""
    joined: Keys = (one << np.uint64(32)) | other
    return joined


def _agreeing(column: Keys) -> float:
    """Number of pairs of rows that agree."""
    times = np.bincount(pd.factorize(column)[0]).astype(float)
    return float((times * (times - 1)).sum() / 2)


def _grown(sample: dict[int, Keys], pair: tuple[int, int]) -> list[int]:
    """The columns that do not change where both of the pair do not."""
    columns = list(pair)
    codes = pd.factorize(_joined(sample[pair[0]], sample[pair[1]]))[0].astype(np.uint64)
    agreeing = _agreeing(codes)
    for place, column in sample.items():
        joined = _joined(codes, column)
        if place not in pair and _agreeing(joined) >= _CONSTANT * agreeing:
            columns.append(place)
            codes = pd.factorize(joined)[0].astype(np.uint64)
            agreeing = _agreeing(codes)
    return columns


def _counts(values: Floats) -> bool:
    """Whether units are numbered by a column, which is no measure of theirs, such as of a user."""
    if len(np.unique(values)) < len(values) or (values != np.round(values)).any():
        return False
    return bool(np.ptp(values) < 2 * len(values))


def _told_apart(codes: Codes, told: list[Keys]) -> bool:
    """Whether each of two halves of the columns tells units apart, and enough of these recur.

    Args:
        codes: unit of each row.
        told: columns, those of the fewest values first.
    """
    times = np.bincount(codes)
    recurring = int((times > 1).sum())
    repeated = len(codes) - len(times) - (int(times.max()) - 1)
    if recurring < _LEAST_VALUES or repeated < _LEAST_SHARE * len(codes) or len(told) < 2:
        return False
    # One half has the column of the most values, the other the next two, and so on.
    fair = [place % 4 in (0, 3) for place in range(len(told))][::-1]
    again = times[codes] > 1
    for side in (True, False):
        part = row_codes(np.array([column for column, one in zip(told, fair, strict=True) if one == side]))
        found = len(np.unique(part[again])), len(np.unique(part))
        if found[0] < _IDENTIFIED * recurring or found[1] < _IDENTIFIED * len(times):
            return False
    return True


def _independent(units: dict[int, Keys]) -> list[int]:
    """Places of the columns that follow from no others before them, those of the fewest values first: a product of two
    columns has more values than each.

    Args:
        units: place of each column -> its value in each unit.
    """
    if not units:
        return []
    chosen = np.arange(len(next(iter(units.values()))))
    if len(chosen) > _MOST_ROWS:
        chosen = np.sort(np.random.default_rng(0).choice(len(chosen), _MOST_ROWS, replace=False))
    order = sorted(units, key=lambda place: len(pd.unique(units[place])))
    kept: list[int] = []
    ranks: list[Floats] = []
    for place in order:
        own = _ranks(units[place][chosen].astype(float))
        if ranks and _follows(own, np.column_stack(ranks)):
            continue
        kept.append(place)
        ranks.append(own)
    return kept


def _ranks(values: Floats) -> Floats:
    """Ranks of the values, from 0 to 1."""
    return np.asarray((stats.rankdata(values) - 0.5) / len(values))


def _follows(own: Floats, others: Floats) -> bool:
    """Whether units that are near each other in the other columns have about the same value in this one."""
    nearest = spatial.cKDTree(others).query(others, k=2)[1][:, 1]
    return bool(((own - own[nearest]) ** 2).mean() <= (1 - _FOLLOWS) * own.var())


def _numbers(column: Keys, kind: str) -> Floats:
    """A column as numbers; of values with names, whether it is the most frequent one. What is missing is 0."""
    if kind == OTHER:
        codes = pd.factorize(column)[0]
        return np.asarray(codes == np.bincount(codes).argmax(), dtype=float)
    values = column.view(np.int64).astype(float) if kind == WHOLE else column.view(np.float64)
    return np.nan_to_num(values, posinf=0.0, neginf=0.0)


def _curves(columns: list[Floats]) -> Floats:
    """Powers of the units' values and of their ranks, those of the lowest order first, and a quarter as many as units
    at most; shape (units, powers).
    """
    ranks = [_ranks(column) - 0.5 for column in columns]
    scaled = [(column - column.mean()) / (column.std() or 1.0) for column in columns]
    powers = [scaled, ranks, [column**2 for column in scaled], [column**2 for column in ranks]]
    powers.append([column**3 for column in ranks])
    return np.column_stack([column for part in powers for column in part][: max(len(ranks[0]) // 4, 1)])


def _likeness(codes: Codes, target: Floats, curves: Floats) -> tuple[float, float]:
    """Intraclass correlation of the target, by one-way analysis of variance, and the rows that all are worth.

    Args:
        codes: unit of each row.
        target: shape (rows,).
        curves: what is said of the units already, shape (units, curves).
    """
    times = np.bincount(codes).astype(float)
    total, units = float(len(codes)), float(len(times))
    means = np.bincount(codes, weights=target) / times
    weights = np.sqrt(times)
    design = np.column_stack([np.ones(len(times)), curves]) * weights[:, None]
    left = means * weights - design @ np.linalg.lstsq(design, means * weights, rcond=None)[0]
    between = float(left @ left) / (units - design.shape[1])
    within = float(((target - means[codes]) ** 2).sum()) / (total - units)
    size = float((times**2).sum()) / total
    typical = (total - size) / (units - 1)
    scale = between + (typical - 1) * within
    alike = min(max((between - within) / scale, 0.0), 1.0) if scale > 0 else 0.0
    return alike, total / (1 + (size - 1) * alike)
