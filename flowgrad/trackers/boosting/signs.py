"""Looks for signs, in the data alone, that a column was written down after the target.

A good prediction is no sign: yesterday's value explains .99 of many series, and is known in time. Neither sign occurs
in a column that is known in time, nor by chance on enough rows.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

MOST_CLASSES = 20
"""Distinct values of a target up to which they count as classes."""
LEAST_A_CLASS = 5
"""Number of rows of each class in training, and of rows with a value in validation, at least."""
LEAST_ROWS = 20
"""Number of rows with a value, in either part, for a column to lie on a line with the target."""
ROUNDING = 1e-9
"""Share of the target's variance that rounding to 32 bits may leave off the line. A price explains that of the next
day but for 1e-3 to 1e-7."""
_FIRST = 1000
"""Number of rows that are checked first: most columns have a value of two classes already there."""
CHANCE = 1e-6
"""Probability that rows at random are of one class."""

_Floats = NDArray[np.float64]


def copies_target(x: _Floats, y: _Floats, new_x: _Floats, new_y: _Floats, *, ordered: bool) -> bool:
    """Whether the column is the target: one value for each of up to 20 classes and the other way round, or a straight
    line, in both parts together.

    Args:
        x: the column, of the training rows; NaN where missing.
        y: their target.
        new_x: the column, of the validation rows.
        new_y: their target.
        ordered: whether the values are numbers, not codes of categories.

    >>> x = np.tile([3.0, 7.0], 50)
    >>> copies_target(x, x == 7.0, x, x == 7.0, ordered=True)
    True
    """
    column, target = np.concatenate([x, new_x]), np.concatenate([y, new_y]).astype(float)
    if len(np.unique(y)) <= MOST_CLASSES:
        return _recoded(column, target, y)
    return ordered and all(_on_a_line(*part) for part in ((x, y), (new_x, new_y), (column, target)))


def _recoded(column: _Floats, target: _Floats, trained: _Floats) -> bool:
    """Whether each value goes with one class, and each class with one value."""
    if np.isnan(column).any() or not all(_is_one_to_one(column[:n], target[:n]) for n in (_FIRST, len(column))):
        return False
    return int(np.unique(trained, return_counts=True)[1].min()) >= LEAST_A_CLASS


def _is_one_to_one(column: _Floats, target: _Floats) -> bool:
    (values, of_column), (classes, of_target) = (np.unique(part, return_inverse=True) for part in (column, target))
    return len(values) == len(classes) == len(np.unique(of_column * len(classes) + of_target))


def _on_a_line(x: _Floats, y: _Floats) -> bool:
    known = ~np.isnan(x)
    x, y = x[known], np.asarray(y, dtype=float)[known]
    if len(x) < LEAST_ROWS or not np.ptp(x) or not np.ptp(y):
        return False
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    return 1 - float(np.mean(x * y)) ** 2 < ROUNDING


def tells_by_presence(x: _Floats, y: _Floats, new_x: _Floats, new_y: _Floats) -> bool:
    """Whether rows in which the column has a value are all of one class, in both parts, and half of that class or more:
    a date of cancellation, say, that customers who left alone have.

    Args:
        x: the column, of the training rows; NaN where missing.
        y: their target.
        new_x: the column, of the validation rows.
        new_y: their target.

    >>> left = np.arange(400) % 4 == 0
    >>> date = np.where(left, 5.0, np.nan)
    >>> tells_by_presence(date, left, date, left)
    True
    """
    there, new_there = ~np.isnan(x), ~np.isnan(new_x)
    if there.all() or not there.any() or new_there.sum() < LEAST_A_CLASS or len(np.unique(y)) > MOST_CLASSES:
        return False
    one = y[there][0]
    if (y[there] != one).any() or (new_y[new_there] != one).any():
        return False
    share = float(np.mean(y == one))
    not_by_chance = there.sum() * math.log(share) < math.log(CHANCE) if share < 1 else False
    return bool(not_by_chance and np.mean(there[y == one]) >= 0.5 and np.mean(new_there[new_y == one]) >= 0.5)
