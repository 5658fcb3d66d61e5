"""Calls a tracker while a student trains."""

from __future__ import annotations

from torch import Tensor

from flowgrad.trackers.distillation import DistillationTracker
from pipelines.trainers.distillation.losses import KnowledgeDistillation


class LossHistory:
    """Calls a tracker at every step, and lets it compare student and teacher at the end."""

    def __init__(self, tracker: DistillationTracker, loss: KnowledgeDistillation) -> None:
        """Keep both; the loss knows the distance to the teacher of the last batch."""
        self.tracker, self._loss = tracker, loss

    def step(self, loss: Tensor) -> None:
        """Pass the step on; see `Watcher.step`."""
        self.tracker.step(loss, distillation_loss=self._loss.distance)

    def end_epoch(self, train_loss: float, validation_loss: float) -> None:
        """Do nothing; the tracker has no epochs."""

    def detach(self) -> None:
        """Compare and detach at the end of training; noise that was put in is still there, and part of the
        comparison.
        """
        self.tracker.observe()
        self.tracker.detach()
