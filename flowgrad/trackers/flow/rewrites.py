"""Whether anything but the optimizers given writes to the weights between two steps."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

from torch import nn

from flowgrad.trackers.flow.optimizers import Optimizers
from flowgrad.trackers.flow.parameters import Watched

_TENSORS = 8
"""Tensors of each optimizer whose counters of writes are read at every step."""
KEPT = 64
"""Steps before which weights were written to that are remembered."""


class Rewrites:
    """Compares PyTorch's counters of writes (`Tensor._version`) after a step of an optimizer and before its next.

    Writes through `.data` do not show. Nothing is read from an accelerator.
    """

    def __init__(self, watched: list[Watched], optimizers: Optimizers) -> None:
        """Start with no step."""
        self._chosen = {id(one): _spread(watched, optimizers, one) for one in optimizers.all}
        self._noted: dict[int, list[int]] = {}
        self.checks = 0
        """Pairs of successive steps of an optimizer that were compared."""
        self.count = 0
        """Of these, those between which weights were written to."""
        self.at: deque[int] = deque(maxlen=KEPT)
        """Numbers of the steps before which that was, the last ones."""

    def stepped(self, optimizer: Any) -> None:
        """An optimizer has stepped."""
        self._noted[id(optimizer)] = [p._version for p in self._chosen.get(id(optimizer), ())]

    def before(self, optimizer: Any, step: int) -> None:
        """An optimizer is about to take this step."""
        noted = self._noted.pop(id(optimizer), None)
        if not noted:
            return
        self.checks += 1
        if noted != [p._version for p in self._chosen[id(optimizer)]]:
            self.count += 1
            self.at.append(step)

    def scalars(self) -> dict[str, float]:
        """How often; NaN where no two steps were compared."""
        share = self.count / self.checks if self.checks else math.nan
        return {"rewrites": float(self.count) if self.checks else math.nan, "rewrite_share": share}

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint; what is loaded after it counts as no write."""
        return {"checks": self.checks, "count": self.count, "at": list(self.at)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.checks, self.count = state["checks"], state["count"]
        self.at = deque(state["at"], maxlen=KEPT)
        self._noted = {}


def _spread(watched: list[Watched], optimizers: Optimizers, one: Any) -> list[nn.Parameter]:
    """Some tensors that this optimizer alone holds, from the first to the last; no tables that are bounded in use."""
    own = {id(p) for group in one.param_groups for p in group["params"]}
    others = {id(p) for each in optimizers.all if each is not one for g in each.param_groups for p in g["params"]}
    mine = [
        each.parameter
        for each in watched
        if id(each.parameter) in own - others and getattr(each.owner, "max_norm", None) is None
    ]
    if len(mine) <= _TENSORS:
        return mine
    return [mine[round(k * (len(mine) - 1) / (_TENSORS - 1))] for k in range(_TENSORS)]
