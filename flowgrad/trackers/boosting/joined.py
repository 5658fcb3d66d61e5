"""Finds columns that pandas joined to a frame by its index, where they were meant to stand row by row.

A split keeps the labels of the rows that it draws: 7, 3, 12. A Series made of an array has the labels 0, 1, 2. Assigned
to the frame, its values go to the rows of those labels: rows whose label is the number of rows or more get none, the
others get that of another row.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

LEAST_ROWS = 10
"""Number of rows with such labels, and of others, that are needed in training."""


def joined_by_index(train: pd.Series, held_out: pd.Series) -> bool:
    """Whether a column lacks its value in all rows whose label is the number of rows or more, in both parts, and in few
    of the others. By chance, or because time ended the column, it would have to end at the number of rows of each part.

    Args:
        train: the column in the training rows, with their labels.
        held_out: the same of the validation rows.
    """
    outside = [_outside(part) for part in (train, held_out)]
    if min(outside[0].sum(), (~outside[0]).sum()) < LEAST_ROWS:
        return False
    missing = [part.isna().to_numpy() for part in (train, held_out)]
    within = missing[0][~outside[0]].mean()
    return all(none[beyond].all() for none, beyond in zip(missing, outside, strict=True)) and bool(within < 0.5)


def _outside(part: pd.Series) -> np.ndarray:
    """Which rows have labels that the numbers of the rows lack; none where labels are no whole numbers."""
    if not pd.api.types.is_integer_dtype(part.index.dtype) or not part.index.is_unique:
        return np.zeros(len(part), dtype=bool)
    return np.asarray(part.index >= len(part)) | np.asarray(part.index < 0)
