"""Tests whether sequences of tokens depend on the sequences that are to be predicted from them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowgrad.measurements import Measure

MOST_ROWS = 400
"""Number of rows that are compared with each other."""
LEAST_ROWS = 50
ORDERS = 99
"""Number of random orders of the targets that an agreement is compared with."""

SEQUENCE_MEASURES = (
    Measure("sequence_rows", "count", "Sequences whose tokens were compared with those of their targets."),
    Measure(
        "sequence_agreement",
        "correlation",
        "Mantel correlation of two likenesses of training sequences: of their tokens, and of their targets' tokens.",
    ),
    Measure("sequence_agreement_z", "ratio", "The same, in standard deviations of what targets in random order give."),
)


def sequence_figures(inputs: ArrayLike, targets: ArrayLike) -> dict[str, float]:
    """Say whether rows with like inputs have like targets (Mantel 1967, Cancer Research), by the tokens that they
    share.

    Args:
        inputs: tokens, whole numbers of shape (rows, length).
        targets: those to be predicted, shape (rows, other length).

    Returns:
        The figures of `SEQUENCE_MEASURES`; NaN where rows are too few or all alike.
    """
    x, y = (np.asarray(part)[:MOST_ROWS] for part in (inputs, targets))
    unknown = {measure.name: math.nan for measure in SEQUENCE_MEASURES}
    if len(x) < LEAST_ROWS or len(x) != len(y):
        return unknown
    one, other = _likeness(x), _likeness(y)
    if one is None or other is None:
        return unknown
    generator = np.random.default_rng(0)
    orders = [generator.permutation(len(x)) for _ in range(ORDERS)]
    found = float((one * other).sum())
    chance = np.array([float((one * other[np.ix_(order, order)]).sum()) for order in orders])
    return {
        "sequence_rows": float(len(x)),
        "sequence_agreement": found,
        "sequence_agreement_z": (found - float(chance.mean())) / max(float(chance.std(ddof=1)), 1e-12),
    }


def _likeness(rows: NDArray) -> NDArray[np.float64] | None:
    """Cosines between the rows' counts of tokens, off the diagonal, of mean 0 and length 1; None where all are alike.
    The token that stands most often at the ends of rows is padding and left out.
    """
    tokens, codes = np.unique(rows, return_inverse=True)
    codes = codes.reshape(rows.shape)
    counts = np.zeros((len(rows), len(tokens)))
    np.add.at(counts, (np.arange(len(rows))[:, None], codes), 1.0)
    ends = np.bincount(codes[:, -1], minlength=len(tokens))
    if ends.max() > 0.2 * len(rows):
        counts[:, ends.argmax()] = 0.0
    counts /= np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-12)
    like = counts @ counts.T
    apart = ~np.eye(len(rows), dtype=bool)
    like = np.where(apart, like - like[apart].mean(), 0.0)
    length = float(np.linalg.norm(like))
    return like / length if length > 1e-9 else None
