"""Says whether a class that a loss leaves out stands among the others, as one of them would."""

from __future__ import annotations

import math

import numpy as np

from flowgrad.measurements import Measure

LEFT_OUT_MEASURES = (
    Measure(
        "class_left_out",
        "value",
        "Class number that the loss leaves out at all looks that decide, of targets of several places a row.",
    ),
    Measure(
        "left_out_within",
        "share",
        "Share of the places between the first and the last other target of each row that have this class, the median "
        "of the looks. Not known where inputs are, or where the others stand at places that all have one input, as "
        "tokens that a masked model guesses do.",
    ),
)
MASKED, ELSEWHERE = 0.5, 0.05
"""Share of the places that count which have one input, at least, and share of the others that have it, at most, where
tokens are masked to be guessed.
"""


def left_out_within(targets: np.ndarray, inputs: np.ndarray | None, number: int) -> float:
    """Compute `left_out_within` of one batch; NaN where it cannot be told.

    Args:
        targets: class numbers, shape (rows, places).
        inputs: of as many places, or None.
        number: class that is left out.

    >>> tags = np.array([[0, 2, 0, 3, 1, 0]])
    >>> left_out_within(tags, np.array([[5, 6, 7, 8, 9, 0]]), 0)
    0.25
    >>> left_out_within(tags, np.array([[5, 3, 7, 3, 3, 0]]), 0)
    nan
    """
    if targets.ndim != 2 or inputs is None or inputs.shape != targets.shape:
        return math.nan
    others = targets != number
    if not others.any() or others.all():
        return math.nan
    given, counts = np.unique(inputs[others], return_counts=True)
    mark = given[counts.argmax()]
    if counts.max() >= MASKED * others.sum() and (inputs[~others] == mark).mean() <= ELSEWHERE:
        return math.nan
    before = others.cumsum(1) > 0
    behind = others[:, ::-1].cumsum(1)[:, ::-1] > 0
    inside = before & behind
    return float((inside & ~others).sum() / inside.sum())
