"""Rounds weights in turn; those still to be rounded make up for the errors of those before.

The error of a layer's outputs is the sum over units of d' H d, with d what rounding adds to the unit's weights and H
the mean of x x' over the layer's inputs x. Rounding to the nearest minimises the squared length of d instead. Here
inputs are gone through from the largest to the smallest, and each rounding error is spread over the weights still to
come so that d' H d is least (Frantar et al. 2023, GPTQ, ICLR, algorithm 1; after Hassibi & Stork 1993, Optimal brain
surgeon).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from flowgrad.measures.quantization import FloatArray, Quantized, quantize, stored_scales

_SHARES, _LEAST_SHARE = 8, 0.3
"""Number of scales tried, and the least of them as a share of the scale of the largest weight."""
_MOST_WORK = 2e10
"""Multiplications that rounding one tensor may take: a second or two. Larger ones take the scale of least squares
alone, or are not compensated."""
_DAMPING = 0.01
"""Share of the mean of H's diagonal that is added to the diagonal (GPTQ's own)."""
_BLOCK = 64
"""Inputs after which what is still to come is brought up to date."""


def is_small(units: int, inputs: int) -> bool:
    """Whether a layer of this size is compensated."""
    return _tried(units, inputs) > 0


def _tried(units: int, inputs: int) -> int:
    """Number of scales that there is time for; 0: not even for one."""
    return min(_SHARES, int((_MOST_WORK - inputs**3) / max(units * inputs**2, 1)))


class Compensation:
    """Rounds the weights of one layer, whose inputs are known."""

    def __init__(self, inputs: ArrayLike) -> None:
        """Compute nothing yet.

        Args:
            inputs: H, shape (weights of a unit, the same).
        """
        self.inputs: FloatArray = np.asarray(inputs, dtype=np.float64)

    @cached_property
    def _spread(self) -> tuple[Tensor, Tensor] | None:
        return _spread(torch.from_numpy(self.inputs))

    def rounded(self, weights: ArrayLike, bits: int, axis: int | None = 0) -> Quantized | None:
        """Round the weights so that the layer's outputs change little.

        Each unit takes the scale whose errors change its outputs least, and rounding to the nearest where that does; so
        no unit's outputs change more than by it. Weights of 0 stay 0.

        Args:
            weights: finite, shape (units, ...).
            bits: 2 to 8.
            axis: 0: a scale a unit; None: one for all.

        Returns:
            The whole numbers and scales; None of a layer whose inputs are all 0 or not finite, or that is too large.

        Raises:
            ValueError: `bits` outside 2 to 8, another axis, or weights that are not as many as H is wide.
        """
        return _compensated(np.asarray(weights, dtype=np.float32), self, bits, axis)


def _compensated(w: FloatArray, layer: Compensation, bits: int, axis: int | None) -> Quantized | None:
    h = layer.inputs
    if axis not in (0, None):
        raise ValueError(f"axis={axis}: units lie along the first")
    lines = w.reshape(len(w), -1)
    if h.shape != (lines.shape[1],) * 2:
        raise ValueError(f"inputs: shape {h.shape}, and a unit has {lines.shape[1]} weights")
    nearest = quantize(w, bits, axis)
    tried = _tried(*lines.shape)
    if tried < 1 or layer._spread is None:
        return None
    order, upper = layer._spread
    largest = nearest.scales.astype(np.float32) * np.float32(nearest.top)
    if tried < _SHARES:
        fitted = quantize(w, bits, axis, fitted=True)
        tried, scaled = 1, [fitted.scales.astype(np.float32) * np.float32(fitted.top)]
    else:
        scaled = [largest * share for share in np.linspace(1, _LEAST_SHARE, tried, dtype=np.float32)]
    shares = [stored_scales(np.minimum(scale, largest), nearest.top) for scale in scaled]
    ways = np.stack([nearest.scales, *shares])
    scales = np.broadcast_to(ways.astype(np.float32) * np.float32(nearest.top), (len(ways), len(lines)))
    # Torch's arithmetic, as it uses the threads that training does. A column a scale and unit: each step is one line of
    # memory.
    turned = torch.from_numpy(np.tile(lines.T, tried))[order]
    found = _in_turn(turned, upper, torch.from_numpy(scales[1:].flatten()), 2 ** (bits - 1) - 1)
    codes = np.empty((len(ways), *lines.shape), dtype=np.int8)
    codes[0] = nearest.codes.reshape(lines.shape)
    codes[1:, :, order.numpy()] = found.numpy().T.reshape(tried, *lines.shape)
    errors = np.stack([output_error(one * scale[:, None] - lines, h) for one, scale in zip(codes, scales, strict=True)])
    if axis is None:
        best = int(errors.sum(axis=1).argmin())
        return Quantized(codes[best].reshape(w.shape), ways[best], nearest.top, axis)
    chosen = errors.argmin(axis=0), np.arange(len(lines))
    return Quantized(codes[chosen].reshape(w.shape), ways[chosen], nearest.top, axis)


def output_error(change: ArrayLike, inputs: ArrayLike) -> FloatArray:
    """Mean squared change of each unit's output, d' H d, shape (units,).

    Args:
        change: of the weights, shape (units, ...).
        inputs: H.

    >>> output_error([[1.0, 1.0], [1.0, -1.0]], [[1.0, 0.5], [0.5, 1.0]]).tolist()
    [3.0, 1.0]
    """
    d = torch.from_numpy(np.array(change, dtype=np.float64))
    d = d.reshape(len(d), -1)
    found: FloatArray = ((d @ torch.from_numpy(np.array(inputs, dtype=np.float64))) * d).sum(1).numpy()
    return found


def _spread(h: Tensor) -> tuple[Tensor, Tensor] | None:
    """The order of inputs, and the upper Cholesky factor of H's inverse in it, which says how errors are spread."""
    size = h.diagonal()
    if not bool(torch.isfinite(h).all()) or not bool(size.sum() > 0):
        return None
    order = size.argsort(descending=True, stable=True)
    damped = h[order][:, order]
    damped.diagonal().add_(_DAMPING * size.mean())
    try:
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
        return order, torch.linalg.cholesky(inverse, upper=True).float()
    except torch.linalg.LinAlgError:
        return None


def _in_turn(w: Tensor, upper: Tensor, scales: Tensor, most: int) -> Tensor:
    """Whole numbers of weights, both of shape (inputs, columns); `w` is used up."""
    stay = (w == 0) | (scales <= 0)
    codes = torch.empty(w.shape, dtype=torch.int8)
    step = torch.where(scales > 0, scales, 1)
    for start in range(0, len(w), _BLOCK):
        end = min(start + _BLOCK, len(w))
        errors = torch.empty((end - start, w.shape[1]))
        for at in range(start, end):
            code = (w[at] / step).round_().clamp_(-most, most).masked_fill_(stay[at], 0)
            codes[at] = code
            error = errors[at - start]
            torch.sub(w[at], code.mul_(step), out=error).div_(upper[at, at])
            w[at + 1 : end].addr_(upper[at, at + 1 : end], error, alpha=-1)
        w[end:].addmm_(upper[start:end, end:].T, errors, alpha=-1)
    return codes
