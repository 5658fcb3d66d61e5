"""Finds what there is to watch in a model: its tables of embeddings, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from flowgrad.trackers.flow.parameters import plain_name
from flowgrad.trackers.watching import ArgumentTypeError

MOST_FOLLOWED, LEAST_FOLLOWED = 12_288, 512
"""Number of rows of a table that are followed, at most and at least. Shares of fewer are rough."""
_COPIES, _SHARE, _SMALL = 5, 0.05, 2 << 20
"""Number of copies of the rows followed that a tracker holds; and what these may take: a share of the memory of all
tables, or so many bytes where that is less.
"""


def as_model(given: Any, name: str) -> nn.Module:
    """Return the model that was given; several models become one that holds them, and are not changed.

    Raises:
        ArgumentTypeError: it is no module, and no list or dict of modules.
    """
    if isinstance(given, nn.Module):
        return given
    if isinstance(given, Mapping) and given and all(isinstance(one, nn.Module) for one in given.values()):
        held = nn.Module()
        held._modules.update({str(key): one for key, one in given.items()})
        return held
    if isinstance(given, Sequence) and given and all(isinstance(one, nn.Module) for one in given):
        return as_model(dict(enumerate(given)), name)
    raise ArgumentTypeError(
        f"{name}: model is {type(given).__name__}; give the torch.nn.Module that is trained, or a list or dict of them"
    )


def tables_of(model: nn.Module) -> dict[str, nn.Embedding | nn.EmbeddingBag]:
    """Find every `nn.Embedding` and `nn.EmbeddingBag`, each once, by its path without the prefixes of wrappers."""
    found: dict[str, nn.Embedding | nn.EmbeddingBag] = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            name = plain_name(path) or type(module).__name__
            found[path if name in found else name] = module
    return found


def sample_of(tables: Iterable[nn.Module]) -> int:
    """Number of rows of each table whose weights are followed: as many as by default, or fewer where these would take
    more than a small part of the memory of all tables.
    """
    weights = [weight for one in tables if isinstance(weight := one._parameters.get("weight"), torch.Tensor)]
    most = max(_SMALL, _SHARE * sum(weight.nbytes for weight in weights))
    sample = MOST_FOLLOWED
    while sample > LEAST_FOLLOWED and sum(_COPIES * weight[:sample].nbytes for weight in weights) > most:
        sample -= LEAST_FOLLOWED
    return sample


def signature(model: nn.Module) -> list[tuple[Any, ...]]:
    """List identity, place and number of writes of every parameter, which show whether one was moved or written to."""
    return [(id(one), one.device, one.dtype, *_content(one)) for one in model.parameters()]


def _content(parameter: torch.Tensor) -> tuple[Any, ...]:
    try:
        return tuple(parameter.shape), 0 if parameter.is_inference() else parameter._version, parameter.data_ptr()
    except (RuntimeError, ValueError):  # of tensors without a shape or a memory of their own
        return ()
