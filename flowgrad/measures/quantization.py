"""Stores weights in few bits: it rounds them, says what they take to store, and shares bits out.

Quantisation is symmetric and uniform: a weight is a whole number from -(2^(bits-1) - 1) to 2^(bits-1) - 1 times the
scale of its channel, so that 0 stays 0 (Nagel et al. 2021, A white paper on neural network quantization, section 2.2).
The scale is the channel's largest magnitude over the largest number, so that nothing is clipped; or it is fitted by
least squares, which at 2 and 3 bits, where few weights are as large as that, takes off most of the error.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowgrad.measurements import Measure

FloatArray = NDArray[np.floating]

LEVELS = (8, 4, 3, 2)
"""Bits that are tried."""
FLOAT_BITS = 32
_SHARES, _LEAST_SHARE = 12, 0.25
"""Number of scales that a fit starts from, and the least of them as a share of the largest weight's scale."""
_ROUNDS = 4
"""Number of rounds of least squares after that."""
SCALE_BITS = 16
"""A channel's scale is stored as a half-precision share of the tensor's largest scale."""
SCORES = ("second_moment", "fisher", "gauss_newton", "measured", "combined")
"""Scores that predict the damage of rounding one layer; `measured` is the loss itself, on the calibration batches, and
`combined` a mean of it and `gauss_newton`.
"""
MEASURED_PART = 0.4
"""Share of `measured` in `combined`. The measured rise has in it what the quadratic leaves out, and the chance of the
calibration rows, of which the quadratic has little. The value was chosen on models and seeds that are not scored.
"""
AGREEMENTS = ("second_moment", "fisher", "gauss_newton", "snr", "variance")
"""Scores that the report compares with the measured damage; the last two predict little, and are shown for
comparison.
"""

MEASURES = (
    Measure("layers", "count", "Weight tensors with two dimensions or more that a plan may quantise."),
    Measure("weights", "count", "Their entries."),
    Measure("left_out", "count", "Weight tensors that no plan touches: computed, not finite."),
    Measure("unknown", "count", "Tensors without a second moment (frozen, not trained); they keep the most bits."),
    Measure("shared", "count", "Weight tensors that several layers share; each counts once."),
    Measure("nonfinite_layers", "count", "Weight tensors that hold a NaN or an infinity."),
    Measure("size", "bytes", "Of all parameters and buffers as they are."),
    *(
        Measure(f"size_{bits}", "bytes", f"Of the same with {bits} bits a weight: codes, scales, and what is kept.")
        for bits in LEVELS
    ),
    *(
        Measure(
            f"expected_{bits}", "loss", f"Rise of the loss expected of {bits} bits: half the sum of v times change^2."
        )
        for bits in LEVELS
    ),
    Measure("calibrated", "flag", "1 where calibration batches were given, else 0."),
    Measure(
        "calibration_unsound",
        "flag",
        "1 where calibration batches are copies, have one target, or are unknown to the model; else 0.",
    ),
    Measure("calibration_loss", "loss", "Mean loss of the calibration batches with the weights as they are."),
    *(
        Measure(f"uniform_{bits}", "ratio", f"Rise of the calibration loss with {bits} bits everywhere, over the loss.")
        for bits in LEVELS
    ),
    *(
        Measure(f"uniform_{bits}_high", "ratio", f"Upper end of its 95 % interval over the batches, at {bits} bits.")
        for bits in LEVELS
    ),
    *(
        Measure(
            f"mixed_{bits}",
            "ratio",
            f"The same with the bits shared out, at the size of {bits} bits everywhere or less. No more than uniform.",
        )
        for bits in LEVELS[1:]
    ),
    *(
        Measure(
            f"{score}_agreement",
            "rank correlation",
            "Spearman's, of what it foretells and of the measured rise when one layer alone is quantised, over layers "
            "and bits.",
        )
        for score in AGREEMENTS
    ),
    Measure("entries", "count", "Weights of the tensor.", True),
    *(Measure(f"sensitivity_{bits}", "loss", f"Rise expected when it alone has {bits} bits.", True) for bits in LEVELS),
    *(
        Measure(
            f"rise_{bits}", "ratio", f"Rise of the calibration loss when it alone has {bits} bits, over the loss.", True
        )
        for bits in LEVELS
    ),
    Measure("weight_variance", "weight^2", "Variance of its weights.", True),
    Measure("weight_range", "weight", "Largest weight less the smallest.", True),
    Measure("snr", "ratio", "Signal-to-noise ratio of its gradient, from the tracker or the moments.", True),
    Measure("bits_4", "bits", "Its bits in the mixed plan at the size of 4 bits everywhere.", True),
    Measure("bits_3", "bits", "Its bits in the mixed plan at the size of 3 bits everywhere.", True),
    Measure("is_table", "flag", "1 for a table of embeddings, which has a scale a row.", True),
)
ROW_MEASURES = [measure.name for measure in MEASURES if measure.per_row]


class Quantized(NamedTuple):
    """A tensor as whole numbers and scales."""

    codes: NDArray[np.int8]
    """Whole numbers, of the tensor's shape."""
    scales: NDArray[np.float16]
    """Share of `top` of each channel, shape (channels,); one for the whole tensor without channels."""
    top: float
    """Largest scale."""
    axis: int | None
    """Axis along which the channels lie; None: the tensor is one."""

    def values(self) -> NDArray[np.float32]:
        """The weights that these stand for."""
        scale = self.scales.astype(np.float32) * np.float32(self.top)
        return (self.codes * _along(scale, self.codes.ndim, self.axis)).astype(np.float32, copy=False)


def quantize(weights: ArrayLike, bits: int, axis: int | None = 0, *, fitted: bool = False) -> Quantized:
    """Round to the nearest of 2^bits - 1 evenly spaced values, symmetric about 0.

    Args:
        weights: finite, any shape of one dimension or more where there is an axis.
        bits: 2 to 8.
        axis: along which channels lie, each with a scale of its own (rows of a table: 0); None: one scale.
        fitted: fit scales by least squares, and clip what lies beyond.

    Raises:
        ValueError: `bits` outside 2 to 8.

    >>> quantize([[1.0, -0.6], [7.0, 0.0]], 3).codes.tolist()
    [[3, -2], [3, 0]]
    """
    if not 2 <= bits <= 8:
        raise ValueError(f"bits={bits}: must lie between 2 and 8")
    w = np.asarray(weights, dtype=np.float32)
    most = 2 ** (bits - 1) - 1
    scale = _scales(w, most, axis, fitted)
    top = _eleven_bits(float(scale.max(initial=0)))
    shares = stored_scales(scale, top)
    # The largest is 1 to the bit, so that weights that were rounded before have the same scales again.
    shares[scale == scale.max(initial=0)] = 1
    stored = shares.astype(np.float32) * np.float32(top)
    divisor = np.where(stored > 0, stored, np.float32(1))
    codes = np.rint(w / _along(divisor, w.ndim, axis))
    # A channel whose scale is less than 2^-14 of the largest becomes zero.
    codes *= _along((stored > 0).astype(np.float32), w.ndim, axis)
    return Quantized(np.clip(codes, -most, most).astype(np.int8), shares, top, axis)


def stored_scales(scales: FloatArray, top: float) -> NDArray[np.float16]:
    """Scales as half-precision shares of the largest, as they are stored."""
    shares = np.minimum(scales / np.float32(top or 1), 1).astype(np.float16)
    # Below, half-precision numbers lose digits, and the scale would not be the same again.
    shares[shares < np.finfo(np.float16).smallest_normal] = 0
    return shares


def _scales(w: FloatArray, most: int, axis: int | None, fitted: bool) -> FloatArray:
    """Scale of each channel, shape (channels,): that of the largest weight; or the best of several shares of that, by
    the squared error, and from there least squares of the weights on the whole numbers that they are rounded to, in
    turn with rounding. Each round lowers the squared error, or leaves it.

    Weights that were rounded before keep their scale, to the bit but for the arithmetic.
    """
    others = None if axis is None else tuple(k for k in range(w.ndim) if k != axis)
    largest = (np.abs(w).max(axis=others, initial=0).reshape(-1) / np.float32(most)).astype(np.float32)
    if not fitted:
        return largest
    scale, least = largest, np.full(len(largest), np.inf, dtype=np.float32)
    for share in np.linspace(1, _LEAST_SHARE, _SHARES, dtype=np.float32):
        _, rounded = _rounded(w, largest * share, most, axis)
        error = np.square(rounded - w).sum(axis=others).reshape(-1)
        scale, least = np.where(error < least, largest * share, scale), np.minimum(error, least)
    for _ in range(_ROUNDS):
        codes, _ = _rounded(w, scale, most, axis)
        weight = (codes * codes).sum(axis=others).reshape(-1)
        found = (codes * w).sum(axis=others).reshape(-1) / np.maximum(weight, 1)
        # No larger than at the start, so that the largest weight stays the largest number.
        scale = np.where(weight > 0, np.minimum(found, largest), scale).astype(np.float32)
    return scale


def _rounded(w: FloatArray, scale: FloatArray, most: int, axis: int | None) -> tuple[FloatArray, FloatArray]:
    """Whole numbers, and the weights that they stand for."""
    step = _along(np.where(scale > 0, scale, np.float32(1)), w.ndim, axis)
    codes = np.clip(np.rint(w / step), -most, most)
    return codes, codes * step


def _eleven_bits(value: float) -> float:
    """Round to the precision of half-precision numbers, in any range."""
    part, power = math.frexp(value)
    return math.ldexp(round(math.ldexp(part, 11)), power - 11)


def quantization_error(weights: ArrayLike, bits: int, axis: int | None = 0, *, fitted: bool = False) -> FloatArray:
    """Change that rounding makes to each weight, of the weights' shape; arguments as of `quantize`.

    >>> [abs(round(float(x), 3)) for x in quantization_error([[1.0, -0.6]], 3)[0]]
    [0.0, 0.067]
    """
    return quantize(weights, bits, axis, fitted=fitted).values() - np.asarray(weights, dtype=np.float32)


def storage_bytes(entries: int, bits: int, channels: int) -> int:
    """Bytes of a tensor in `bits` bits: codes side by side, half-precision scales, and the largest scale.

    At 32 bits it is not quantised and has no scales.

    >>> storage_bytes(1000, 4, 10), storage_bytes(1000, 32, 10)
    (524, 4000)
    """
    if bits >= FLOAT_BITS:
        return entries * bits // 8
    return -(-entries * bits // 8) + channels * SCALE_BITS // 8 + FLOAT_BITS // 8


def signal_to_noise(first: ArrayLike, second: ArrayLike) -> float:
    """Ratio of the gradient's squared mean to its variance, both summed over a tensor, from the running moments of
    Adam.

    >>> signal_to_noise([1.0, 1.0], [3.0, 3.0])
    0.5
    """
    signal = float(np.sum(np.square(np.asarray(first, dtype=np.float64))))
    noise = float(np.sum(np.asarray(second, dtype=np.float64))) - signal
    return signal / noise if noise > 0 else float("nan")


def share_out(rises: ArrayLike, sizes: ArrayLike, budget: float) -> list[NDArray[np.int_]]:
    """List every allocation on the way from the largest to the smallest that fits; the last is the answer.

    Greedy on the rise of the loss per byte saved, over the lower convex hull of each layer's (size, rise): the optimum
    of the relaxed problem, and at most one step of one layer above that of the whole one (Shoham & Gersho 1988). What a
    last big step has saved too much is given back, to where it helps most.

    Args:
        rises: of each layer at each level, shape (layers, levels); levels by falling size.
        sizes: of that shape.
        budget: most that all layers may take together.

    Returns:
        Level of each layer, shape (layers,), at each step. The last exceeds `budget` where even the cheapest levels do.

    >>> share_out([[0.0, 1.0], [0.0, 5.0]], [[8, 4], [8, 4]], 12)[-1].tolist()
    [1, 0]
    """
    rise, size = np.asarray(rises, dtype=float), np.asarray(sizes, dtype=float)
    rise = np.maximum.accumulate(np.maximum(rise, 0), axis=1)  # fewer bits never help beyond noise
    steps = []
    for layer, (height, length) in enumerate(zip(rise, size, strict=True)):
        for start, end in _hull(length, height):
            steps.append(((height[end] - height[start]) / (length[start] - length[end]), layer, end))
    level = np.zeros(len(rise), dtype=int)
    path = [level.copy()]
    rows = np.arange(len(rise))
    for _, layer, end in sorted(steps):
        if size[rows, level].sum() <= budget:
            break
        level[layer] = end
        path.append(level.copy())
    _give_back(level, rise, size, budget)
    if not np.array_equal(level, path[-1]):
        path.append(level.copy())
    return path


def _give_back(level: NDArray[np.int_], rise: FloatArray, size: FloatArray, budget: float) -> None:
    rows = np.arange(len(level))
    while True:
        left = budget - size[rows, level].sum()
        best, gain = None, 0.0
        for layer, at in enumerate(level):
            for better in range(at):
                cost = size[layer, better] - size[layer, at]
                saved = rise[layer, at] - rise[layer, better]
                if cost <= left and saved > gain:
                    best, gain = (layer, better), saved
        if best is None:
            return
        level[best[0]] = best[1]


def _hull(sizes: FloatArray, rises: FloatArray) -> list[tuple[int, int]]:
    """Steps between neighbours on the lower convex hull of one layer, from its largest size on."""
    steps, at = [], 0
    while at < len(sizes) - 1:
        ahead = [k for k in range(at + 1, len(sizes)) if sizes[k] < sizes[at]]
        if not ahead:
            break
        slopes = [(rises[k] - rises[at]) / (sizes[at] - sizes[k]) for k in ahead]
        best = min(slopes)
        end = max(k for k, slope in zip(ahead, slopes, strict=True) if slope <= best)
        steps.append((at, end))
        at = end
    return steps


def _along(values: FloatArray, dimensions: int, axis: int | None) -> FloatArray:
    """Values of the channels, so that they multiply a tensor of so many dimensions."""
    if axis is None:
        return values.reshape((1,) * dimensions)
    shape = [1] * dimensions
    shape[axis] = -1
    return values.reshape(shape)
