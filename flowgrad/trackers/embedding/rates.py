"""What the optimizer that holds a table is set to do to it: rate, weight decay, momentum."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.optim import Optimizer

UNKNOWN = {
    "optimizer_known": 0.0,
    **dict.fromkeys(
        ("in_optimizer", "lr", "lr_default", "lr_rising", "weight_decay", "momentum", "adaptive"), math.nan
    ),
}
"""The figures where no optimizer was told."""
AT_PEAK, BELOW_PEAK = 0.999, 0.75
"""A rate is rising where it is at its highest now, while its mean over the steps so far lies below this share of it."""


class TableRate:
    """Reads the parameter group that holds one table. Nothing is written to the optimizer, and it is not wrapped."""

    def __init__(self, optimizers: Iterable[Optimizer]) -> None:
        self._optimizers = tuple(optimizers)
        self._steps = 0
        """Steps whose rate was noted."""
        self._sum = self._peak = 0.0

    def note(self, weight: torch.Tensor, steps: int) -> None:
        """Note the rate now as that of the steps up to this one, unless reading it would wait for a device."""
        held = self._held(weight)
        rate = None if held is None else held[1]["lr"]
        if rate is None or (isinstance(rate, torch.Tensor) and rate.is_cuda):
            return
        self._sum += float(rate) * (steps - self._steps)
        self._peak = max(self._peak, float(rate))
        self._steps = steps

    def figures(self, weight: torch.Tensor) -> dict[str, float]:
        """The scalars of `UNKNOWN`, as far as they are known."""
        held = self._held(weight)
        if held is None:
            return UNKNOWN | {"optimizer_known": 1.0, "in_optimizer": 0.0}
        optimizer, group = held
        rate = float(group["lr"])
        return {
            "optimizer_known": 1.0,
            "in_optimizer": 1.0,
            "lr": rate,
            "lr_default": _default_rate(optimizer),
            "lr_rising": float(self._rising(rate)),
            "weight_decay": float(group.get("weight_decay", 0.0)),
            "momentum": float(group.get("momentum", group.get("betas", (0.0,))[0])),
            "adaptive": float("eps" in group),  # what divides by a mean of squared gradients has one
        }

    def _rising(self, rate: float) -> bool:
        if not self._steps or not self._peak:
            return False
        return rate >= AT_PEAK * self._peak and self._sum / self._steps < BELOW_PEAK * self._peak

    def _held(self, weight: torch.Tensor) -> tuple[Optimizer, dict[str, Any]] | None:
        # Looked for anew each time: `load_state_dict` and `add_param_group` put other groups in place.
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                if any(held is weight for held in group["params"]):
                    return optimizer, group
        return None

    def state_dict(self) -> dict[str, float]:
        """The course of the rate, as numbers."""
        return {"steps": self._steps, "sum": self._sum, "peak": self._peak}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from where `state_dict` was taken."""
        self._steps, self._sum, self._peak = int(state["steps"]), state["sum"], state["peak"]


def rate_of(optimizer: Optimizer | Iterable[Optimizer] | None) -> TableRate | None:
    """The reader of one optimizer, or of several; None where none is told.

    Raises:
        TypeError: something that holds no parameter groups.
    """
    if optimizer is None:
        return None
    told: tuple[Any, ...] = (optimizer,)
    if isinstance(optimizer, Iterable) and not hasattr(optimizer, "param_groups"):
        told = tuple(optimizer)
    for one in told:
        if not hasattr(one, "param_groups"):
            raise TypeError(
                f"optimizer={type(one).__name__} holds no param_groups; give the torch.optim.Optimizer that holds the "
                "table, or several of them"
            )
    return TableRate(told)


def _default_rate(optimizer: Optimizer) -> float:
    """The rate that the optimizer's class has where none is given; NaN where it has none."""
    parameter = inspect.signature(type(optimizer)).parameters.get("lr")
    default = None if parameter is None else parameter.default
    return float(default) if isinstance(default, int | float) else math.nan
