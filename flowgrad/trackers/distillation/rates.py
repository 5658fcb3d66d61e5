"""Says which layers the optimizer given holds, and at which rates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flowgrad.trackers.distillation.layers import Layer
from flowgrad.trackers.optimizers import Optimizers

FloatArray = NDArray[np.float64]


def rates(layers: Sequence[Layer], optimizers: Optimizers) -> FloatArray:
    """Learning rate of each layer, shape (layers,); NaN where the optimizer is not known or has none for it."""
    given = optimizers.rate_by_identity()
    return np.array(
        [
            next((given[id(w)] for w in layer.weights if w.requires_grad and id(w) in given), math.nan)
            for layer in layers
        ]
    )


def flags(layers: Sequence[Layer], optimizers: Optimizers, velocity: FloatArray) -> dict[str, FloatArray]:
    """Flags `frozen` and `left_out` of each layer, given how fast it moves."""
    given = optimizers.rate_by_identity() if optimizers.known else None
    frozen = np.array([not any(weight.requires_grad for weight in layer.weights) for layer in layers])
    left_out = np.array(
        [given is not None and not any(id(weight) in given for weight in layer.weights) for layer in layers]
    )
    still = ~(velocity > 0)  # a layer that moves without this optimizer is moved by another
    return {"frozen": frozen.astype(float), "left_out": (left_out & ~frozen & still).astype(float)}


def rate_figures(layers: Sequence[Layer], optimizers: Optimizers, velocity: FloatArray) -> dict[str, float]:
    """Figures `rate_levels` and `elsewhere_layers`, by name."""
    found = rates(layers, optimizers)
    known = found[~np.isnan(found)]
    given = optimizers.rate_by_identity()
    elsewhere = [
        speed > 0 and not any(id(weight) in given for weight in layer.weights)
        for layer, speed in zip(layers, velocity, strict=True)
    ]
    return {
        "rate_levels": float(len({f"{rate:.5g}" for rate in known})) if len(known) else math.nan,
        "elsewhere_layers": float(sum(elsewhere)) if optimizers.known else math.nan,
    }
