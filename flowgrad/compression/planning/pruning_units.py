"""Holds units of pruning (single weights, rows and neurons), the order in which they go, and the resulting masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from torch import nn

from flowgrad.compression.planning.reading import Layer
from flowgrad.compression.plans import LayerMask, PruningPlan


def ordered(score: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The score, with what has none below it in the order of its size."""
    return np.where(score > 0, score, -1.0 / (1.0 + np.abs(size)))


def floor(share: float, count: int) -> int:
    """Number of units, of so many, that stay at least; one, where there is a share."""
    return min(count, max(1, math.ceil(share * count))) if share > 0 else 0


def has_neurons(layer: Layer) -> bool:
    """Whether its units are neurons: outputs of a linear or convolutional layer."""
    owner = layer.weight.owner
    return isinstance(owner, nn.Linear | nn.modules.conv._ConvNd) and layer.weight.own == "weight"


def weight_scores(layer: Layer, score: np.ndarray) -> np.ndarray:
    """Scores of the weights, those of a padding row left out, shape (weights,)."""
    real = layer.weight.counted()
    return ordered(score[real], layer.data[real])


def weight_mask(layer: Layer, keep: np.ndarray) -> LayerMask:
    """The mask of a layer, from which of its weights stay."""
    whole = np.ones(layer.data.shape, dtype=bool)
    whole[layer.weight.counted()] = keep
    return LayerMask(layer.name, layer.data.shape, whole)


def _real_units(layer: Layer) -> np.ndarray:
    """True but for a padding row, shape (units,)."""
    return layer.weight.by_unit(layer.weight.counted())[:, 0]


def unit_scores(layer: Layer, score: np.ndarray) -> np.ndarray:
    """Mean over the weights of each unit."""
    real = _real_units(layer)
    means = layer.weight.by_unit(score)[real].mean(axis=1)
    return ordered(means, np.linalg.norm(layer.weight.by_unit(layer.data)[real], axis=1))


def unit_masks(layers: Sequence[Layer], kept: Sequence[np.ndarray], *, biases: bool) -> list[LayerMask]:
    """Masks of layers whose units stay as `kept` says, with their biases if those go too."""
    masks = []
    for layer, keep in zip(layers, kept, strict=True):
        whole = np.ones(layer.weight.units, dtype=bool)
        whole[_real_units(layer)] = keep
        shape = [1] * layer.data.ndim
        shape[layer.weight.axis] = -1
        mask = np.broadcast_to(whole.reshape(shape), layer.data.shape).copy()
        masks.append(LayerMask(layer.name, layer.data.shape, mask))
        bias = layer.weight.owner._parameters.get("bias")
        if biases and bias is not None and bias.shape == whole.shape:
            masks.append(LayerMask(layer.name.removesuffix("weight") + "bias", whole.shape, whole))
    return masks


def masked_values(layers: Sequence[Layer]) -> Callable[[PruningPlan], dict[str, np.ndarray]]:
    """Make the function from a plan of these layers to the values that tensors have under it."""
    values = {layer.name: layer.data for layer in layers}
    owners = {layer.name.removesuffix("weight") + "bias": layer.weight.owner for layer in layers}

    def of(plan: PruningPlan) -> dict[str, np.ndarray]:
        changed = {}
        for mask in plan.layers:
            before = values.get(mask.name)
            if before is None:
                bias = owners[mask.name]._parameters["bias"]
                assert bias is not None
                before = bias.detach().float().cpu().numpy()
            changed[mask.name] = np.where(mask.keep, before, np.float32(0))
        return changed

    return of
