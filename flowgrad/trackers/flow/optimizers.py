"""The optimizers of a loop: the ones that really step, what they hold, and at which rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer

_ADAPTIVE = ("ada", "rmsprop", "rprop", "lion", "sign", "prodigy", "muon")
"""What is in the names of optimizers that are adaptive and have no `betas`."""
_DEPTH = 4
"""Wrappers around wrappers that are opened."""


class Optimizers:
    """The optimizers that train a model, with wrappers opened: hooks stand on the ones that step."""

    def __init__(self, given: Any, tracker: str) -> None:
        """Find the optimizers in what was given.

        Args:
            given: an optimizer, a wrapper that steps one (as Accelerate's, Lightning's and SAM's), a sequence or a
                mapping of them, or None.
            tracker: its name, for messages.

        Raises:
            TypeError: something in it has no step hooks and holds no optimizer.
        """
        self.all: tuple[Optimizer, ...] = tuple(_opened(given, tracker)) if given is not None else ()

    @property
    def known(self) -> bool:
        """Whether one was given."""
        return bool(self.all)

    def hook(self, before: Callable[..., None], after: Callable[..., None]) -> list[Any]:
        """Call `before` and `after` around every step of each; returns the handles."""
        return [
            handle
            for one in self.all
            for handle in (one.register_step_pre_hook(before), one.register_step_post_hook(after))
        ]

    def groups(self) -> list[dict[str, Any]]:
        """All parameter groups."""
        return [group for one in self.all for group in one.param_groups]

    def held(self, parameters: Sequence[torch.Tensor]) -> np.ndarray | None:
        """Which of the tensors some optimizer holds; None where none was given."""
        if not self.all:
            return None
        held = {id(p) for group in self.groups() for p in group["params"]}
        return np.array([id(p) in held for p in parameters])

    def share_of(self, optimizer: Optimizer, parameters: Sequence[torch.Tensor]) -> list[int] | None:
        """Places of the tensors that are looked at when this one steps: its own, and with the first those of nobody.
        None: all, as there is only one.
        """
        if len(self.all) == 1:
            return None
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        others = {id(p) for one in self.all if one is not optimizer for g in one.param_groups for p in g["params"]}
        first = optimizer is self.all[0]
        return [i for i, p in enumerate(parameters) if id(p) in own or (first and id(p) not in others)]

    def rates(self, parameters: Sequence[torch.Tensor], *, only_at_hand: bool = False) -> np.ndarray:
        """Of each tensor; NaN where it is in no group. Only those at hand: without a transfer from an accelerator."""
        rates = {}
        for group in self.groups():
            value = _number(group.get("lr"), only_at_hand=only_at_hand)
            rates.update({id(p): value for p in group["params"]})
        return np.array([rates.get(id(p), math.nan) for p in parameters])

    def raw_rates(self) -> list[Any]:
        """Learning rate of each group as it stands there."""
        return [group.get("lr") for group in self.groups()]

    def top_rates(self) -> tuple[float, float]:
        """Largest rate of a group, and the largest that a scheduler works towards or from (`initial_lr`, `max_lr`);
        the rate itself where no scheduler wrote one. Of what is at hand without a transfer.
        """
        now = [_number(group.get("lr"), only_at_hand=True) for group in self.groups()]
        base = [
            max((v for key in ("initial_lr", "max_lr") if not math.isnan(v := _number(group.get(key)))), default=rate)
            for group, rate in zip(self.groups(), now, strict=True)
        ]
        return _largest(now), _largest(base)

    def facts(self) -> dict[str, float]:
        """What the optimizers are: adaptive or not, momentum and weight decay; NaN where they differ or say nothing."""
        quasi = {"quasi_newton": float(sum("lbfgs" in type(one).__name__.lower() for one in self.all))}
        if not self.all:
            return quasi | dict.fromkeys(("optimizer_adaptive", "momentum", "weight_decay"), math.nan)
        adaptive = {float(_is_adaptive(one)) for one in self.all}
        momenta = {_momentum(group) for group in self.groups()}
        decays = [_number(group.get("weight_decay")) for group in self.groups()]
        return quasi | {
            "optimizer_adaptive": adaptive.pop() if len(adaptive) == 1 else math.nan,
            "momentum": momenta.pop() if len(momenta) == 1 else math.nan,
            "weight_decay": _largest(decays),
        }


def _opened(given: Any, tracker: str) -> Iterator[Optimizer]:
    found: dict[int, Optimizer] = {}
    for one in _listed(given):
        inner = _inner(one, _DEPTH)
        if inner is None:
            raise TypeError(
                f"{tracker}: optimizer is {type(one).__name__}, which has no step hooks as torch.optim.Optimizer has; "
                "leave it out, and gradients are read at step()"
            )
        found.update({id(each): each for each in inner})
    yield from found.values()


def _listed(given: Any) -> list[Any]:
    if isinstance(given, list | tuple):
        return list(given)
    return list(given.values()) if isinstance(given, dict) else [given]


def _inner(given: Any, depth: int) -> list[Optimizer] | None:
    """The optimizers that step when `given` does: those that it wraps, else itself; None where it is none."""
    held: list[Optimizer] = []
    for value in vars(given).values() if depth and hasattr(given, "__dict__") else ():
        for each in _listed(value):
            if each is not given and (isinstance(each, Optimizer) or _steps(each)):
                held += _inner(each, depth - 1) or []
    if held:
        return held
    named = getattr(given, "optimizer", None)  # behind a property
    if isinstance(named, Optimizer) and named is not given and depth:
        return _inner(named, depth - 1)
    return [given] if hasattr(given, "register_step_pre_hook") else None


def _steps(given: Any) -> bool:
    """Whether it looks like a wrapper of an optimizer."""
    return not isinstance(given, torch.Tensor | type) and all(hasattr(given, name) for name in ("step", "zero_grad"))


def _is_adaptive(optimizer: Optimizer) -> bool:
    """Whether each weight's step is divided by the size of its gradients: Adam and its like, RMSprop, Adagrad, Lion."""
    keys = {key for group in optimizer.param_groups for key in group}
    named = type(optimizer).__name__.lower()
    return "betas" in keys or any(part in named for part in _ADAPTIVE)


def _momentum(group: dict[str, Any]) -> float:
    betas = group.get("betas")
    return _number(betas[0] if isinstance(betas, tuple | list) and betas else group.get("momentum", 0.0))


def _number(value: Any, *, only_at_hand: bool = True) -> float:
    if isinstance(value, torch.Tensor):
        return math.nan if only_at_hand and value.device.type != "cpu" else float(value)
    return float(value) if isinstance(value, int | float) else math.nan


def _largest(values: Sequence[float]) -> float:
    return float(np.fmax.reduce(np.array([math.nan, *values])))
