"""Reads the optimizers of a loop for every tracker: the ones that really step, the tensors that they hold, and the
rates.

A setting that a group lacks, or gives in other terms than a number, is NaN: optimizers of other people need not have a
learning rate, or may set it themselves.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer

_ADAPTIVE = ("ada", "rmsprop", "rprop", "lion", "sign", "prodigy", "muon")
"""Parts of the names of optimizers that are adaptive and have no `betas`."""
_DECOUPLED = ("adamw", "sgdw", "lion", "muon")
"""Parts of the names of optimizers whose weight decay does not go through the gradient."""
_DEPTH = 4
"""Number of nested wrappers that are opened."""


class Optimizers:
    """The optimizers that train a model, with wrappers opened: hooks stand on the ones that step."""

    def __init__(self, given: Any, tracker: str, *, hooked: bool = True) -> None:
        """Find the optimizers in what was given.

        Args:
            given: an optimizer, a wrapper that steps one (as Accelerate's, Lightning's and SAM's), a sequence or a
                mapping of them, or None.
            tracker: its name, for messages.
            hooked: whether hooks are to stand on them; else it is enough that they have parameter groups.

        Raises:
            TypeError: something in it has no step hooks (no parameter groups) and holds no optimizer.
        """
        self.all: tuple[Optimizer, ...] = tuple(_opened(given, tracker, hooked)) if given is not None else ()
        self._shares: dict[int, tuple[tuple[int, int], list[int]]] = {}
        """Map from the identity of an optimizer to the number of tensors asked for and of those it held, and its
        `share_of`.
        """

    @property
    def known(self) -> bool:
        """Whether an optimizer was given."""
        return bool(self.all)

    def hook(
        self, before: Callable[..., None], after: Callable[..., None], those: Sequence[Optimizer] | None = None
    ) -> list[Any]:
        """Call `before` and `after` around every step of each, or of `those` alone; returns the handles."""
        return [
            handle
            for one in (self.all if those is None else those)
            for handle in (one.register_step_pre_hook(before), one.register_step_post_hook(after))
        ]

    def add(self, given: Any, tracker: str) -> tuple[Optimizer, ...]:
        """Take in further optimizers, as `given` to a new one, and return those that are new.

        Raises:
            TypeError: as where they are given at first.
        """
        known = {id(one) for one in self.all}
        fresh = tuple(one for one in _opened(given, tracker, hooked=True) if id(one) not in known)
        self.all += fresh
        self._shares.clear()
        return fresh

    def groups(self) -> list[dict[str, Any]]:
        """All parameter groups."""
        return [group for one in self.all for group in one.param_groups]

    def held(self, parameters: Sequence[torch.Tensor]) -> np.ndarray | None:
        """Flags of the tensors that some optimizer holds, shape (tensors,); None where none was given."""
        if not self.all:
            return None
        held = {id(p) for group in self.groups() for p in group["params"]}
        return np.array([id(p) in held for p in parameters])

    def share_of(self, optimizer: Optimizer, parameters: Sequence[torch.Tensor]) -> list[int] | None:
        """Places of the tensors that are sampled when this one steps: its own, and for the first optimizer also those
        that none holds. None: all, as there is only one.
        """
        if len(self.all) == 1:
            return None
        size = len(parameters), sum(len(group["params"]) for group in optimizer.param_groups)
        known = self._shares.get(id(optimizer))
        if known is None or known[0] != size:
            if known is not None:  # a group was added, so that what nobody held may be held now
                self._shares.clear()
            known = self._shares[id(optimizer)] = size, self._share_of(optimizer, parameters)
        return known[1]

    def _share_of(self, optimizer: Optimizer, parameters: Sequence[torch.Tensor]) -> list[int]:
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        others = {id(p) for one in self.all if one is not optimizer for g in one.param_groups for p in g["params"]}
        first = optimizer is self.all[0]
        return [i for i, p in enumerate(parameters) if id(p) in own or (first and id(p) not in others)]

    def rates(self, parameters: Sequence[torch.Tensor], *, only_at_hand: bool = False) -> np.ndarray:
        """Learning rate of each tensor, shape (tensors,); NaN where it is in no group. With `only_at_hand`, rates on an
        accelerator are not fetched.
        """
        rates = {}
        for group in self.groups():
            value = number(group.get("lr"), only_at_hand=only_at_hand)
            rates.update({id(p): value for p in group["params"]})
        return np.array([rates.get(id(p), math.nan) for p in parameters])

    def rate_by_identity(self) -> dict[int, float]:
        """Map from the identity of each parameter that they hold to its learning rate; NaN where its group has none."""
        rates = {}
        for group in self.groups():
            value = number(group.get("lr"), only_at_hand=False)
            rates.update({id(p): value for p in group["params"]})
        return rates

    def group_of(self, weight: torch.Tensor) -> tuple[Optimizer, dict[str, Any]] | None:
        """The optimizer and the group that hold a tensor; None where none does. They are searched for anew each time:
        `load_state_dict` and `add_param_group` put other groups in place.
        """
        for one in self.all:
            for group in one.param_groups:
                if any(held is weight for held in group["params"]):
                    return one, group
        return None

    def starts(self, parameters: Sequence[torch.Tensor], steps: np.ndarray, taken: int) -> np.ndarray:
        """Compute how much longer steps are than later ones for the reason alone that the mean of squared gradients by
        which they are divided begins at 0: 1 / sqrt(1 - alpha^t) at step t of RMSprop, whose mean is not corrected for
        that as Adam's is (Kingma & Ba 2015, section 3); 1 of any other.

        Args:
            parameters: tensors.
            steps: numbers of steps, from 1 on, since some step of the optimizers.
            taken: number of steps from there until now.

        Returns:
            Ratios, shape (steps, tensors).
        """
        factors = np.ones((len(steps), len(parameters)))
        places = {id(p): i for i, p in enumerate(parameters)}
        for one in self.all:
            if not isinstance(one, torch.optim.RMSprop):
                continue
            for group in one.param_groups:
                decay = number(group.get("alpha"))
                for parameter in group["params"]:
                    place = places.get(id(parameter))
                    counted = number(one.state.get(parameter, {}).get("step"), only_at_hand=False)
                    if place is not None and 0 < decay < 1:
                        earlier = 0.0 if math.isnan(counted) else max(counted - taken, 0.0)
                        factors[:, place] = 1 / np.sqrt(1 - decay ** (steps + earlier))
        return factors

    def raw_rates(self) -> list[Any]:
        """Learning rate of each group as it stands there."""
        return [group.get("lr") for group in self.groups()]

    def top_rates(self) -> tuple[float, float]:
        """Largest rate of a group, and the largest that a scheduler works towards or from (`initial_lr`, `max_lr`); the
        rate itself where no scheduler wrote one. Rates on an accelerator are not fetched.
        """
        now = [number(group.get("lr"), only_at_hand=True) for group in self.groups()]
        base = [
            max((v for key in ("initial_lr", "max_lr") if not math.isnan(v := number(group.get(key)))), default=rate)
            for group, rate in zip(self.groups(), now, strict=True)
        ]
        return _largest(now), _largest(base)

    def facts(self) -> dict[str, float]:
        """Facts on the optimizers: adaptive or not, momentum and weight decay; NaN where they differ or are not
        stated.
        """
        names = [type(one).__name__.lower() for one in self.all]
        quasi = {
            "quasi_newton": float(sum("lbfgs" in name for name in names)),
            "optimizer_anneals": float(any("adagrad" in name for name in names)),
            "optimizer_starts_fast": float(any(isinstance(one, torch.optim.RMSprop) for one in self.all)),
            "optimizers_apart": float(self._apart()),
        }
        if not self.all:
            return quasi | dict.fromkeys(("optimizer_adaptive", "momentum", "weight_decay"), math.nan)
        adaptive = {float(is_adaptive(one)) for one in self.all}
        momenta = {momentum_of(group) for group in self.groups()}
        decays = [number(group.get("weight_decay")) for group in self.groups()]
        return quasi | {
            "optimizer_adaptive": adaptive.pop() if len(adaptive) == 1 else math.nan,
            "momentum": momenta.pop() if len(momenta) == 1 else math.nan,
            "weight_decay": _largest(decays),
        }

    def _apart(self) -> int:
        """Number of optimizers that hold tensors which no other one holds."""
        held = [{id(p) for group in one.param_groups for p in group["params"]} for one in self.all]
        times = Counter(place for own in held for place in own)
        return sum(any(times[place] == 1 for place in own) for own in held)


def _opened(given: Any, tracker: str, hooked: bool) -> Iterator[Optimizer]:
    found: dict[int, Optimizer] = {}
    many = isinstance(given, Iterable) and not isinstance(given, dict | str) and not hasattr(given, "param_groups")
    for one in list(given) if many else _listed(given):
        inner = _inner(one, _DEPTH, hooked)
        if inner is None and not hooked:
            raise TypeError(
                f"{tracker}: optimizer={type(one).__name__} holds no param_groups; give the torch.optim.Optimizer that "
                "holds the parameters, or several of them"
            )
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


def _inner(given: Any, depth: int, hooked: bool) -> list[Optimizer] | None:
    """Find the optimizers that step when `given` does: those that it wraps, else itself; None where it is none."""
    held: list[Optimizer] = []
    for value in vars(given).values() if depth and hasattr(given, "__dict__") else ():
        for each in _listed(value):
            if each is not given and (isinstance(each, Optimizer) or _steps(each)):
                held += _inner(each, depth - 1, hooked) or []
    if held:
        return held
    named = getattr(given, "optimizer", None)  # behind a property
    if isinstance(named, Optimizer) and named is not given and depth:
        return _inner(named, depth - 1, hooked)
    return [given] if hasattr(given, "register_step_pre_hook" if hooked else "param_groups") else None


def _steps(given: Any) -> bool:
    """Whether the object has the interface of a wrapper of an optimizer."""
    return not isinstance(given, torch.Tensor | type) and all(hasattr(given, name) for name in ("step", "zero_grad"))


def is_skipped(optimizer: Any) -> bool:
    """Whether the step that is under way changes nothing, because a gradient scaler found infinite gradients: fused
    optimizers are called all the same. A flag on an accelerator is not waited for, and counts as unset.
    """
    found = getattr(optimizer, "found_inf", None)
    return isinstance(found, torch.Tensor) and found.device.type == "cpu" and bool(found)


def is_adaptive(optimizer: Optimizer) -> bool:
    """Whether each weight's step is divided by the size of its gradients: Adam and its like, RMSprop, Adagrad, Lion."""
    keys = {key for group in optimizer.param_groups for key in group}
    named = type(optimizer).__name__.lower()
    return "betas" in keys or any(part in named for part in _ADAPTIVE)


def momentum_of(group: dict[str, Any]) -> float:
    """Momentum coefficient of a group, or its first beta, usually in [0, 1); 0 without, NaN where it is no number."""
    betas = group.get("betas")
    return number(betas[0] if isinstance(betas, tuple | list) and betas else group.get("momentum", 0.0))


def decay_of(optimizer: Optimizer, group: dict[str, Any]) -> float:
    """Weight decay rate of a group; without one 0 for PyTorch's own optimizers, and NaN for others, which may name it
    otherwise.
    """
    own = type(optimizer).__module__.startswith("torch.optim")
    return number(group.get("weight_decay", 0.0 if own else None), only_at_hand=False)


def is_decoupled(optimizer: Optimizer, group: dict[str, Any]) -> bool:
    """Whether weight decay scales the weights themselves, past the gradient (Loshchilov & Hutter 2019)."""
    named = type(optimizer).__name__.lower()
    return bool(group.get("decoupled_weight_decay")) or any(part in named for part in _DECOUPLED)


def number(value: Any, *, only_at_hand: bool = True) -> float:
    """Value of a setting of a group, in its own unit; NaN where it is no number, or, where only values at hand count,
    on an accelerator.
    """
    if isinstance(value, torch.Tensor):
        return math.nan if only_at_hand and value.device.type != "cpu" else float(value)
    return float(value) if isinstance(value, int | float) else math.nan


def _largest(values: Sequence[float]) -> float:
    return float(np.fmax.reduce(np.array([math.nan, *values])))
