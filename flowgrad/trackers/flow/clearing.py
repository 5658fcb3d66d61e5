"""Says whether gradients are cleared between two steps of an optimizer, and whether steps use them before that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import ref

import torch
from torch import nn

from flowgrad.trackers.watching import Failed, raising

MANY = 4
"""Number of backward passes before one step from which on it is counted whether they were wasted."""
NEARLY_ALL = 0.9
_COUNTS = ("windows", "wasteful", "passes", "lost", "noted")
_MOST = 64
"""Number of passes that wait to be counted on an accelerator; more of them add nothing new."""


class ClearingProbe:
    """Watches the gradient of one tensor between the steps of its optimizer, at sampled steps.

    Right before a backward pass adds to the gradient, it is either gone, zero, or left over from before. Where none of
    the passes since the optimizer's last step found it gone or zero, the gradient of that step was still in it: it was
    not cleared. Sums of several passes in between (accumulation, a second player's loss) do not count, as one of them,
    the first after clearing, found it cleared. The probe writes nothing, and waits for no accelerator.

    A pass that finds the gradient gone which an earlier pass had brought, with no step of the optimizer in between,
    shows that the earlier one was wasted. Passes within a step (closures) are not counted.
    """

    def __init__(self, failed: Failed = raising) -> None:
        """Watch nothing yet; `failed` is called with errors of a backward pass."""
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
        """Least, over passes, of the largest gradient entry that a pass found before it added its own; 0-dim."""
        self.waiting: list[torch.Tensor] = []
        """Such values of steps taken, to be fetched."""
        self.checks = 0
        """Number of steps of which it is known whether gradients were cleared."""
        self.uncleared = 0
        """Number of these steps whose gradient still held the one of the step before."""
        self.seeking = False
        """Whether it is noted that backward passes reach the tensor: as long as no sampled step had a gradient."""
        self.arrived = 0
        """Number of passes that brought a gradient other than zero while `seeking`."""
        self.noted = 0
        """Number of passes that reached the tensor while `seeking`, whatever they brought."""
        self._brought: list[torch.Tensor] = []
        """Largest entry of the gradient of each pass, on an accelerator, 0-dim each."""
        self._filled: Any = None
        """Handle of the hook that is called once the gradient is there."""
        self._within = False
        """Whether the optimizer is in its step."""
        self._unused = self._gone = False
        """Whether the gradient holds a part that no step has used yet, and whether the pass under way found it gone."""
        self._version = 0
        """Version counter of the gradient when the last pass had added to it."""
        self._added = self._lost = 0
        """Number of passes since the optimizer's last step, and of those whose gradient was cleared before any step."""
        self.windows = 0
        """Number of steps before which there were `MANY` passes or more."""
        self.wasteful = 0
        """Number of steps among these before which at least `NEARLY_ALL` of the passes were wasted."""
        self.passes = 0
        """Number of passes before all steps that were watched."""
        self.lost = 0
        """Number of passes among these that were wasted."""

    def arm(self, parameter: nn.Parameter) -> None:
        """Watch this tensor until `disarm`."""
        if self._handle is not None and self._parameter is parameter:
            return
        self.disarm()
        if parameter.requires_grad and parameter.is_leaf:
            self._parameter, self._handle = parameter, parameter.register_hook(_Hook(self, "_on_gradient"))
            self._filled = parameter.register_post_accumulate_grad_hook(_Hook(self, "_on_filled"))
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
        """Note the present gradient before a pass adds to it."""
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
        entries = _entries(there)
        if entries is None or not entries.numel():
            self._cleared = True
            return
        with torch.no_grad():
            largest = entries.abs().amax().float()
            self._least = largest if self._least is None else torch.minimum(self._least, largest)

    def _on_filled(self, parameter: torch.Tensor) -> None:
        """Note that the pass has added its gradient. `torch.autograd.grad` adds none, and does not come here."""
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
        """Whether somebody has set the gradient to zero since a pass added to it. An accelerator is not waited for: a
        gradient set to zero there counts as kept.
        """
        if not self._unused or there._version == self._version or there.device.type != "cpu":
            return False
        with torch.no_grad():
            return there.layout == torch.strided and there.numel() > 0 and not bool(there.detach().any())

    def stepping(self) -> None:
        """Note that the optimizer is about to step, with the gradient as it is."""
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
        self.noted += 1
        with torch.no_grad():
            largest = gradient.detach().abs().amax()
        if largest.device.type == "cpu":
            self.arrived += bool(largest > 0)
        else:
            self._brought.append(largest)

    def count_arrivals(self) -> int:
        """Number of passes that brought a gradient while `seeking`; waits for the accelerator where some are not
        counted yet.
        """
        self.arrived += sum(bool(largest > 0) for largest in self._brought)
        self._brought = []
        return self.arrived

    def stepped(self) -> None:
        """Note that the optimizer has stepped."""
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
        """Take the fetched values of `waiting`."""
        self.waiting = []
        self.checks += len(fetched)
        self.uncleared += sum(value > 0 for value in fetched)

    def state_dict(self) -> dict[str, int]:
        """State for a checkpoint."""
        return {
            "checks": self.checks,
            "uncleared": self.uncleared,
            "whole": self._whole,
            "arrived": self.count_arrivals(),
            **{key: getattr(self, key) for key in _COUNTS},
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a state that `state_dict` gave."""
        for key in _COUNTS:
            setattr(self, key, state.get(key, 0))
        self.checks, self.uncleared = state["checks"], state["uncleared"]
        self.arrived, self._brought = state.get("arrived", 0), []
        self.disarm()
        self._resumed = bool(state["whole"])


def _entries(gradient: torch.Tensor) -> torch.Tensor | None:
    """The entries that a gradient holds, of a sparse one row by row as they were added; None of other layouts."""
    if gradient.layout == torch.sparse_coo:
        return gradient.detach()._values()
    return gradient.detach() if gradient.layout == torch.strided else None


class _Hook:
    """The hook on a tensor. It does not keep the probe alive, which holds the tensor: such a circle is never freed."""

    def __init__(self, probe: ClearingProbe | None, method: str) -> None:
        self._probe, self._method = (lambda: None) if probe is None else ref(probe), method

    def __reduce__(self) -> tuple[type[_Hook], tuple[ClearingProbe | None, str]]:
        """Copy or pickle the hook with its probe, which a weak reference cannot be."""
        return _Hook, (self._probe(), self._method)

    def __call__(self, tensor: torch.Tensor) -> None:
        probe = self._probe()
        if probe is not None:
            getattr(probe, self._method)(tensor)
