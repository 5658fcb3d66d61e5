"""Holds a trained model with everything that compressing it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from flowgrad.compression.planning.calibration import Calibration
from flowgrad.trackers.embedding import EmbeddingTracker
from flowgrad.trackers.flow import FlowTracker

ROWS = 1024
"""Number of rows of the calibration, at most."""
BATCHES = 8
"""Number of batches that the rows are divided into: the batches' differences say whether one plan is better than
another.
"""

Examples = TypeVar("Examples")


@dataclass(frozen=True)
class Compressible:
    """A model with the data that plans are made on and judged by. Callables take the model itself or a changed copy."""

    model: nn.Module
    """Trained model, in evaluation mode."""
    optimizer: torch.optim.Optimizer
    """The optimizer that trained the model; compression reads its state."""
    calibration: Calibration
    """Calibration on validation rows: plans are chosen on them, as training was stopped by them."""
    held_out: Callable[[nn.Module], float]
    """Mean loss on the test rows, without penalty."""
    forward: Callable[[nn.Module], Any]
    """Pass over test rows, for timing."""
    fine_tune: Callable[[nn.Module, int], None]
    """Trains a model on in place, for at most so many epochs; goes back to the best on the validation rows."""
    tracker: FlowTracker | None = None
    """Tracker of the model, where the run was watched by one."""
    trackers: tuple[EmbeddingTracker, ...] = ()
    """Trackers of the tables, of a watched run."""

    @property
    def source(self) -> FlowTracker | nn.Module:
        """First argument of analyzers: the tracker, or the model."""
        return self.model if self.tracker is None else self.tracker


def split_batches(count: int, pick: Callable[[Tensor], Examples]) -> list[Examples]:
    """Select at most `ROWS` of so many rows, evenly spaced, and divide them into batches of equal size.

    Args:
        count: number of rows.
        pick: the rows of these numbers, an int64 tensor.
    """
    kept = torch.linspace(0, count - 1, min(ROWS, count)).round().long()
    size = max(1, len(kept) // BATCHES)
    return [pick(kept[start : start + size * BATCHES : BATCHES]) for start in range(min(BATCHES, len(kept)))]
