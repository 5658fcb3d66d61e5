"""Says whether full sequences come again with other targets, as histories do that are cut at their new end."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from flowgrad.measurements import Measure

LEAST_ROWS = 500
"""Number of full sequences below which nothing is said."""
LEAST_KINDS = 50
"""Number of different targets below which two rows have the same one too often by chance."""
_PADDED = 0.02
"""Share of the rows that begin, or end, with one token, above which that token may fill them up."""

HISTORY_MEASURES = (
    Measure("histories", "count", "Training rows of the first epoch with a full sequence of ids, and an id as target."),
    Measure(
        "histories_again",
        "share",
        "Of these, rows whose whole sequence others of the epoch have too, to the last id.",
    ),
    Measure(
        "histories_agree",
        "share",
        "Chance that two different rows of one such sequence have the same target, mean over these rows.",
    ),
)


def history_figures(keys: ArrayLike, targets: ArrayLike, first: ArrayLike, last: ArrayLike) -> dict[str, float]:
    """Figures of `HISTORY_MEASURES`; NaN where full sequences or different targets are too few.

    Args:
        keys: hash of each row's sequence, shape (rows,).
        targets: id that follows it, shape (rows,).
        first: first id of each sequence, shape (rows,).
        last: last id of each sequence, shape (rows,).

    A sequence that begins or ends with the id that most begin or end with may be filled up by it, and is left out:
    short ones are alike by chance.

    >>> rows = np.arange(2000)
    >>> figures = history_figures(rows // 20, rows, rows % 700, rows % 600)
    >>> figures["histories_again"], figures["histories_agree"]
    (1.0, 0.0)
    """
    keys, targets = np.asarray(keys), np.asarray(targets)
    full = np.ones(len(keys), dtype=bool)
    for ends in (np.asarray(first), np.asarray(last)):
        if len(ends):
            ids, counts = np.unique(ends, return_counts=True)
            if counts.max() > _PADDED * len(ends):
                full &= ends != ids[counts.argmax()]
    keys, targets = keys[full], targets[full]
    found = {"histories": float(len(keys)), "histories_again": math.nan, "histories_agree": math.nan}
    if len(keys) < LEAST_ROWS or len(np.unique(targets)) < LEAST_KINDS:
        return found
    _, code, times = np.unique(keys, return_inverse=True, return_counts=True)
    again = times[code] > 1
    found["histories_again"] = float(again.mean())
    if again.any():
        pairs, alike = np.unique(np.stack([code[again], targets[again]]), axis=1, return_counts=True)
        # Of the rows of a sequence with n rows, each of k with one target meets k - 1 alike among n - 1 others.
        found["histories_agree"] = float((alike * (alike - 1) / (times[pairs[0]] - 1)).sum() / again.sum())
    return found
