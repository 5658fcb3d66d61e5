"""Says what the student's weights are when training begins: drawn at random, learned elsewhere, or the teacher's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flowgrad.measures import distillation as measures
from flowgrad.trackers.distillation.layers import Layer

FloatArray = NDArray[np.float64]

SIDE = 64
"""Number of rows and columns of a layer's weights that are kept, evenly spread over them."""
_ALIKE = 0.01
"""Largest difference of two layers that are the same, over the deviation of their weights: what rounding to half a
precision changes."""


class Content:
    """A part of each layer's weights as they were when training began."""

    def __init__(self, layers: Sequence[Layer], teacher: Sequence[Layer]) -> None:
        self._layers, self._teacher = layers, teacher
        self._parts: list[torch.Tensor] = []
        self._others: list[torch.Tensor] = []
        self._found: tuple[float, FloatArray] | None = None
        """Figures read from the weights, once they were asked for."""
        self.keep()

    def keep(self) -> None:
        """Keep the weights as they are now; of the teacher's layers those of which the student has the shape."""
        shapes = {layer.weights[0].shape for layer in self._layers}
        self._found = None
        self._parts = [part_of(layer) for layer in self._layers]
        self._others = [part_of(layer) for layer in self._teacher if layer.weights[0].shape in shapes]

    def structure(self) -> float:
        """Highest `measures.structure` of a layer, a ratio; NaN where none is known."""
        return self._read()[0]

    def copied(self) -> FloatArray:
        """Flags of layers that equal one of the teacher's, 1 or 0; shape (layers,)."""
        return self._read()[1].copy()

    def _read(self) -> tuple[float, FloatArray]:
        if self._found is None:
            parts, others = ([_array(part) for part in kept] for kept in (self._parts, self._others))
            found = [one for one in map(measures.structure, parts) if not math.isnan(one)]
            copied = [float(any(_alike(part, other) for other in others)) for part in parts]
            self._found = max(found, default=math.nan), np.array(copied)
        return self._found

    def state_dict(self) -> dict[str, Any]:
        """State: the parts that are kept."""
        return {"parts": [part.clone() for part in self._parts], "others": [part.clone() for part in self._others]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self._found = None
        self._parts, self._others = list(state["parts"]), list(state["others"])


@torch.no_grad()
def part_of(layer: Layer) -> torch.Tensor:
    """Evenly spread rows and columns of a layer's first weights, in single precision."""
    weight = layer.weights[0].detach()
    flat = weight.reshape(len(weight), -1)
    rows, columns = (_evenly(size, flat.device) for size in flat.shape)
    return flat[rows][:, columns].float()


def _evenly(size: int, device: torch.device) -> torch.Tensor:
    return torch.linspace(0, size - 1, min(size, SIDE), device=device).long()


def _array(part: torch.Tensor) -> FloatArray:
    return part.double().cpu().numpy()


def _alike(a: FloatArray, b: FloatArray) -> bool:
    if a.shape != b.shape:
        return False
    spread = float(a.std())
    return spread > 0 and bool(np.abs(a - b).max() <= _ALIKE * spread)
