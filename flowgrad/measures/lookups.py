"""Judges, by how often each row of a table was looked up, the ids that it was given."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

LEAST = 0.05
"""Quantile of the exposures of the rows seen that stands for the least of them: one odd row is not to decide."""
EDGE = 0.1
"""Share of the rows seen, those of the highest ids, that stand at the edge."""
NEW, KNOWN_ROWS = 0.2, 20
"""Share of lookups of rows met once below which nearly all rows that will come have come (Good 1953, Biometrika), and
number of rows from which a set of them is judged.
"""
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


def lookups_apart(one: ArrayLike, other: ArrayLike) -> dict[str, float]:
    """Say how far two kinds of lookups of one table take different rows, as those of items and of their negatives.

    Args:
        one: lookups of each row of the first kind, shape (rows,).
        other: of the second kind.

    Returns:
        `lookups_apart`, the share of the lookups of one kind whose row the other kind never took, where nearly all rows
        of that other kind have come; the larger one of both ways. `lookups_among`, the share of the rows taken by
        either kind that stand between the lowest and the highest of the other; the smaller one. `lookups_rows`, rows of
        the kind that is known. `lookups_evenness`, variance over mean of the other's lookups by row, over all rows
        between its lowest and highest: 1 where they are drawn evenly (Poisson). NaN where neither kind's rows have
        nearly all come.

    >>> found = lookups_apart([9, 0] * 40, [0, 1] * 40)
    >>> found["lookups_apart"], found["lookups_rows"]
    (1.0, 40.0)
    """
    found = dict.fromkeys(("lookups_apart", "lookups_among", "lookups_rows", "lookups_evenness"), float("nan"))
    kinds = [np.asarray(one, dtype=float), np.asarray(other, dtype=float)]
    rows = [np.flatnonzero(kind) for kind in kinds]
    if min(map(len, rows)) < KNOWN_ROWS:
        return found
    for own, its in (kinds, kinds[::-1]):
        share = float(its[own == 0].sum() / its.sum())
        if (own == 1).sum() < NEW * own.sum() and not share <= found["lookups_apart"]:
            between = its[np.flatnonzero(its)[0] : np.flatnonzero(its)[-1] + 1]
            found |= {
                "lookups_apart": share,
                "lookups_rows": float((own > 0).sum()),
                "lookups_evenness": float(between.var() / between.mean()),
            }
    among = [((own >= its[0]) & (own <= its[-1])).mean() for own, its in (rows, rows[::-1])]
    return found | {"lookups_among": float(min(among))} if found["lookups_apart"] >= 0 else found


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
