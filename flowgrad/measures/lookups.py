"""Judges, by how often each row of a table was looked up, the ids that it was given."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

LEAST = 0.05
"""Quantile of the exposures of the rows seen that stands for the least of them: one odd row is not to decide."""
EDGE = 0.1
"""Share of the rows seen, those of the highest ids, that stand at the edge."""
STEADY = 0.98
"""Share of neighbouring rows whose exposures do not rise with the id, from which ids are places in a sequence."""


def lookup_figures(exposures: ArrayLike, epochs: float) -> dict[str, float]:
    """Compute figures on which rows were looked up, and how often.

    Args:
        exposures: lookups of each row, shape (rows,).
        epochs: passes over the data in that time; 0 where they are not known.

    Returns:
        `seen_rows`, rows ever looked up; `seen_share`, over all rows; `bound_share`, the highest id looked up (from 1)
        over all rows; `filled_share`, the share of the rows up to there that were looked up; `edge_exposures`, mean
        exposures of the tenth of the rows seen with the highest ids, over the mean of all seen; `least_exposures`,
        lookups in an epoch of the row seen that stands at the lowest twentieth; `by_place`, 1 where exposures do not
        rise with the id, as of places in a sequence. NaN where nothing was seen or epochs are not known.

    >>> lookup_figures([8, 8, 0, 0], 2)["seen_share"], lookup_figures([8, 8, 0, 0], 2)["least_exposures"]
    (0.5, 4.0)
    """
    counts = np.asarray(exposures, dtype=float)
    seen = np.flatnonzero(counts > 0)
    if not len(seen):
        names = ("seen_rows", "seen_share", "bound_share", "filled_share", "edge_exposures", "least_exposures")
        return dict.fromkeys((*names, "by_place"), float("nan"))
    values = counts[seen]
    bound = int(seen[-1]) + 1
    edge = values[-max(1, round(EDGE * len(seen))) :]
    least = np.quantile(values, LEAST, method="lower") / epochs if epochs > 0 else float("nan")
    filled = len(seen) / bound
    return {
        "seen_rows": float(len(seen)),
        "seen_share": len(seen) / len(counts),
        "bound_share": bound / len(counts),
        "filled_share": filled,
        "edge_exposures": float(edge.mean() / values.mean()),
        "least_exposures": float(least),
        "by_place": float(len(seen) > 1 and filled > STEADY and (np.diff(values) <= 0).mean() >= STEADY),
    }


def spread_over_batches(distinct: float, drawn: float, batches: float, exposures: ArrayLike) -> float:
    """Ratio of a batch's distinct rows to those of a batch of as many shuffled lookups; 1 where they are shuffled.

    Args:
        distinct: distinct rows of each of some batches, summed up.
        drawn: lookups of these batches, summed up.
        batches: how many they are.
        exposures: lookups of each row in all, shape (rows,).

    Returns:
        Ratio, NaN where no batch was sampled.

    >>> round(spread_over_batches(2.0, 8.0, 1.0, [10, 10, 10, 10, 10, 10, 10, 10]), 2)
    0.38
    """
    counts = np.asarray(exposures, dtype=float)
    total = counts.sum()
    if not batches or not total:
        return float("nan")
    expected = (1 - (1 - counts / total) ** (drawn / batches)).sum()
    return float(distinct / batches / expected) if expected > 0 else float("nan")
