"""Scores how much a weight matters to the loss, from what training left behind, and which weights may go.

Every score is per weight and of the weights' shape; only its order counts. v is the mean of the squared gradient, g the
gradient, both of the mean loss of a batch, as the optimizer had them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowgrad.lazy import LazyModule
from flowgrad.measurements import Measure

stats = LazyModule("scipy.stats")

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

SPARSITIES = (50, 70, 80, 90)
"""Percentages of the weights that plans are tried at."""
LITTLE = 0.01
"""Share of all saliency that counts as little; see `removable_share`."""

MEASURES = (
    Measure("steps", "count", "Optimizer steps that the second moment rests on; of the tensor that saw most."),
    Measure("layers", "count", "Weight tensors with two dimensions or more that a plan may prune."),
    Measure("weights", "count", "Their entries, those of a padding row left out."),
    Measure("left_out", "count", "Weight tensors that no plan touches: frozen, not trained, computed, not finite."),
    Measure("shared", "count", "Weight tensors that several layers share; each counts once."),
    Measure("nonfinite_layers", "count", "Weight tensors that hold a NaN or an infinity."),
    Measure("zero_share", "share", "Weights that are zero already."),
    Measure("removable_share", "share", "Weights of least saliency that hold a hundredth of it together."),
    Measure("concentration", "share", "Saliency that the tenth of the weights with most of it holds."),
    Measure(
        "magnitude_agreement",
        "rank correlation",
        "Spearman's, of saliency and magnitude of single weights: at 1, both prune the same ones.",
    ),
    Measure("motion_agreement", "rank correlation", "The same of a layer's mean saliency and its motion."),
    Measure("calibrated", "flag", "1 where calibration batches were given, else 0."),
    Measure(
        "calibration_unsound",
        "flag",
        "1 where calibration batches are copies, have one target, or are unknown to the model; else 0.",
    ),
    Measure("calibration_loss", "loss", "Mean loss of the calibration batches before anything is pruned."),
    *(
        Measure(
            f"rise_{share}", "ratio", f"Rise of the calibration loss with {share} % pruned by saliency, over the loss."
        )
        for share in SPARSITIES
    ),
    *(
        Measure(f"rise_{share}_high", "ratio", f"Upper end of its 95 % interval over the batches, at {share} %.")
        for share in SPARSITIES
    ),
    *(
        Measure(f"magnitude_rise_{share}", "ratio", f"The same with {share} % pruned by magnitude, over all layers.")
        for share in SPARSITIES
    ),
    Measure("entries", "count", "Weights of the tensor, those of a padding row left out.", True),
    Measure("saliency", "saliency", "Mean saliency of its weights: w^2 sqrt(v), unless the analyzer says else.", True),
    Measure("saliency_share", "share", "Part of all saliency that the tensor holds.", True),
    Measure("removable", "share", "Its weights among those of `removable_share`.", True),
    Measure("zeros", "share", "Its weights that are zero already.", True),
    Measure("weight_size", "weight", "Mean magnitude of its weights.", True),
    Measure("gradient_size", "gradient", "Root mean square of its gradient: root of the mean of v.", True),
    Measure("motion", "ratio", "Velocity and momentum, each over the largest of a tensor; their mean.", True),
    Measure("is_table", "flag", "1 for a table of embeddings.", True),
)
ROW_MEASURES = [measure.name for measure in MEASURES if measure.per_row]


def magnitude(weights: ArrayLike) -> FloatArray:
    """Size of each weight (Han et al. 2015, Learning both weights and connections), the baseline of pruning."""
    return np.abs(np.asarray(weights))


def second_moment(weights: ArrayLike, v: ArrayLike) -> FloatArray:
    """Saliency w^2 sqrt(v) of each weight.

    sqrt(v) is the preconditioner of Adam (Kingma & Ba 2015): w^2 sqrt(v) is the squared length of the weight in the
    metric that it was trained in. Between magnitude, which takes the loss to be equally steep everywhere, and `obd`,
    whose v varies over more decades than the curvature it stands for.

    >>> second_moment([1.0, -2.0, 0.0], [4.0, 1.0, 9.0]).tolist()
    [2.0, 4.0, 0.0]
    """
    w = np.asarray(weights)
    score: FloatArray = w * w * np.sqrt(np.asarray(v))
    return score


def obd(weights: ArrayLike, curvature: ArrayLike) -> FloatArray:
    """Half the curvature times w^2: the rise of the loss when the weight alone is set to 0, at a minimum, with a
    diagonal Hessian (LeCun, Denker & Solla 1990, Optimal brain damage). The `curvature` is the diagonal of the
    empirical Fisher, or v in its place: the accumulator of squared gradients is a Fisher that training has paid for (Li
    et al. 2025, Fishers for free?; the "Squisher").

    With `curvature` the diagonal of the empirical Fisher, or v in its place: the accumulator of squared gradients is a
    Fisher that training has paid for (Li et al. 2025, Fishers for free?; the "Squisher").

    >>> obd([1.0, -2.0], [4.0, 1.0]).tolist()
    [2.0, 2.0]
    """
    w = np.asarray(weights)
    score: FloatArray = 0.5 * w * w * np.asarray(curvature)
    return score


def layer_adaptive(score: ArrayLike) -> FloatArray:
    """Ratio of each score to the sum of those of its layer that are no smaller, itself among them; 0 stays 0.

    LAMP (Lee et al. 2021, Layer-adaptive sparsity for the magnitude-based pruning, ICLR, equation 4), there of w^2. It
    is the part of the layer's rest that goes with the weight, so that layers whose scores are of another scale lose no
    more than others, and each keeps its largest weight to the last. The order within a layer stays.

    >>> layer_adaptive([3.0, 1.0, 0.0, 4.0]).round(3).tolist()
    [0.429, 0.125, 0.0, 1.0]
    """
    values = np.asarray(score, dtype=np.float64)
    flat = values.ravel()
    order = np.argsort(flat)
    rest = np.cumsum(flat[order][::-1])[::-1]
    found = np.zeros_like(flat)
    found[order] = np.divide(flat[order], rest, out=np.zeros_like(flat), where=rest > 0)
    return found.reshape(values.shape)


def taylor(weights: ArrayLike, gradients: ArrayLike) -> FloatArray:
    """|g w|: size of the first-order change of the loss when the weight is set to 0 (Molchanov et al. 2019).

    >>> taylor([1.0, -2.0], [3.0, 1.0]).tolist()
    [3.0, 2.0]
    """
    return np.abs(np.asarray(weights) * np.asarray(gradients))


def expected_rise(change: ArrayLike, v: ArrayLike) -> float:
    """Half the sum of v times the squared change of each weight: how much the loss is expected to rise.

    This is the quadratic term with v as diagonal of the curvature, where the gradient is taken to be 0 and changes not
    to be correlated. It is in units of the loss up to one factor: v is of the mean gradient of a batch, whose noise is
    smaller than that of single examples by the size of the batch. Ranks and plans do not depend on that factor.

    Args:
        change: of the weights, any shape.
        v: mean of their squared gradients, of that shape.

    >>> expected_rise([0.5, -1.0], [4.0, 2.0])
    1.5
    """
    d = np.asarray(change)
    return float(0.5 * np.sum(d * d * np.asarray(v), dtype=np.float64))


def motion(velocity: ArrayLike, momentum: ArrayLike) -> FloatArray:
    """Mean of the velocity and the momentum of each layer, each over the largest.

    Velocity over momentum alone says what still moves, which need not be what matters. It is here for comparison.

    Args:
        velocity: length of a layer's recent updates over the norm of its weights, shape (layers,).
        momentum: norm of the running mean of its gradient over the root of its entries, shape (layers,).

    >>> motion([1.0, 2.0], [3.0, 1.5]).tolist()
    [0.75, 0.75]
    """
    parts = []
    for values in (np.asarray(velocity, dtype=float), np.asarray(momentum, dtype=float)):
        known = values[np.isfinite(values)]
        top = known.max() if len(known) else np.nan
        parts.append(values / top if top > 0 else np.full(len(values), np.nan))
    both = np.stack(parts)
    count = np.isfinite(both).sum(axis=0)
    total = np.where(np.isfinite(both), both, 0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def rank_agreement(one: ArrayLike, other: ArrayLike) -> float:
    """Spearman's rank correlation, in [-1, 1], of two scores of the same things; NaN for fewer than 3 or where one does
    not vary.

    Pairs with a value that is not finite are left out.

    >>> rank_agreement([1, 2, 3, 4], [10, 100, 1000, 1e9])
    1.0
    """
    a, b = np.ravel(np.asarray(one, dtype=float)), np.ravel(np.asarray(other, dtype=float))
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    ranks = stats.rankdata(a), stats.rankdata(b)
    return float(np.clip(np.corrcoef(*ranks)[0, 1], -1, 1))


def removable_share(scores: ArrayLike, little: float = LITTLE) -> float:
    """Largest share of the weights, in [0, 1], that together hold at most `little` of the sum of all scores.

    >>> removable_share([0.0, 0.5, 0.5, 99.0])
    0.75
    >>> removable_share([1.0, 1.0])
    0.0
    """
    values = np.sort(np.ravel(np.asarray(scores)))
    if not len(values):
        return float("nan")
    total = np.cumsum(values, dtype=np.float64)
    if not total[-1] > 0:
        return float("nan")
    return float(np.searchsorted(total, little * total[-1], side="right") / len(values))


def concentration(scores: ArrayLike, top: float = 0.1) -> float:
    """Share of the sum of all scores that the `top` share with the largest holds, in [0, 1].

    >>> concentration([1.0] * 10)
    0.1
    """
    values = np.ravel(np.asarray(scores))
    count = max(1, round(top * len(values))) if len(values) else 0
    total = values.sum(dtype=np.float64) if count else 0.0
    if not total > 0:
        return float("nan")
    most = np.sort(values)[len(values) - count :]  # for numbers in a row, faster than a partition
    return float(most.sum(dtype=np.float64) / total)


class Order(NamedTuple):
    """Order in which the units of several layers go; see `global_order`."""

    units: NDArray[np.intp]
    """Places of the units that may go, over the concatenated layers, the first to go first."""
    weights: NDArray[np.int_]
    """Number of weights that are gone once each of them is."""
    counts: tuple[int, ...]
    """Number of units of each layer."""


def global_order(scores: Sequence[FloatArray], floors: Sequence[int], sizes: Sequence[int] | None = None) -> Order:
    """Order units by rising score over all layers together, but for the best of each layer, which never go.

    Each layer keeps its `floors` best units: a global threshold otherwise empties whole layers, and nothing passes
    through them any more (layer collapse, Tanaka et al. 2020, SynFlow).

    Args:
        scores: of the units of each layer, comparable between layers, each of shape (units,).
        floors: units that each layer keeps at least.
        sizes: weights that a unit of each layer has; None: one.
    """
    counts = tuple(len(layer) for layer in scores)
    flat = np.concatenate([np.asarray(layer) for layer in scores]) if counts else np.zeros(0)
    free = np.ones(len(flat), dtype=bool)
    for start, units, floor in zip(np.cumsum([0, *counts]), counts, floors, strict=False):
        if floor > 0 and units:
            best = max(units - floor, 0)
            free[start + np.argpartition(flat[start : start + units], best)[best:]] = False
    candidates = np.flatnonzero(free)
    order = candidates[np.argsort(flat[candidates])]
    if sizes is None:
        return Order(order, np.arange(1, len(order) + 1), counts)
    return Order(order, np.cumsum(np.repeat(np.asarray(sizes, dtype=int), counts)[order]), counts)


def keep_after(order: Order, drop: int) -> list[BoolArray]:
    """Flag the units that stay when at most `drop` weights go, as near to it as whole units come.

    Returns:
        True where a unit stays, each of shape (units,).

    >>> order = global_order([np.array([5.0, 1.0]), np.array([0.1, 0.2])], [0, 1])
    >>> [keep.tolist() for keep in keep_after(order, 2)]
    [[True, False], [False, True]]
    """
    keep = np.ones(sum(order.counts), dtype=bool)
    keep[order.units[: np.searchsorted(order.weights, max(drop, 0), side="right")]] = False
    return np.split(keep, np.cumsum(order.counts)[:-1]) if order.counts else []
