"""Judges the start of an embedding table: was it drawn, and do its rows and columns differ?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

LEAST_ROWS = 30
"""Number of rows from which the spread of lengths and directions can be distinguished from chance."""
LENGTHS = (0.4, 3.0)
"""Bounds of dim times the variance of squared lengths over their squared mean: 2 for normal entries, .8 for uniform
ones, 0 for rows scaled to one length, far more where rows were trained for different times."""
DEVIATIONS = 4.0
"""Standard deviations by which the spread of directions may differ from that of independent entries."""


def looks_drawn(rows: ArrayLike) -> bool:
    """Whether rows could be independent entries of one distribution around zero, as initialisers draw them.

    Trained vectors differ in length by how often each was trained; vectors scaled to one length do not differ at all;
    of whitened or orthogonal ones the second moments are more alike along all directions than chance leaves them
    (Marchenko & Pastur 1967: their variance is dim / rows of their squared mean). False as well where there are too few
    rows to tell. Rows of zeros do not count.

    Args:
        rows: shape (n, dim).

    >>> looks_drawn(np.random.default_rng(0).normal(0, 0.1, (200, 8)))
    True
    >>> looks_drawn(np.eye(40))
    False
    """
    every = np.asarray(rows, dtype=float)
    lengths = (every**2).sum(axis=1)
    drawn, lengths = every[lengths > 0], lengths[lengths > 0]
    if len(drawn) < LEAST_ROWS or drawn.shape[1] < 2 or not np.isfinite(drawn).all():
        return False
    count, dim = drawn.shape
    spread = dim * lengths.var() / lengths.mean() ** 2
    moments = drawn.T @ drawn / lengths.sum() * dim  # the identity, but for chance
    directions = ((moments - np.eye(dim)) ** 2).sum() / dim * count / dim
    allowed = max(0.1, DEVIATIONS * np.sqrt(4 / (dim * (dim + 1))))
    return bool(LENGTHS[0] < spread < LENGTHS[1] and max(0.1, 1 - allowed) < directions < 1 + allowed)


def column_spread(rows: ArrayLike) -> float:
    """Ratio that says how far the entries of a row differ, over all rows: their root mean square deviation from the
    mean of their row, over the root mean square entry. 0 where each row holds one value only; NaN for one column.

    >>> column_spread([[1.0, 1.0], [3.0, 3.0]])
    0.0
    >>> column_spread([[1.0, -1.0]])
    1.0
    """
    return _spread(np.asarray(rows, dtype=float), axis=1)


def row_spread(rows: ArrayLike) -> float:
    """Ratio that says how far rows differ: root mean square deviation of the entries from the mean row, over the root
    mean square entry. 0 where all rows are one; NaN for one row.

    >>> row_spread([[1.0, 2.0], [1.0, 2.0]])
    0.0
    """
    return _spread(np.asarray(rows, dtype=float), axis=0)


def _spread(rows: np.ndarray, axis: int) -> float:
    if rows.ndim != 2 or rows.shape[axis] < 2 or not rows.size or not np.isfinite(rows).all():
        return float("nan")
    size = float(np.abs(rows).max())
    if size == 0:
        return 0.0
    scaled = rows / size
    deviation = scaled - scaled.mean(axis=axis, keepdims=True)
    return float(np.sqrt((deviation**2).mean() / (scaled**2).mean()))
