"""Finds numbers that stand for missing values: one exact value, far from all others of its column."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flowgrad.measurements import Measure

SENTINEL_MEASURES = (
    Measure(
        "sentinel_columns",
        "count",
        "Columns of inputs in which one exact value, of a few rows but not most, lies at an end, farther from the next "
        "than three times the range of all others.",
    ),
    Measure(
        "sentinel_column",
        "count",
        "Number of the one with the largest `sentinel_variance`, from 0; it and what follows are not known where "
        "there is none.",
    ),
    Measure("sentinel_value", "input", "That value, as the model is given it."),
    Measure("sentinel_share", "share", "Rows with that value in that column."),
    Measure("sentinel_gap", "ratio", "Its distance from the next value, over the range of all others."),
    Measure(
        "sentinel_variance", "share", "Of the variance of that column, what tells only these rows from the others."
    ),
)
LEAST_ROWS, LEAST_SHARE, MOST_SHARE = 5, 0.005, 0.5
"""Number of rows that have the value at least, their share at least, and at most: what most rows have is usual."""
LEAST_VALUES = 10
"""Number of distinct other values from which on a column is an amount, not a code."""
LEAST_GAP = 3.0
"""Distance to the next value, in ranges of all others, from which on it is no amount of the same kind."""


def sentinel_figures(x: NDArray[np.float64], whole: bool = True) -> dict[str, float]:
    """Figures of `SENTINEL_MEASURES` by name; those of the one column are NaN where there is none.

    Args:
        x: rows, shape (rows, columns); NaN where missing.
        whole: whether columns of whole numbers alone are read, too; beside others they may be ids.

    >>> ages = np.arange(20.0, 80.0)
    >>> sentinel_figures(np.concatenate([ages, np.full(6, -999.0)])[:, None])["sentinel_value"]
    -999.0
    >>> sentinel_figures(ages[:, None])["sentinel_columns"]
    0.0
    """
    found = dict.fromkeys((measure.name for measure in SENTINEL_MEASURES), math.nan)
    places = [place for place, column in enumerate(x.T) if whole or (column != np.round(column)).any()]
    if not len(x) or not places:
        return found
    seen = {place: figures for place in places if (figures := _sentinel(x[:, place]))}
    found["sentinel_columns"] = float(len(seen))
    if seen:
        place = max(seen, key=lambda place: seen[place][-1])
        value, share, gap, variance = seen[place]
        found |= {
            "sentinel_column": float(place),
            "sentinel_value": value,
            "sentinel_share": share,
            "sentinel_gap": gap,
            "sentinel_variance": variance,
        }
    return found


def _sentinel(column: NDArray[np.float64]) -> tuple[float, float, float, float] | None:
    """Value, share of the rows, gap and share of the variance of a column's sentinel; None where it has none."""
    column = column[np.isfinite(column)]
    least = max(LEAST_ROWS, LEAST_SHARE * len(column))
    if len(column) < 2 * LEAST_ROWS:
        return None
    for value in (column.min(), column.max()):
        at = column == value
        if not least <= at.sum() <= MOST_SHARE * len(column):
            continue
        rest = column[~at]
        span, gap = np.ptp(rest), np.abs(rest - value).min()
        if span <= 0 or gap < LEAST_GAP * span or len(np.unique(rest)) < LEAST_VALUES:
            continue
        share = float(at.mean())
        between = share * (1 - share) * (rest.mean() - value) ** 2
        return float(value), share, float(gap / span), float(between / column.var())
    return None
