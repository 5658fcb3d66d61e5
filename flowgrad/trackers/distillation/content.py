"""What the student's weights hold when training begins: drawn at random, learned elsewhere, or the teacher's."""

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
"""Rows and columns of a layer's weights that are kept, evenly spread over them."""
_ALIKE = 0.01
"""Largest difference of two layers that are the same, over the deviation of their weights: what rounding to half a
precision changes."""


class Content:
    """A part of each layer's weights as they were when training began."""

    def __init__(self, layers: Sequence[Layer], teacher: Sequence[Layer]) -> None:
        self._layers, self._teacher = layers, teacher
        self._parts: list[torch.Tensor] = []
        self._others: list[torch.Tensor] = []
        self.keep()

    def keep(self) -> None:
        """Keep the weights as they are now; of the teacher's layers those of which the student has the shape."""
        shapes = {layer.weights[0].shape for layer in self._layers}
        self._parts = [_part(layer) for layer in self._layers]
        self._others = [_part(layer) for layer in self._teacher if layer.weights[0].shape in shapes]

    def structure(self) -> float:
        """Highest `measures.structure` of a layer."""
        found = [measures.structure(part.double().cpu().numpy()) for part in self._parts if part.device.type != "meta"]
        return max((one for one in found if not math.isnan(one)), default=math.nan)

    def copied(self) -> FloatArray:
        """1 for layers that are one of the teacher's, else 0; shape (layers,)."""
        return np.array([float(any(_alike(part, other) for other in self._others)) for part in self._parts])

    def state_dict(self) -> dict[str, Any]:
        """What is kept."""
        return {"parts": [part.clone() for part in self._parts], "others": [part.clone() for part in self._others]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What `state_dict` wrote."""
        self._parts, self._others = list(state["parts"]), list(state["others"])


@torch.no_grad()
def _part(layer: Layer) -> torch.Tensor:
    weight = layer.weights[0].detach()
    flat = weight.reshape(len(weight), -1)
    rows, columns = (_evenly(size, flat.device) for size in flat.shape)
    return flat[rows][:, columns].float()


def _evenly(size: int, device: torch.device) -> torch.Tensor:
    return torch.linspace(0, size - 1, min(size, SIDE), device=device).long()


def _alike(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.shape != b.shape:
        return False
    spread = float(a.std(correction=0))
    return spread > 0 and float((a - b.to(a.device)).abs().max()) <= _ALIKE * spread
