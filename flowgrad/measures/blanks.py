"""Finds zeros that stand for what was never said, among targets that a loss compares entry by entry."""

from __future__ import annotations

import math

import numpy as np

from flowgrad.measurements import Measure

BLANK_MEASURES = (
    Measure(
        "blank_share",
        "share",
        "Of targets of several numbers a row, of which some are 0: those that are, the median of the looks.",
    ),
    Measure(
        "blank_distance",
        "ratio",
        "Mean of the other targets over their standard deviation: how far from 0 they lie. Not known where they are "
        "all the same number, or of both signs, or most often the one nearest to 0, as counts are.",
    ),
    Measure(
        "blanks_counted",
        "share",
        "Share of these looks at which the loss is a squared or absolute error of all entries, zeros among them.",
    ),
)
LEAST_WIDTH = 8
"""Numbers of a row of targets from which on they are entries of a table, not a few quantities."""
OFTEN = 0.3
"""Share of the others that are the one nearest to 0 from which on they begin beside it; of five even grades: .2."""


def blank_facts(outputs: np.ndarray, targets: np.ndarray | None) -> dict[str, float]:
    """Compute share and distance of `BLANK_MEASURES` of one batch; empty where it has no such targets.

    >>> ratings = np.zeros((2, 8)); ratings[0, :4] = [4, 5, 3, 4]
    >>> {name: round(float(value), 2) for name, value in blank_facts(ratings, ratings).items()}
    {'blank': 0.75, 'blank_distance': 5.66}
    """
    if targets is None or targets.ndim != 2 or targets.shape != outputs.shape or targets.shape[1] < LEAST_WIDTH:
        return {}
    told = targets[targets != 0]
    if len(told) in (0, targets.size):
        return {}
    one_sided = bool((told > 0).all() or (told < 0).all())
    sizes = np.abs(told)
    spread = float(sizes.std()) if one_sided and (sizes == sizes.min()).mean() < OFTEN else 0.0
    return {
        "blank": 1.0 - len(told) / targets.size,
        "blank_distance": float(sizes.mean()) / spread if spread > 0 else math.nan,
    }
