"""Distinguishes rows of one recurring thing, such as a store or a user, from copies of one row, by their targets."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowgrad.gate.copies import multiple_of
from flowgrad.gate.rows import Codes, Rows, first_of, row_codes

_FEW = 0.1
"""Ratio of distinct targets to rows up to which equal targets are no sign of a copy."""
_ALIKE = 10.0
"""Ratio, for a target of more values, of equal targets among rows of equal columns to those among all rows. Rows of one
store have alike targets, and copies always have.
"""
_MIXED = 0.01
"""Share of the sets of equal rows in which targets differ above which the rows are a recurring thing, and no copies."""
_OF_EXPECTED = 0.5
"""Ratio of that share to the one expected where the target is independent of the columns: of a rare class, few sets
have both.
"""
_OFTEN = 5.0
"""Number of rows a distinct row, in each class, from which these may be things of one target each that recur often.
Oversampling leaves a class as it is, and a bootstrap has 1.6.
"""


def targets_differ(rows: Rows) -> bool:
    """Whether rows of equal columns have targets of their own, of so few values that these agree by chance.

    Args:
        rows: columns, and the target last.
    """
    codes, whole = row_codes(rows.keys[:-1]), row_codes(rows.keys)
    first = first_of(whole)
    times = np.bincount(codes)
    recurring = times > 1
    if not recurring.any():
        return False
    target = pd.factorize(rows.keys[-1])[0]
    counts = np.bincount(target)
    if len(counts) > _FEW * len(target) and not _agree_by_chance(codes, whole, target[first]):
        return False
    mixed = (np.bincount(codes[first], minlength=len(times))[recurring] > 1).mean()
    return bool(mixed > min(_MIXED, _OF_EXPECTED * _expected(times[recurring], counts / len(target))))


def things_met_again(rows: Rows) -> bool:
    """Whether equal rows are recurring things rather than copies: their targets differ, or each class has things that
    are met often; and not all recur a multiple of 2 times, as rows written twice do.

    Args:
        rows: of two parts below each other; columns, and the target last.
    """
    codes = row_codes(rows.keys)
    if multiple_of(np.bincount(codes)) > 1:
        return False
    return targets_differ(rows) or _often_met(codes, pd.factorize(rows.keys[-1])[0])


def _often_met(codes: Codes, target: NDArray[np.intp]) -> bool:
    times, distinct = np.bincount(target), np.bincount(target[first_of(codes)])
    large = times >= _OFTEN
    often = times[large] >= _OFTEN * distinct[large]
    return bool(times.sum() >= _OFTEN * distinct.sum() and often.all())


def _agree_by_chance(codes: Codes, whole: Codes, targets: NDArray[np.intp]) -> bool:
    """Whether rows of equal columns have equal targets no more often than things with targets of their own may.

    Args:
        codes: one a set of equal columns, shape (rows,).
        whole: one a set of equal columns and target, shape (rows,).
        targets: of the distinct rows.
    """
    alike = _pairs(targets) / max(len(targets) * (len(targets) - 1) / 2, 1.0)
    return _pairs(whole) <= _ALIKE * alike * _pairs(codes)


def _pairs(codes: NDArray[np.intp]) -> float:
    times = np.bincount(codes).astype(float)
    return float((times * (times - 1)).sum() / 2)


def _expected(times: NDArray[np.intp], shares: NDArray[np.float64]) -> float:
    """Share of sets of so many rows that hold several targets, where each row draws one of these shares."""
    sizes, count = np.unique(times, return_counts=True)
    pure = np.array([float((shares**size).sum()) for size in sizes])
    return float((count * (1 - pure)).sum() / count.sum())
