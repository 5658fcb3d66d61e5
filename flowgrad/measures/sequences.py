"""Tests sequences of tokens: whether targets belong to them, and whether outputs see the tokens that they predict."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowgrad.measurements import Measure

MOST_ROWS = 400
"""Number of rows that are compared with each other."""
LEAST_ROWS = 50
LEAST_KINDS = 10
"""Number of different target tokens below which rows are not told apart by which of them they have."""
_PADDED = 0.2
"""Share of the rows that end in one token, above which it is taken for padding."""
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

PLACE_MEASURES = (
    Measure("places_looks", "count", "Looks at which the targets were the tokens of the input one place later."),
    Measure(
        "places_loss", "loss", "Mean cross-entropy of the last 3 of them, at all places but the first and the last."
    ),
    Measure("last_place_loss", "loss", "The same at the last place, whose target stands nowhere in the input."),
    Measure("last_place_z", "ratio", "How much higher the latter is, in standard errors by its tokens' losses."),
)
LEAST_PLACES, LATEST = 4, 3
"""Number of places of a sequence below which the last one is not compared, and number of looks that are."""


def place_losses(scores: NDArray, targets: NDArray, inputs: NDArray) -> dict[str, float]:
    """Compare the loss of the last place of a sequence with that of the others, where targets are the next tokens.

    Args:
        scores: outputs, shape (positions, classes), in the order of `targets`.
        targets: tokens to be predicted, shape (rows, length), or (length, rows).
        inputs: tokens given, of the same shape.

    Returns:
        `last_place` and `other_places`, mean cross-entropies, and `last_place_error`, the standard error of the former;
        nothing where targets are not the next tokens of whole sequences, or where rows may end in padding, whose loss
        may be left out of what is trained.
    """
    if targets.shape != inputs.shape or targets.ndim != 2 or targets.min() < 0 or targets.max() >= scores.shape[1]:
        return {}
    time = next((axis for axis in (1, 0) if _is_next(targets, inputs, axis)), None)
    if time is None or targets.shape[1 - time] < 2 or _may_be_padded(np.moveaxis(targets, time, 1)):
        return {}
    highest = scores.max(1, keepdims=True)
    total = highest[:, 0] + np.log(np.exp(scores - highest).sum(1))
    losses = np.moveaxis((total - scores[np.arange(len(scores)), targets.reshape(-1)]).reshape(targets.shape), time, 1)
    last = losses[:, -1]
    return {
        "last_place": float(last.mean()),
        "other_places": float(losses[:, 1:-1].mean()),
        "last_place_error": float(last.std(ddof=1)) / math.sqrt(len(last)),
    }


def place_figures(last: ArrayLike, others: ArrayLike, errors: ArrayLike) -> dict[str, float]:
    """Put the last looks together.

    Args:
        last: mean loss of the last place at each look, shape (looks,).
        others: that of the places between the first and the last.
        errors: standard error of the first.

    Returns:
        The figures of `PLACE_MEASURES`; NaN of too few looks.

    >>> found = place_figures([3, 3, 3, 3], [3, 1, 1, 1], [0.1, 0.1, 0.1, 0.1])
    >>> found["places_loss"], found["last_place_loss"], round(found["last_place_z"])
    (1.0, 3.0, 35)
    """
    found = {measure.name: math.nan for measure in PLACE_MEASURES} | {"places_looks": float(len(np.asarray(last)))}
    if found["places_looks"] < LATEST:
        return found
    one, other, error = (np.asarray(part, float)[-LATEST:] for part in (last, others, errors))
    whole = math.sqrt(float(error @ error)) / LATEST
    return found | {
        "places_loss": float(other.mean()),
        "last_place_loss": float(one.mean()),
        "last_place_z": float((one - other).mean()) / max(whole, 1e-12),
    }


def _is_next(targets: NDArray, inputs: NDArray, axis: int) -> bool:
    one, other = np.moveaxis(targets, axis, 0), np.moveaxis(inputs, axis, 0)
    # Of tokens that are all one, each is the next of any other.
    return len(one) >= LEAST_PLACES and np.array_equal(one[:-1], other[1:]) and not np.array_equal(one, other)


def _may_be_padded(targets: NDArray) -> bool:
    """Whether one token stands at the end of many rows, or many rows end in one token twice; shape (rows, length)."""
    ends = np.unique(targets[:, -1], return_counts=True)[1]
    return bool(ends.max() > _PADDED * len(targets) or (targets[:, -1] == targets[:, -2]).mean() > _PADDED)


def sequence_figures(inputs: ArrayLike, targets: ArrayLike) -> dict[str, float]:
    """Say whether rows with like inputs have like targets (Mantel 1967, Cancer Research), by the tokens that they
    share.

    Args:
        inputs: tokens, whole numbers of shape (rows, length).
        targets: those to be predicted, shape (rows, other length).

    Returns:
        The figures of `SEQUENCE_MEASURES`; NaN where rows are too few or all alike, or where targets are tags of few
        kinds, which all rows share whatever their tokens are.
    """
    x, y = (np.asarray(part)[:MOST_ROWS] for part in (inputs, targets))
    unknown = {measure.name: math.nan for measure in SEQUENCE_MEASURES}
    if len(x) < LEAST_ROWS or len(x) != len(y) or len(np.unique(y)) < LEAST_KINDS:
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
    if ends.max() > _PADDED * len(rows):
        counts[:, ends.argmax()] = 0.0
    counts /= np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-12)
    like = counts @ counts.T
    apart = ~np.eye(len(rows), dtype=bool)
    like = np.where(apart, like - like[apart].mean(), 0.0)
    length = float(np.linalg.norm(like))
    return like / length if length > 1e-9 else None
