"""A trained model, and all that compressing it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from flowgrad.analyzers.calibration import Calibration
from flowgrad.trackers.embedding import EmbeddingTracker
from flowgrad.trackers.flow import FlowTracker

ROWS = 1024
"""Of the calibration, at most."""
BATCHES = 8
"""That they are dealt into: from the batches' differences it is told whether one plan is better than another."""

Examples = TypeVar("Examples")


@dataclass(frozen=True)
class Compressible:
    """What plans are made of, and what they are judged by. Callables take the model itself or a changed copy."""

    model: nn.Module
    """Trained, in evaluation mode."""
    optimizer: torch.optim.Optimizer
    """That trained it: its state is what analyzers read."""
    calibration: Calibration
    """Validation rows: plans are chosen on them, as training was stopped by them."""
    held_out: Callable[[nn.Module], float]
    """Mean loss on the test rows, without penalty."""
    forward: Callable[[nn.Module], Any]
    """One pass over test rows, for timing."""
    fine_tune: Callable[[nn.Module, int], None]
    """Trains a model on in place, for at most so many epochs; goes back to the best on the validation rows."""
    tracker: FlowTracker | None = None
    """Of a run that was watched by one."""
    trackers: tuple[EmbeddingTracker, ...] = ()
    """Of the tables, of a watched run."""

    @property
    def source(self) -> FlowTracker | nn.Module:
        """What analyzers are given first: the tracker, or the model."""
        return self.model if self.tracker is None else self.tracker


def dealt(count: int, pick: Callable[[Tensor], Examples]) -> list[Examples]:
    """At most `ROWS` of so many rows, evenly spaced, dealt out to batches of equal size.

    Args:
        count: rows there are.
        pick: the rows of these numbers, an int64 tensor.
    """
    kept = torch.linspace(0, count - 1, min(ROWS, count)).round().long()
    size = max(1, len(kept) // BATCHES)
    return [pick(kept[start : start + size * BATCHES : BATCHES]) for start in range(min(BATCHES, len(kept)))]
