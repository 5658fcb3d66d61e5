"""Says whether sampled negatives leave out the pairs that validation asks for."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flowgrad.measurements import Measure

Floats = NDArray[np.float64]
Keys = NDArray[np.uint64]

SPARED_MEASURES = (
    Measure(
        "ids_held_out_pairs",
        "count",
        "Pairs of ids of validation with the higher of two targets that are no such pair in training: a sample.",
    ),
    Measure("ids_held_out_met", "count", "Of these pairs, those that stand in training with the lower target."),
    Measure(
        "ids_held_out_expected",
        "count",
        "How many would, if training paired the ids of its rows of the lower target at random.",
    ),
    Measure(
        "ids_negatives_again",
        "share",
        "Training rows of the lower target whose pair of ids comes again with it in the epoch: where negatives are "
        "drawn, some pairs are drawn twice.",
    ),
    Measure("ids_negatives_again_chance", "share", "What that would be if their ids were paired at random."),
    Measure("ids_positives_again", "share", "The same share of the rows of the higher target."),
)


def spared(
    negatives: tuple[Keys, Floats, Floats],
    positives: tuple[Keys, Floats],
    held_out: tuple[Keys, Floats],
    rows: float,
) -> dict[str, float]:
    """Compute `SPARED_MEASURES` from distinct pairs of ids.

    The number of times that a pair is drawn is Poisson's with the mean that the frequencies of its two ids give.

    >>> keys, none = np.arange(4, dtype=np.uint64), np.zeros(0)
    >>> found = spared((keys, np.ones(4), np.full(4, 0.25)), (none, none), (keys + 2, np.full(4, 0.25)), 4.0)
    >>> found["ids_held_out_met"], round(found["ids_held_out_expected"], 2)
    (2.0, 2.53)

    Args:
        negatives: of the training pairs with the lower target their keys, in order, how often each was met, and the
            product of the shares that its ids have in the training rows of the lower target; each of shape (n,).
        positives: keys, in order, and times of the training pairs with the higher target.
        held_out: keys of the validation pairs with the higher target, and the product of the shares as above.
        rows: training rows of the lower target, all that were counted.
    """
    keys, times, shares = negatives
    asked, chances = held_out
    new = ~_among(asked, positives[0])
    asked, chances = asked[new], chances[new]
    return {
        "ids_held_out_pairs": float(len(asked)),
        "ids_held_out_met": float(_among(asked, keys).sum()),
        "ids_held_out_expected": float((1 - np.exp(-rows * chances)).sum()),
        "ids_negatives_again": _again(times),
        "ids_negatives_again_chance": float((times * -np.expm1(-rows * shares)).sum() / times.sum()),
        "ids_positives_again": _again(positives[1]),
    }


def _again(times: Floats) -> float:
    """Share of the rows whose pair was met more than once."""
    return float(times[times > 1].sum() / times.sum()) if len(times) else math.nan


def _among(some: Keys, ordered: Keys) -> NDArray[np.bool_]:
    if not len(ordered):
        return np.zeros(len(some), dtype=bool)
    return ordered[np.minimum(np.searchsorted(ordered, some), len(ordered) - 1)] == some
