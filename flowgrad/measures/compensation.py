"""Rounding in turn, where the weights that are still to be rounded make up for what rounding those before did.

The error of a layer's outputs is the sum over units of d' H d, with d what rounding adds to the unit's weights and H
the mean of x x' over the layer's inputs x. Rounding to the nearest minimises the squared length of d instead. Here
inputs are gone through from the largest to the smallest, and each rounding error is spread over the weights still to
come so that d' H d is least (Frantar et al. 2023, GPTQ, ICLR, algorithm 1; after Hassibi & Stork 1993, Optimal brain
surgeon).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowgrad.measures.quantization import FloatArray, Quantized, quantize, stored_scales

_SHARES, _LEAST_SHARE = 8, 0.3
"""Scales tried, over that of the largest weight: how many, and the least."""
_MOST_WORK = 1e10
"""Multiplications that one tensor may take: about a second. Larger ones try fewer scales, or are not compensated."""
_DAMPING = 0.01
"""Of the mean of H's diagonal, added to it (GPTQ's own)."""
_BLOCK = 64
"""Inputs after which what is still to come is brought up to date."""


def compensated(weights: ArrayLike, inputs: ArrayLike, bits: int, axis: int | None = 0) -> Quantized | None:
    """Round a layer's weights so that its outputs change little.

    Each unit takes the scale whose errors change its outputs least, and rounding to the nearest where that does; so no
    unit's outputs change more than by it. Weights of 0 stay 0.

    Args:
        weights: finite, shape (units, ...).
        inputs: H, shape (weights of a unit, the same).
        bits: 2 to 8.
        axis: 0: a scale a unit; None: one for all.

    Returns:
        The whole numbers and scales; None of a layer whose inputs are all 0 or not finite, or that is too large.

    Raises:
        ValueError: `bits` outside 2 to 8, another axis, or H of another shape.
    """
    w = np.asarray(weights, dtype=np.float32)
    h = np.asarray(inputs, dtype=np.float64)
    if axis not in (0, None):
        raise ValueError(f"axis={axis}: units lie along the first")
    lines = w.reshape(len(w), -1)
    if h.shape != (lines.shape[1],) * 2:
        raise ValueError(f"inputs: shape {h.shape}, and a unit has {lines.shape[1]} weights")
    nearest = quantize(w, bits, axis)
    tried = min(_SHARES, int(_MOST_WORK / max(lines.size * lines.shape[1], 1)))
    spread = _spread(h) if tried else None
    if spread is None:
        return None
    order, upper = spread
    most = 2 ** (bits - 1) - 1
    largest = nearest.scales.astype(np.float32) * np.float32(nearest.top)
    shares = [stored_scales(largest * share, nearest.top) for share in np.linspace(1, _LEAST_SHARE, tried)]
    scales = np.concatenate([share.astype(np.float32) * np.float32(nearest.top) for share in shares])
    if axis is None:
        scales = np.repeat(scales, len(lines))
    # A column a unit and scale: each step is one line of memory.
    turned = np.tile(np.ascontiguousarray(lines[:, order].T), tried)
    found = _in_turn(turned, upper, scales, most)
    codes = np.empty((tried, *lines.shape), dtype=np.int8)
    codes[:, :, order] = found.T.reshape(tried, len(lines), -1)
    every = np.concatenate([nearest.codes.reshape(1, *lines.shape), codes])
    every_share = np.stack([nearest.scales, *shares])
    chosen = _least(lines, every, every_share.astype(np.float32) * np.float32(nearest.top), h)
    if axis is None:
        best = int(chosen.sum(axis=1).argmin())
        return Quantized(every[best].reshape(w.shape), every_share[best], nearest.top, axis)
    places = chosen.argmin(axis=0), np.arange(len(lines))
    return Quantized(every[places].reshape(w.shape), every_share[places], nearest.top, axis)


def output_error(change: ArrayLike, inputs: ArrayLike) -> FloatArray:
    """Mean squared change of each unit's output, d' H d, shape (units,).

    Args:
        change: of the weights, shape (units, ...).
        inputs: H.

    >>> output_error([[1.0, 1.0], [1.0, -1.0]], [[1.0, 0.5], [0.5, 1.0]]).tolist()
    [3.0, 1.0]
    """
    d = np.asarray(change, dtype=np.float64)
    d = d.reshape(len(d), -1)
    return np.einsum("ij,ij->i", d @ np.asarray(inputs, dtype=np.float64), d)


def _spread(h: FloatArray) -> tuple[NDArray[np.intp], FloatArray] | None:
    """The order of inputs, and the upper Cholesky factor of H's inverse in it, which says how errors are spread."""
    size = np.diagonal(h).copy()
    if not np.isfinite(h).all() or not size.sum() > 0:
        return None
    order = np.argsort(-size, kind="stable")
    damped = h[np.ix_(order, order)].copy()
    damped[np.diag_indices_from(damped)] += _DAMPING * size.mean()
    try:
        return order, np.linalg.cholesky(np.linalg.inv(damped)).T.astype(np.float32)
    except np.linalg.LinAlgError:
        return None


def _in_turn(w: FloatArray, upper: FloatArray, scales: FloatArray, most: int) -> NDArray[np.int8]:
    """Whole numbers of weights, both of shape (inputs, columns); `w` is used up."""
    zero = w == 0
    codes = np.empty(w.shape, dtype=np.int8)
    step = np.where(scales > 0, scales, np.float32(1))
    for start in range(0, len(w), _BLOCK):
        end = min(start + _BLOCK, len(w))
        errors = np.empty((end - start, w.shape[1]), dtype=np.float32)
        for at in range(start, end):
            code = np.clip(np.rint(w[at] / step), -most, most)
            code[zero[at] | (scales <= 0)] = 0
            codes[at] = code
            errors[at - start] = (w[at] - code * step) / upper[at, at]
            w[at + 1 : end] -= upper[at, at + 1 : end, None] * errors[at - start]
        w[end:] -= upper[start:end, end:].T @ errors
    return codes


def _least(lines: FloatArray, codes: NDArray[np.int8], scales: FloatArray, h: FloatArray) -> FloatArray:
    """Output error of each way and unit, shape (ways, units)."""
    each = zip(codes, scales, strict=True)
    return np.stack([output_error(one * np.broadcast_to(scale, len(lines))[:, None] - lines, h) for one, scale in each])
