"""Units that are dead or saturated, read from what activation modules put out at the steps looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from flowgrad.measures.flow import SATURATED

_ZEROING = (nn.ReLU, nn.ReLU6)
_BOUNDS: dict[type[nn.Module], tuple[float, float]] = {
    nn.Tanh: (-1.0, 1.0),
    nn.Sigmoid: (0.0, 1.0),
    nn.Hardsigmoid: (0.0, 1.0),
}


@dataclass
class Block:
    """What some looks in a row showed of the layer behind one weight."""

    highest: torch.Tensor | None = None
    """Largest output of each unit for any example, shape (units,)."""
    saturated: torch.Tensor | None = None
    """Sum over calls of the share of saturated outputs, 0-dim."""
    calls: int = 0

    @property
    def alive(self) -> torch.Tensor | None:
        """Units with an output other than zero for some example, shape (units,). A NaN is no dead unit."""
        return None if self.highest is None else ~(self.highest <= 0)


class ActivationWatch:
    """Hooks on the layers of a model that are there only while a step is looked at; between looks they cost nothing.

    An activation belongs to the weight used last before it. Passes without gradients are not counted.
    """

    def __init__(self, owners: Mapping[nn.Module, str], modules: Iterable[nn.Module]) -> None:
        """Put no hook on yet.

        Args:
            owners: modules that hold parameters, with the name of the weight that has units; empty where none has.
            modules: that may be looked at.
        """
        self._owners = owners
        self._places = {owner: place for place, owner in enumerate(owners)}
        self._modules = [
            module for module in modules if module in owners or isinstance(module, (*_ZEROING, *_BOUNDS, nn.RNN))
        ]
        self._handles: list[RemovableHandle] = []
        self._last: nn.Module | None = None
        """Module of the weight used last."""
        self.order: dict[int, None] = {}
        """Places of the owners in `owners`, in order of first use."""
        self.blocks: dict[str, Block] = {}
        """By name of the weight, of the looks since `turn`."""
        self.before: dict[str, Block] = {}
        """Of the looks before that."""

    def arm(self) -> None:
        """Watch the next forward passes."""
        if not self._handles:
            hook = _ActivationHook(self)
            self._handles = [module.register_forward_hook(hook) for module in self._modules]
        self._last = None

    def disarm(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def turn(self) -> None:
        """Begin new blocks; those so far become the ones before."""
        self.before, self.blocks = self.blocks, {}

    def note(self, module: nn.Module, output: Any) -> None:
        """What a module put out."""
        if module in self._owners:
            self.order.setdefault(self._places[module])
            if self._owners[module]:
                self._last = module
        if isinstance(module, nn.RNN):
            output = output[0]
        if self._last is None or not isinstance(output, torch.Tensor) or not output.dim():
            return
        zeroing = _zeroing(module)
        bounds = None if zeroing else _bounds(module)
        if zeroing or bounds:
            block = self.blocks.setdefault(self._owners[self._last], Block())
            self._add(block, output.detach(), bounds)

    def _add(self, block: Block, output: torch.Tensor, bounds: tuple[float, float] | None) -> None:
        if bounds is None:
            others = _all_but(output, self._axis(output))
            highest = output.amax(others) if others else output.clone()
            if block.highest is not None and block.highest.shape == highest.shape:
                highest = torch.maximum(block.highest, highest)
            block.highest = highest
            return
        low, high = bounds
        middle, half = (high + low) / 2, (high - low) / 2
        share = ((output - middle).abs() >= SATURATED * half).float().mean()
        block.saturated = share if block.saturated is None else block.saturated + share
        block.calls += 1

    def _axis(self, output: torch.Tensor) -> int:
        """Units lie along the last axis, and along the channels behind a convolution."""
        weight = getattr(self._last, "weight", None)
        if isinstance(weight, torch.Tensor) and weight.dim() >= 3:
            if output.dim() == weight.dim():
                return 1
            if output.dim() == weight.dim() - 1:
                return 0
        return output.dim() - 1

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "order": list(self.order),
            "blocks": {name: vars(block).copy() for name, block in self.blocks.items()},
            "before": {name: vars(block).copy() for name, block in self.before.items()},
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from a checkpoint."""
        self.order = dict.fromkeys(state["order"])
        self.blocks, self.before = (
            {name: _loaded(block, device) for name, block in state[key].items()} for key in ("blocks", "before")
        )


class _ActivationHook:
    """The hook on the layers. A copied or pickled model carries an inert one: the copy is not what is tracked."""

    def __init__(self, watch: ActivationWatch | None = None) -> None:
        self._watch = watch

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if torch.compiler.is_compiling() or self._watch is None or not torch.is_grad_enabled():
            return
        if torch._C._functorch.peek_interpreter_stack() is None:  # `torch.func` lets nobody look inside
            self._watch.note(module, output)

    def __reduce__(self) -> tuple[type[_ActivationHook], tuple[()]]:
        return _ActivationHook, ()


def _zeroing(module: nn.Module) -> bool:
    return isinstance(module, _ZEROING) or (isinstance(module, nn.RNN) and module.nonlinearity == "relu")


def _bounds(module: nn.Module) -> tuple[float, float] | None:
    if isinstance(module, nn.RNN):
        return (-1.0, 1.0)
    return next((bounds for kind, bounds in _BOUNDS.items() if isinstance(module, kind)), None)


def _all_but(output: torch.Tensor, axis: int) -> list[int]:
    return [i for i in range(output.dim()) if i != axis]


def _loaded(block: dict[str, Any], device: torch.device) -> Block:
    tensors = {key: None if block[key] is None else block[key].to(device).clone() for key in ("highest", "saturated")}
    return Block(**tensors, calls=block["calls"])
