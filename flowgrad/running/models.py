"""Finds the model that a module belongs to, where a script calls only parts of it: `model.encoder(x)`, or a method of
its own, as Lightning's `training_step` and RecBole's `calculate_loss`.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import Any


def parameters_of(optimizers: Iterable[Any]) -> set[int]:
    """Identities of the tensors that optimizers hold."""
    return {id(one) for optimizer in optimizers for group in optimizer.param_groups for one in group["params"]}


def count_of(model: Any, wanted: set[int]) -> int:
    """Number of the parameters of a model that are among `wanted`."""
    return sum(id(one) in wanted for one in model.parameters())


def whole_of(module: Any, wanted: set[int]) -> Any:
    """Return the smallest live module that holds `module` and most of what optimizers hold: itself, where none holds
    more of it.

    Args:
        module: that was called.
        wanted: identities of the tensors that optimizers hold. Where it holds them all, nothing is searched.
    """
    best, most = module, count_of(module, wanted)
    if most == len(wanted):
        return module
    for one in _holders(module):
        held = count_of(one, wanted)
        if held > most or (held == most and best is not module and _size(one) < _size(best)):
            best, most = one, held
    return best


def _holders(module: Any) -> list[Any]:
    """All modules that hold a module, at any depth."""
    from torch.nn import Module

    parents: dict[int, list[Any]] = {}
    for one in gc.get_objects():
        if issubclass(type(one), Module):  # asking an object for its class may run code of its own
            for child in vars(one).get("_modules", {}).values():
                parents.setdefault(id(child), []).append(one)
    found: dict[int, Any] = {}
    waiting = [module]
    while waiting:
        for parent in parents.get(id(waiting.pop()), ()):
            if id(parent) not in found:
                found[id(parent)] = parent
                waiting.append(parent)
    return list(found.values())


def _size(model: Any) -> tuple[int, int]:
    return sum(1 for _ in model.parameters()), sum(1 for _ in model.modules())
