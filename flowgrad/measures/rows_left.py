"""Says whether validation rows that training saw had left it before they were validated."""

from __future__ import annotations

import math

from flowgrad.measurements import Measure

ROWS_LEFT_MEASURES = (
    Measure(
        "validation_at_once",
        "share",
        "Validation rows of an epoch that training saw in the same epoch, mean of the epochs; not known where no epoch "
        "was told.",
    ),
    Measure(
        "validation_left",
        "share",
        "Validation rows of an epoch that training saw in epochs before and not in this one, mean of the epochs.",
    ),
    Measure(
        "validation_rows_left",
        "flag",
        "1 where these are more than a few and far more than of copies, of which training sees as many in an epoch as "
        "of its other rows: the rows changed the part, as those of folds do; else 0.",
    ),
)
LEAST_SHARE = 0.05
"""Share of an epoch's validation rows that must have left training, to be more than a few."""
LEAST_ROWS = 20
"""Number of rows of an epoch, in the samples, that training saw; of 20 copies chance has none in training once in 10^6
where an epoch goes through half of the rows.
"""
MOST_AT_ONCE = 0.2
"""Share of what would be at once in training, if rows were copies, up to which they are none. Where an epoch is told
before its validation, rows of the next fold are both in the first epoch of each fold: a fifth in folds of five epochs.
"""


def rows_left_figures(rows: float, at_once: float, left: float, copies: float, epochs: int) -> dict[str, float]:
    """Figures of `ROWS_LEFT_MEASURES`; NaN where no epoch had validation rows.

    Args:
        rows: number of validation rows, summed over the epochs.
        at_once: those of them that training saw in the same epoch.
        left: those that it saw in epochs before, and not in this one.
        copies: number that would be at once if those seen were copies of any rows that were trained on.
        epochs: number of epochs with validation rows that training saw.

    >>> rows_left_figures(400, 0, 320, 256, 4)["validation_rows_left"]
    1.0
    >>> rows_left_figures(400, 256, 64, 256, 4)["validation_rows_left"]
    0.0
    """
    if not rows:
        return {measure.name: math.nan for measure in ROWS_LEFT_MEASURES}
    enough = left > LEAST_SHARE * rows and at_once + left >= LEAST_ROWS * epochs
    return {
        "validation_at_once": at_once / rows,
        "validation_left": left / rows,
        "validation_rows_left": float(enough and at_once <= MOST_AT_ONCE * copies),
    }
