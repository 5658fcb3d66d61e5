"""Thins a series so that its extremes stay."""

from __future__ import annotations

import math
from collections.abc import Sequence

LEAST_POINTS = 5
"""Number of points below which first, last, lowest, highest, and the first that is not finite do not fit."""


def thinned(values: Sequence[float], most: int) -> list[int]:
    """Choose the places of `values` that are kept, in order: the first, the last, the lowest and the highest, and the
    first that is not finite; for the rest the lowest and highest of equal stretches.

    Args:
        values: the series.
        most: number of places, `LEAST_POINTS` at least.

    Raises:
        ValueError: `most` is less.

    >>> thinned([0, 1, 9, 1, 0, 2, -5, 2, 0, 1], 5)
    [0, 2, 6, 9]
    """
    if most < LEAST_POINTS:
        raise ValueError(f"most={most} must be {LEAST_POINTS} or more")
    count = len(values)
    if count <= most:
        return list(range(count))
    finite = [place for place in range(count) if math.isfinite(values[place])]
    kept = {0, count - 1}
    if len(finite) < count:
        kept.add(next(place for place in range(count) if not math.isfinite(values[place])))
    if finite:
        kept |= {min(finite, key=values.__getitem__), max(finite, key=values.__getitem__)}
    stretches = (most - len(kept)) // 2
    for number in range(max(stretches, 0)):
        part = finite[len(finite) * number // stretches : len(finite) * (number + 1) // stretches]
        if part:
            kept |= {min(part, key=values.__getitem__), max(part, key=values.__getitem__)}
    return sorted(kept)
