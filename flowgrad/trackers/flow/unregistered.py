"""Finds modules that a model keeps in plain lists or dicts: their weights are no parameters of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import nn

from flowgrad.trackers.flow.leftovers import Leftovers

_OWN = frozenset(vars(nn.Module()))
"""Attributes that every module has, its registered parts among them."""
_MOST = 256
"""Number of entries of one list that are read."""


class Unregistered:
    """Weights that ask for a gradient, in modules that the model holds and does not register.

    The model is searched once, when tracking begins; a list within a list is read, deeper ones are not.
    """

    def __init__(self, model: nn.Module) -> None:
        """Search the model's own attributes and those of its parts."""
        known = {id(parameter) for parameter in model.parameters()}
        parts = set(model.modules())
        found: dict[int, tuple[str, nn.Parameter]] = {}
        for path, module in model.named_modules():
            for name, value in vars(module).items():
                if name in _OWN:
                    continue
                for place, hidden in _modules_in(value, f"{path}.{name}".removeprefix(".")):
                    if hidden not in parts:
                        self._take(found, known, place, hidden)
        self._found = list(found.values())
        self._leftovers = Leftovers(self.parameters)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The weights that were found."""
        return [parameter for _, parameter in self._found]

    def _take(self, found: dict[int, tuple[str, nn.Parameter]], known: set[int], place: str, hidden: nn.Module) -> None:
        for own, parameter in hidden.named_parameters():
            if parameter.requires_grad and id(parameter) not in known:
                found.setdefault(id(parameter), (f"{place}.{own}", parameter))

    def with_gradient(self, held: set[int]) -> list[str]:
        """Names of those that a backward pass reached since tracking began.

        Args:
            held: identities of the tensors that optimizers hold; these are left out.
        """
        old = set(self._leftovers.still())
        return [
            name
            for k, (name, parameter) in enumerate(self._found)
            if k not in old and id(parameter) not in held and parameter.grad is not None and _flows(parameter.grad)
        ]


def _flows(gradient: torch.Tensor) -> bool:
    return gradient.is_sparse or bool(gradient.detach().any())


def _modules_in(value: Any, place: str, depth: int = 2) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules in an attribute, each with its place: the attribute itself, or entries of lists and dicts."""
    if isinstance(value, nn.Module):
        yield place, value
    elif depth and isinstance(value, list | tuple | dict):
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, entry in islice(entries, _MOST):
            if isinstance(entry, nn.Module | list | tuple | dict):
                yield from _modules_in(entry, f"{place}[{key}]", depth - 1)
