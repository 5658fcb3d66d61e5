"""Finds a class that was copied, among columns of few values, where equal rows are no surprise in themselves."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowgrad.gate.rows import Rows, row_codes

_CLASSES, _LEAST_ROWS = 10, 20
"""Number of classes at most, and of rows of one at least."""
_LIFT = 5.0
"""Ratio of full agreement of rows of one class to its prediction by halves, compared with rows of two classes, above
which it is open whether they were copied.
"""


def oversampled(rows: Rows) -> bool:
    """Whether rows of a class agree wholly far more often than their agreement in either half of the columns predicts.

    Rows of a class may be alike, and then agree more often in each half of the columns than rows of two classes do; the
    product of these two ratios predicts that of whole rows, where the halves depend on each other no more in the class
    than elsewhere. Copies agree wholly, and hardly more often in a half. A class of fixed patterns looks the same.

    Args:
        rows: columns, and the class last.
    """
    keys, (codes, _) = rows.keys[:-1], pd.factorize(rows.keys[-1])
    if not 2 <= int(codes.max(initial=-1)) + 1 <= _CLASSES or len(keys) < 2:
        return False
    order = np.argsort([-int(pd.factorize(column)[0].max()) for column in keys], kind="stable")
    parts = [row_codes(part) for part in (keys, keys[order[0::2]], keys[order[1::2]])]
    return any(_lifted(parts, codes == number) for number in range(int(codes.max()) + 1))


def _lifted(parts: list[NDArray[np.intp]], own: NDArray[np.bool_]) -> bool:
    if not _LEAST_ROWS <= own.sum() <= len(own) - _LEAST_ROWS:
        return False
    whole, one, other = (_ratio(codes, own) for codes in parts)
    return whole > _LIFT * max(one, 1.0) * max(other, 1.0)


def _ratio(codes: NDArray, own: NDArray[np.bool_]) -> float:
    """Ratio of the agreement of two rows of the class to that of one of it and one of the others, at least."""
    size = int(codes.max()) + 1
    inside, outside = (np.bincount(codes[part], minlength=size).astype(float) for part in (own, ~own))
    n, m = float(own.sum()), float((~own).sum())
    across = float(inside @ outside)
    # Two standard errors of a count more, so that few agreements across make no large ratio.
    return float((inside * (inside - 1)).sum()) / (n * (n - 1)) / ((across + 2 * (across + 1) ** 0.5) / (n * m))
