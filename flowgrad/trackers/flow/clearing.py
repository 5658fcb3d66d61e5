"""Whether gradients are cleared between two steps of an optimizer, and whether steps use them before that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from flowgrad.trackers.watching import Failed, raising

MANY = 8
"""Backward passes before one step from which on it tells whether they were for nothing."""
NEARLY_ALL = 0.9
_COUNTS = ("windows", "wasteful", "passes", "lost")
_MOST = 64
"""Arrivals that wait to be counted on an accelerator; more of them tell nothing new."""


class ClearingProbe:
    """Watches the gradient of one tensor between the steps of its optimizer, at the steps that are looked at.

    Right before a backward pass adds to the gradient, it is either gone, zero, or what is left from before. Where none
    of the passes since the optimizer's last step found it gone or zero, what that step used was still in it: it was
    not cleared. What several passes add up in between (accumulation, a second player's loss) does not count, as one of
    them, the first after clearing, found it cleared. Writes nothing, and waits for no accelerator.

    A pass that finds the gradient gone which an earlier pass had brought, with no step of the optimizer in between,
    shows that the earlier one was for nothing. Passes within a step (closures) are not counted.
    """

    def __init__(self, failed: Failed = raising) -> None:
        """Watch nothing yet; `failed` is told of what goes wrong in a backward pass."""
        self._failed = failed
        self._handle: Any = None
        self._parameter: nn.Parameter | None = None
        self._whole = False
        """Whether the hook has been there since the optimizer's last step."""
        self._resumed = False
        """Whether it had been there when a checkpoint was taken."""
        self._passes = 0
        self._cleared = False
        self._least: torch.Tensor | None = None
        """Smallest largest entry that a pass found, 0-dim."""
        self.waiting: list[torch.Tensor] = []
        """The same of steps taken, to be fetched."""
        self.checks = 0
        """Steps of which it is known."""
        self.uncleared = 0
        """Of these, those whose gradient still held the one of the step before."""
        self.seeking = False
        """Whether it is noted that backward passes reach the tensor: as long as no look found a gradient."""
        self.arrived = 0
        """Passes that brought a gradient other than zero while `seeking`."""
        self._brought: list[torch.Tensor] = []
        """Largest entry of what passes brought, on an accelerator, 0-dim each."""
        self._filled: Any = None
        """Handle of the hook that is called once the gradient is there."""
        self._within = False
        """Whether the optimizer is in its step."""
        self._unused = self._gone = False
        """Whether the gradient holds what no step has used yet, and whether the pass under way found it gone."""
        self._version = 0
        """Version of the gradient when the last pass had added to it."""
        self._added = self._lost = 0
        """Passes since the optimizer's last step, and those of them whose gradient was cleared before any step."""
        self.windows = 0
        """Steps before which there were `MANY` passes or more."""
        self.wasteful = 0
        """Steps among these before which at least `NEARLY_ALL` of the passes were for nothing."""
        self.passes = 0
        """Passes before all steps that were watched."""
        self.lost = 0
        """Passes among these that were for nothing."""

    def arm(self, parameter: nn.Parameter) -> None:
        """Watch this tensor until `disarm`."""
        if self._handle is not None and self._parameter is parameter:
            return
        self.disarm()
        if parameter.requires_grad and parameter.is_leaf:
            self._parameter, self._handle = parameter, parameter.register_hook(self._on_gradient)
            self._filled = parameter.register_post_accumulate_grad_hook(self._on_filled)
            self._whole, self._resumed = self._resumed, False

    def disarm(self) -> None:
        """Take the hook off."""
        if self._handle is not None:
            self._handle.remove()
            self._filled.remove()
        self._handle = self._filled = self._parameter = None
        self._whole = False
        self._start()

    def _start(self) -> None:
        self._passes, self._cleared, self._least = 0, False, None
        self._added, self._lost, self._unused, self._within = 0, 0, False, False

    def _on_gradient(self, gradient: torch.Tensor) -> None:
        """Before it is added: what is there already?"""
        try:
            self._find(gradient)
        except Exception as error:
            self._failed("a backward pass", error)

    def _find(self, gradient: torch.Tensor) -> None:
        there = None if self._parameter is None else self._parameter.grad
        self._passes += 1
        self._gone = there is None or self._is_zeroed(there)
        if self.seeking:
            self._note_arrival(gradient)
        if there is None or self._cleared:
            self._cleared = True
            return
        if there.layout != torch.strided or not there.numel():
            self._cleared = True
            return
        with torch.no_grad():
            largest = there.detach().abs().amax().float()
            self._least = largest if self._least is None else torch.minimum(self._least, largest)

    def _on_filled(self, parameter: torch.Tensor) -> None:
        """The pass has added its gradient. `torch.autograd.grad` adds none, and does not come here."""
        if self._within:
            return
        try:
            self._added += 1
            self._lost += self._unused and self._gone
            self._unused = True
            if parameter.grad is not None:
                self._version = parameter.grad._version
        except Exception as error:
            self._failed("a backward pass", error)

    def _is_zeroed(self, there: torch.Tensor) -> bool:
        """Whether somebody has set the gradient to zero since a pass added to it. An accelerator is not waited for:
        what was set to zero there counts as kept.
        """
        if not self._unused or there._version == self._version or there.device.type != "cpu":
            return False
        with torch.no_grad():
            return there.layout == torch.strided and there.numel() > 0 and not bool(there.detach().any())

    def stepping(self) -> None:
        """The optimizer is about to step, with what is there."""
        self._within = True

    def _count_lost(self) -> None:
        if self._handle is None or not self._added:
            return
        self.passes += self._added
        self.lost += self._lost
        if self._added >= MANY:
            self.windows += 1
            self.wasteful += self._lost >= NEARLY_ALL * (self._added - 1)

    def _note_arrival(self, gradient: torch.Tensor) -> None:
        if gradient.layout != torch.strided or not gradient.numel() or len(self._brought) >= _MOST:
            return
        with torch.no_grad():
            largest = gradient.detach().abs().amax()
        if largest.device.type == "cpu":
            self.arrived += bool(largest > 0)
        else:
            self._brought.append(largest)

    def count_arrivals(self) -> int:
        """Passes that brought a gradient while `seeking`; waits for the accelerator where some are not counted yet."""
        self.arrived += sum(bool(largest > 0) for largest in self._brought)
        self._brought = []
        return self.arrived

    def stepped(self) -> None:
        """The optimizer has stepped."""
        self._count_lost()
        if self._handle is not None and self._whole and self._passes:
            if self._cleared:
                self.checks += 1
            else:
                self._wait()
        self._start()
        self._whole = self._handle is not None

    def _wait(self) -> None:
        if self._least is None:
            return
        self.waiting.append(self._least)
        if self._least.device.type == "cpu":
            self.settle([float(self._least)])

    def settle(self, fetched: Sequence[float]) -> None:
        """What those in `waiting` were."""
        self.waiting = []
        self.checks += len(fetched)
        self.uncleared += sum(value > 0 for value in fetched)

    def state_dict(self) -> dict[str, int]:
        """For a checkpoint."""
        return {
            "checks": self.checks,
            "uncleared": self.uncleared,
            "whole": self._whole,
            "arrived": self.count_arrivals(),
            **{key: getattr(self, key) for key in _COUNTS},
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a checkpoint."""
        for key in _COUNTS:
            setattr(self, key, state.get(key, 0))
        self.checks, self.uncleared = state["checks"], state["uncleared"]
        self.arrived, self._brought = state.get("arrived", 0), []
        self.disarm()
        self._resumed = bool(state["whole"])
