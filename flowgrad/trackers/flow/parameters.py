"""Finds the tensors of a model that are watched, and their names."""

from __future__ import annotations

import sys
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

_WRAPPERS = ("module.", "_orig_mod.")
_SHARDED = ("DTensor", "FlatParameter", "ShardedTensor")


class Watched(NamedTuple):
    """A parameter tensor of the model."""

    name: str
    """Name of the parameter, without the prefixes of `DistributedDataParallel` and `torch.compile`."""
    parameter: nn.Parameter
    owner: nn.Module
    """The module that holds it; the first of several."""


def watched_parameters(model: nn.Module, tracker: str) -> list[Watched]:
    """Find every parameter with a floating point or complex type, each once, in order of definition.

    Raises:
        TypeError: `model` is no module, or its parameters are sharded.
        ValueError: it has none, or one is not initialised yet or on the meta device.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"{tracker}: FlowTracker watches an nn.Module, got {type(model).__name__}")
    found, seen = [], set()
    for path, module in model.named_modules():
        for own, parameter in module._parameters.items():
            if parameter is None or id(parameter) in seen:
                continue
            name = plain_name(f"{path}.{own}" if path else own)
            _check(name, parameter, tracker)
            seen.add(id(parameter))
            if parameter.is_floating_point() or parameter.is_complex():
                found.append(Watched(name, parameter, module))
    if not found:
        raise ValueError(f"{tracker}: {type(model).__name__} has no parameter with a floating point type to watch")
    return found


def plain_name(path: str) -> str:
    """Name of the parameter in the model that was wrapped or compiled.

    >>> plain_name("module._orig_mod.fc.weight")
    'fc.weight'
    """
    changed = True
    while changed:
        changed = False
        for wrapper in _WRAPPERS:
            if path.startswith(wrapper):
                path, changed = path.removeprefix(wrapper), True
    return path.replace("._orig_mod.", ".")


def innermost(model: nn.Module) -> nn.Module:
    """The model within `DistributedDataParallel`. Loops train by the wrapper, and often validate by what it holds."""
    while isinstance(model, nn.parallel.DistributedDataParallel):
        model = model.module
    return model


def _check(name: str, parameter: nn.Parameter, tracker: str) -> None:
    if isinstance(parameter, (UninitializedParameter, UninitializedBuffer)):
        raise ValueError(
            f"{tracker}: {name} has no shape yet (a lazy module); run one batch through the model before tracking it"
        )
    if type(parameter).__name__ in _SHARDED or type(parameter.data).__name__ in _SHARDED:
        raise TypeError(
            f"{tracker}: {name} is sharded over ranks ({type(parameter.data).__name__}), and norms of a shard are not "
            "those of the tensor; FlowTracker watches whole parameters, as of DistributedDataParallel"
        )
    if parameter.device.type == "meta":
        raise ValueError(f"{tracker}: {name} is on the meta device and has no numbers; track the model once it has")


def unit_axis(watched: Watched) -> int | None:
    """Axis of the tensor along which the units of its layer lie; None where it has none (a table of embeddings, a bias,
    a tensor of a module of unknown kind).
    """
    parameter, own = watched.parameter, watched.name.rpartition(".")[2]
    if parameter.dim() < 2 or isinstance(watched.owner, nn.Embedding | nn.EmbeddingBag | nn.Bilinear):
        return None
    if not (own.startswith("weight") or own == "in_proj_weight") or not len(parameter):
        return None
    return 1 if getattr(watched.owner, "transposed", False) else 0


def is_compiled(model: nn.Module) -> bool:
    """Whether the forward pass, or a part of it, runs as a compiled graph, which does not see hooks put on later."""
    # torch imports its compiler, for a second, as soon as it is asked for it.
    compiled = torch._dynamo.OptimizedModule if "torch._dynamo" in sys.modules else ()
    return any(
        getattr(module, "_compiled_call_impl", None) is not None or isinstance(module, compiled)
        for module in model.modules()
    )
