"""Says whether anything but the optimizers given writes to the weights between two steps."""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from flowgrad.trackers.flow.look import apart
from flowgrad.trackers.flow.parameters import Watched
from flowgrad.trackers.optimizers import Optimizers

_TENSORS = 8
"""Number of tensors of each optimizer whose counters of writes are read at every step."""
_ENTRIES = 16
"""Number of entries of each that are compared at sampled steps."""
_DRIFT = 0.05
"""Distance, as a share of the length of a step, that weights must move between two steps to count as moved."""
_FEW, _SELDOM = 8, 0.2
"""Number of first writes that are compared with one another, and the share of the steps up to which further ones
are.
"""
_PAIRS = 32
"""Number of pairs of steps whose weights are compared in any case."""
KEPT = 64
"""Number of steps that are remembered before which weights were written to."""


class Rewrites:
    """Compares some weights after a step of an optimizer and before its next.

    At every step these are PyTorch's counters of writes (`Tensor._version`), in which writes through `.data` do not
    show, and which rise where weights are put back as they were. At two sampled steps in a row, these are entries of
    the weights. Nothing is fetched from an accelerator before `scalars`.
    """

    def __init__(self, watched: Sequence[Watched], optimizers: Optimizers) -> None:
        """Start with no step."""
        self._optimizers = optimizers
        self._chosen = {id(one): _spread(watched, optimizers, one) for one in optimizers.all}
        self._noted: dict[int, list[int]] = {}
        self._entries: dict[int, tuple[int, torch.Tensor]] = {}
        """Number of each optimizer's last sampled step, and entries of the weights after it."""
        self._drift: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        """Entries before the step of each optimizer that is about to step, and how far they went since its last
        step.
        """
        self._waiting: list[torch.Tensor] = []
        """Flags of whether weights moved between steps, 0-dim each."""
        self._written: dict[int, torch.Tensor] = {}
        """Entries of each optimizer's weights when they had last been written to."""
        self._alike: list[torch.Tensor] = []
        """Flags of whether they were the same the time before, 0-dim each."""
        self.checks = 0
        """Number of pairs of successive steps of an optimizer whose counters were compared."""
        self.count = 0
        """Number of these pairs between which weights were written to."""
        self.at: deque[int] = deque(maxlen=KEPT)
        """Numbers of the last steps before which weights were written to."""
        self.alike = 0
        """Number of writes that put the very entries there that the write before had."""
        self.compared = 0
        """Number of pairs whose weights were compared."""
        self.moved = 0
        """Number of these pairs between which weights moved."""

    def follow(self, watched: Sequence[Watched], optimizer: Any) -> None:
        """Read the weights of a further optimizer, too."""
        self._chosen = {id(one): _spread(watched, self._optimizers, one) for one in self._optimizers.all}
        self._noted, self._entries, self._drift = {}, {}, {}

    def before(self, optimizer: Any, step: int, *, due: bool) -> None:
        """Note that an optimizer is about to take this step, which is sampled where it is `due`."""
        noted = self._noted.pop(id(optimizer), None)
        if not noted:
            return
        self.checks += 1
        if noted != [p._version for p in self._chosen[id(optimizer)]]:
            self.count += 1
            self.at.append(step)
            if self.count <= KEPT and self.count < max(_FEW, _SELDOM * self.checks):
                self._note_written(id(optimizer))
        last = self._entries.pop(id(optimizer), None)
        if due and last is not None and step - last[0] <= 1:
            self._compare(id(optimizer), last[1])

    @apart
    def _note_written(self, optimizer: int) -> None:
        now, last = entries_of(self._chosen[optimizer]), self._written.get(optimizer)
        self._written[optimizer] = now
        if last is not None and now.numel():
            self._alike.append((now == last).all())

    @apart
    def _compare(self, optimizer: int, after: torch.Tensor) -> None:
        now = entries_of(self._chosen[optimizer])
        self._drift[optimizer] = now, torch.linalg.vector_norm(now - after)

    def stepped(self, optimizer: Any, step: int, *, due: bool) -> None:
        """Note that an optimizer has taken this step."""
        chosen = self._chosen.get(id(optimizer))
        if not chosen:
            return
        self._noted[id(optimizer)] = [p._version for p in chosen]
        if due and self._compares:
            self._settle(id(optimizer), step)

    @property
    def _compares(self) -> bool:
        """Whether entries are compared still: not where nothing was seen to move in the first pairs of steps."""
        return self.compared < _PAIRS or self.count > _SELDOM * self.checks or self.moved > 0

    @apart
    def _settle(self, optimizer: int, step: int) -> None:
        after = entries_of(self._chosen[optimizer])
        self._entries[optimizer] = step, after
        before = self._drift.pop(optimizer, None)
        if before is None:
            return
        self._waiting.append(before[1] > _DRIFT * torch.linalg.vector_norm(after - before[0]))
        if after.device.type == "cpu" or len(self._waiting) >= KEPT:
            self._count()

    def _count(self) -> None:
        self.compared += len(self._waiting)
        self.moved += sum(bool(moved) for moved in self._waiting)
        self._waiting = []
        self.alike += sum(bool(same) for same in self._alike)
        self._alike = []

    def scalars(self) -> dict[str, float]:
        """Figures of how often writes were seen; shares are NaN where no two steps were compared."""
        self._count()
        return {
            "rewrites": float(self.count),
            "rewrite_share": self.count / self.checks if self.checks else math.nan,
            "rewrites_alike": float(self.alike),
            "between_checks": float(self.compared),
            "moved_between_share": self.moved / self.compared if self.compared else math.nan,
        }

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint; loading it later counts as no write."""
        self._count()
        return {"at": list(self.at), **{key: getattr(self, key) for key in _NUMBERS}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        for key in _NUMBERS:
            setattr(self, key, state[key])
        self.at = deque(state["at"], maxlen=KEPT)
        self._noted, self._entries, self._drift, self._waiting = {}, {}, {}, []
        self._written, self._alike = {}, []


_NUMBERS = ("checks", "count", "alike", "compared", "moved")


def entries_of(parameters: Sequence[nn.Parameter]) -> torch.Tensor:
    """Copy of some entries of each tensor, of those on the first one's device."""
    device = parameters[0].device
    parts = []
    for parameter in parameters[:: 2 if len(parameters) > _TENSORS // 2 else 1]:
        values = parameter.detach()
        if values.device == device and values.is_contiguous() and not values.is_complex() and values.numel():
            part = values.view(-1)[:: _stride(values.numel())]
            parts.append(part if part.dtype == torch.float32 else part.float())
    return torch.cat(parts) if parts else torch.zeros(0, device=device)


@functools.cache
def _stride(count: int) -> int:
    """Distance between the entries taken of so many."""
    stride = max(1, -(-count // _ENTRIES))
    while stride > 1 and math.gcd(stride, count) > 1:  # else it would see one column only
        stride += 1
    return stride


def _spread(watched: Sequence[Watched], optimizers: Optimizers, one: Any) -> list[nn.Parameter]:
    """Some tensors that this optimizer alone holds, from the first to the last; no tables that are bounded in use, nor,
    beside others, tensors that ask for no gradient: the loop moves a target network or an average of the weights.
    """
    own = {id(p) for group in one.param_groups for p in group["params"]}
    others = {id(p) for each in optimizers.all if each is not one for g in each.param_groups for p in g["params"]}
    mine = [
        each.parameter
        for each in watched
        if id(each.parameter) in own - others and getattr(each.owner, "max_norm", None) is None
    ]
    return spread(mine)


def spread(parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """Some of these tensors, from the first to the last; beside others, none that asks for no gradient."""
    mine = [parameter for parameter in parameters if parameter.requires_grad] or list(parameters)
    if len(mine) <= _TENSORS:
        return mine
    return [mine[round(k * (len(mine) - 1) / (_TENSORS - 1))] for k in range(_TENSORS)]
