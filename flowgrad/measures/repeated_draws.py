"""Says whether numbers that came again in another batch look drawn at random, rather than laid out or kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowgrad.measurements import Measure

DRAW_MEASURES = (
    Measure(
        "draws_repeat_share",
        "share",
        "Training batches in which a part of the inputs that looks drawn at random (a column of ids, its rows of one "
        "of two targets, or noise) holds the numbers of the batch before, in any order, while most of the rest "
        "differs; of the part that does so most.",
    ),
    Measure(
        "draws_repeat_batches",
        "count",
        "Training batches that this rests on: of the first 64 of each epoch, those as large as the one before.",
    ),
    Measure(
        "draws_epoch_share",
        "share",
        "The same share, compared with the batch at the same place of the epoch before.",
    ),
    Measure("draws_epoch_batches", "count", "Training batches that this rests on, of the first 64 of each epoch."),
    Measure("draws_column", "value", "Place, from 0, of that part's tensor among the inputs."),
    Measure("draws_rows", "count", "Rows of that part in a batch."),
)

PLAIN, FIXED, DRAWN = "plain", "fixed", "drawn"
"""Kinds of numbers: those that come again in sound loops whatever the rows are (a constant, a range, few values);
others; and those that look drawn.
"""
LEAST_ROWS, LEAST_DISTINCT = 16, 8
"""Number of rows and of distinct ids from which a part is judged: draws of fewer come again by chance."""
LEAST_NUMBERS = 64
"""Number of values from which noise is told from other numbers."""
LEAST_TURNS = 0.2
"""Share of the changes from one row to the next that go up, and that go down, at least, where ids are in no order. Of
16 in random order two or fewer of 15 go down, or up, less than once in 10^7 (Eulerian numbers).
"""
SURE = 4.0
"""Number of standard errors within which the moments of noise lie."""


def kind_of_ids(values: NDArray[np.int64]) -> str:
    """Kind of a column of ids: `PLAIN`, `FIXED` or `DRAWN`.

    >>> kind_of_ids(np.arange(32)), kind_of_ids(np.arange(32) ** 2)
    ('plain', 'fixed')
    >>> kind_of_ids(np.random.default_rng(0).integers(0, 100, 32))
    'drawn'

    Args:
        values: shape (rows,), in the order of the rows.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if len(values) < LEAST_ROWS or len(distinct) < LEAST_DISTINCT:
        return PLAIN
    if len(np.unique(np.diff(distinct))) <= 2 and len(np.unique(counts)) <= 2:
        return PLAIN  # a range, as of positions, or one laid out again and again
    steps = np.sign(np.diff(values))
    turns = min((steps > 0).sum(), (steps < 0).sum()) / max((steps != 0).sum(), 1)
    tiled = counts[0] > 1 and bool((counts == counts[0]).all())
    return FIXED if tiled or turns < LEAST_TURNS else DRAWN


def kind_of_numbers(values: NDArray[np.float64]) -> str:
    """Kind of an input of real numbers: `DRAWN` where these have the moments of standard normal noise, or of noise that
    is uniform from 0 or from -1 to 1; else `FIXED`.

    >>> rng = np.random.default_rng(0)
    >>> [kind_of_numbers(values) for values in (rng.normal(size=400), rng.uniform(size=400), rng.exponential(size=400))]
    ['drawn', 'drawn', 'fixed']

    Args:
        values: of any shape.
    """
    flat = np.asarray(values, dtype=float).ravel()
    if len(flat) < LEAST_NUMBERS or not np.isfinite(flat).all() or len(np.unique(flat)) < 0.9 * len(flat):
        return FIXED
    normal = _near(flat.mean(), 0.0, 1.0, len(flat)) and _near(flat.var(), 1.0, 2.0, len(flat))
    if normal and _near(((flat - flat.mean()) ** 4).mean() / flat.var() ** 2, 3.0, 24.0, len(flat)):
        return DRAWN
    # Variances of the mean and of the variance of n uniform numbers are 1/12n and about 1/180n.
    for unit in (flat, (flat + 1) / 2):
        within = unit.min() >= 0 and unit.max() <= 1
        if within and _near(unit.mean(), 0.5, 1 / 12, len(unit)) and _near(unit.var(), 1 / 12, 1 / 180, len(unit)):
            return DRAWN
    return FIXED


def _near(value: float, expected: float, variance: float, numbers: int) -> bool:
    """Whether an estimate lies near what is expected, with this variance times its number of values."""
    return abs(value - expected) <= SURE * float(np.sqrt(variance / numbers))
