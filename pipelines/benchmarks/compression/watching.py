"""Attaches further watchers to a run, besides the trackers of its config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from flowgrad.trackers.squared_gradients import SquaredGradients


class Watching:
    """Squared gradients of an optimizer that keeps none, and the peer's `FlowTracker`; made by the training loop.

    Attributes:
        squares: of SGD; None for other optimizers.
        peer: None where it is not asked for.
    """

    def __init__(self, *, peer: bool) -> None:
        self._asked = peer
        self.squares: SquaredGradients | None = None
        self.peer: Any = None

    def __call__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> Sequence[Any]:
        """Attach to a model that is about to be trained."""
        found: list[Any] = []
        if isinstance(optimizer, torch.optim.SGD):
            self.squares = SquaredGradients(optimizer)
            found.append(_Told(self.squares))
        if self._asked:
            from pipelines.benchmarks.gradtracer.flow import PeerFlowTracker

            self.peer = PeerFlowTracker(model, optimizer)
            found.append(self.peer)
        return found


class _Told:
    """Adapter of a watcher that a hook of its own tells of steps; the loop calls it at the end."""

    def __init__(self, squares: SquaredGradients) -> None:
        self._squares = squares

    def step(self, loss: Any) -> None:
        """Do nothing; the hook notes the step."""

    def end_epoch(self, *losses: float) -> None:
        """Do nothing; the watcher has no epochs."""

    def detach(self) -> None:
        """Take the watcher off: training is over."""
        self._squares.detach()
