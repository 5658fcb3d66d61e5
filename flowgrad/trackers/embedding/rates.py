"""Reads the settings of the optimizer that holds a table: rate, weight decay, momentum."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.optim import Optimizer

from flowgrad.measures import embedding as measures
from flowgrad.trackers.optimizers import Optimizers, decay_of, is_adaptive, is_decoupled, momentum_of, number

UNKNOWN = {
    "optimizer_known": 0.0,
    **dict.fromkeys(
        (
            "in_optimizer",
            "lr",
            "lr_peak",
            "lr_over_others",
            "lr_default",
            "lr_rising",
            "weight_decay",
            "momentum",
            "adaptive",
            "optimizer_unused",
        ),
        math.nan,
    ),
}
"""Figures where no optimizer was given."""
AT_PEAK, BELOW_PEAK = 0.999, 0.75
"""A rate is rising where it is at its highest now, while its mean over the steps so far lies below this share of it."""


class TableRate:
    """Reads the parameter group that holds one table. Nothing is written to the optimizer, and it is not wrapped."""

    def __init__(self, optimizers: Optimizers) -> None:
        self._optimizers = optimizers
        self._steps = 0
        """Number of steps whose rate was noted."""
        self._sum = self._peak = self._decayed = 0.0
        """Sum of the rates of the steps noted, their highest, and the sum of rate times weight decay."""

    def add(self, optimizer: Any, tracker: str) -> None:
        """Read a further optimizer, too.

        Raises:
            TypeError: it holds no parameter groups.
        """
        self._optimizers.add(optimizer, tracker)

    def note(self, weight: torch.Tensor, steps: int) -> None:
        """Note the rate now as that of the steps up to this one, where it has one that is read without waiting for a
        device.
        """
        held = self._optimizers.group_of(weight)
        rate = math.nan if held is None else number(held[1].get("lr"))
        if held is None or math.isnan(rate):
            return
        self._sum += rate * (steps - self._steps)
        self._decayed += rate * decay_of(*held) * (steps - self._steps)
        self._peak = max(self._peak, rate)
        self._steps = steps

    def figures(self, weight: torch.Tensor) -> dict[str, float]:
        """The scalars of `UNKNOWN`, as far as they are known."""
        held = self._optimizers.group_of(weight)
        if held is None:
            return UNKNOWN | {"optimizer_known": 1.0, "in_optimizer": 0.0}
        optimizer, group = held
        rate = number(group.get("lr"), only_at_hand=False)
        return {
            "optimizer_known": 1.0,
            "in_optimizer": 1.0,
            "lr": rate,
            "lr_peak": max(self._peak, rate),
            "lr_over_others": self._over_others(rate),
            "lr_default": _default_rate(optimizer),
            "lr_rising": math.nan if math.isnan(rate) else float(self._rising(rate)),
            "weight_decay": decay_of(optimizer, group),
            "momentum": momentum_of(group),
            "adaptive": float(is_adaptive(optimizer)),
            "optimizer_unused": float(_unused(optimizer, group, weight)),
        }

    def _over_others(self, rate: float) -> float:
        """Ratio of the table's rate to the highest of all groups; NaN where there is none."""
        rates = [number(group.get("lr"), only_at_hand=False) for group in self._optimizers.groups()]
        highest = max((one for one in rates if one > 0), default=math.nan)
        return rate / highest

    def now(self, weight: torch.Tensor) -> float:
        """Learning rate of the table now; NaN where there is none, or reading it would wait for a device."""
        held = self._optimizers.group_of(weight)
        return math.nan if held is None else number(held[1].get("lr"))

    def decay_share(self, weight: torch.Tensor, norm_ratio: float, square: float, pull: float) -> float:
        """Share of the shrinking of the rows, in [0, 1], that weight decay accounts for; see the measure of that name.

        Args:
            weight: the table.
            norm_ratio: norm of the rows now over that at the start.
            square: `Probes.panel_square`.
            pull: `Probes.panel_pull`.
        """
        held = self._optimizers.group_of(weight)
        if held is None:
            return math.nan
        optimizer, group = held
        decay = decay_of(optimizer, group)
        if decay == 0 and not self._decayed:
            return 0.0
        if is_decoupled(optimizer, group):
            return measures.decay_share(self._decayed, norm_ratio) if self._steps else math.nan
        if is_adaptive(optimizer):
            return measures.decay_pull(decay, square, pull) if 0 <= norm_ratio < 1 else math.nan
        gained = 1.0 - momentum_of(group)  # each pull is added up again by the momentum
        return measures.decay_share(self._decayed / gained, norm_ratio) if self._steps and gained > 0 else math.nan

    def _rising(self, rate: float) -> bool:
        if not self._steps or not self._peak:
            return False
        return rate >= AT_PEAK * self._peak and self._sum / self._steps < BELOW_PEAK * self._peak

    def state_dict(self) -> dict[str, float]:
        """State: the course of the rate, as numbers."""
        return {"steps": self._steps, "sum": self._sum, "peak": self._peak, "decayed": self._decayed}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from a state that `state_dict` gave."""
        self._steps, self._sum, self._peak = int(state["steps"]), state["sum"], state["peak"]
        self._decayed = state["decayed"]


def _unused(optimizer: Optimizer, group: dict[str, Any], weight: torch.Tensor) -> bool:
    """Whether an optimizer that keeps something of each tensor that it steps keeps nothing of this one."""
    state = getattr(optimizer, "state", None)
    keeps = type(optimizer).__module__.startswith("torch.optim") and (is_adaptive(optimizer) or momentum_of(group) > 0)
    if not keeps or not isinstance(state, Mapping):
        return False
    # Adagrad makes what it keeps beforehand.
    return weight not in state or number(state[weight].get("step"), only_at_hand=True) == 0


def rate_of(optimizer: Any, tracker: str) -> TableRate | None:
    """Make the reader of one optimizer, of a wrapper of one, or of several; None where none is given.

    Raises:
        TypeError: `optimizer` holds no parameter groups.
    """
    return None if optimizer is None else TableRate(Optimizers(optimizer, tracker, hooked=False))


def _default_rate(optimizer: Optimizer) -> float:
    """The rate that the optimizer's class has where none is given; NaN where it has none."""
    parameter = inspect.signature(type(optimizer)).parameters.get("lr")
    default = None if parameter is None else parameter.default
    return float(default) if isinstance(default, int | float) else math.nan
