"""Finds the parameter of the table that is watched, whatever became of it."""

from __future__ import annotations

import torch
from torch import nn

from flowgrad.errors import FlowGradError
from flowgrad.trackers.watching import ChangedError


def check_size(layer: nn.Embedding | nn.EmbeddingBag, tracker: str) -> None:
    """Refuse a table that has no number in it.

    Raises:
        FlowGradError: it has no rows or no columns.
    """
    if not layer.weight.numel():
        raise FlowGradError(
            f"{tracker}: the table has the shape {tuple(layer.weight.shape)}, and nothing in it can be looked up or "
            "move; leave it unwatched, or give it rows and columns"
        )


def parameter_of(layer: nn.Module, tracker: str) -> torch.Tensor:
    """Find the tensor that is trained: the layer's weight, or under a mask or a parametrisation its source.

    Raises:
        ChangedError: the layer holds none.
    """
    own = layer._parameters.get("weight")
    if own is None:
        own = layer._parameters.get("weight_orig")  # torch.nn.utils.prune
    if own is not None:
        return own
    made = layer._modules.get("parametrizations")
    inner = None if made is None else made._modules.get("weight")
    for held in (getattr(inner, "original", None), layer._buffers.get("weight"), vars(layer).get("weight")):
        if isinstance(held, torch.Tensor):
            return held
    raise gone(tracker)


def gone(tracker: str) -> ChangedError:
    """Make the error of a layer whose weight is no parameter any more."""
    return ChangedError(
        f"{tracker}: the weight of the table is no parameter of it any more (pruned under a mask, parametrised, made a "
        "buffer or deleted); make it one again, as make_permanent(model) does with masks, and attach a new tracker"
    )
