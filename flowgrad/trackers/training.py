"""The course of the losses: what a run says of itself, whatever the model."""

from __future__ import annotations

import math

from flowgrad.measurements import Measurements
from flowgrad.measures import training
from flowgrad.rules import RuleBook
from flowgrad.trackers.base import Tracker


class TrainingTracker(Tracker):
    """Collects one training and one validation loss an epoch.

    Example::

        tracker = TrainingTracker(target_variance=ratings.var())
        tracker.end_epoch(train_loss=0.92, validation_loss=1.01)
        print(tracker.to_agent_xml())
    """

    KIND = "training"
    MEASURES = training.MEASURES

    def __init__(
        self,
        name: str = "training",
        target_variance: float | None = None,
        l2_penalty: float | None = None,
        rules: RuleBook | None = None,
    ) -> None:
        """Start with no epoch seen.

        Args:
            name: what is trained; `layer` of the report.
            target_variance: variance of the training targets, for losses that are squared errors; None otherwise.
            l2_penalty: strength of the L2 penalty that is part of the loss, 0 for none; None where it is not known.
            rules: rule book to judge by; the shipped one if None.
        """
        super().__init__(name, rules)
        self._target_variance = math.nan if target_variance is None else float(target_variance)
        self._l2_penalty = math.nan if l2_penalty is None else float(l2_penalty)
        self._train: list[float] = []
        self._validation: list[float] = []
        self._steps = 0

    def end_epoch(self, train_loss: float, validation_loss: float | None = None, steps: int = 0) -> None:
        """Note one finished epoch: mean training loss, validation loss (lower is better) and steps taken in it."""
        self._train.append(float(train_loss))
        if validation_loss is not None:
            self._validation.append(float(validation_loss))
        self._steps += steps

    @property
    def train_losses(self) -> tuple[float, ...]:
        """Mean training loss of each epoch."""
        return tuple(self._train)

    @property
    def validation_losses(self) -> tuple[float, ...]:
        """Validation loss after each epoch."""
        return tuple(self._validation)

    def measurements(self) -> Measurements:
        """Losses by epoch against their best and against the target's variance."""
        course = training.loss_course(self._train)
        scalars = {
            "epochs": float(len(self._train)),
            "steps": float(self._steps),
            **course,
            **training.validation_course(self._validation),
            "target_variance": self._target_variance,
            "l2_penalty": self._l2_penalty,
            "loss_to_variance": course["loss_last"] / self._target_variance if self._target_variance else math.nan,
        }
        return Measurements(self.KIND, self.name, scalars, step=self._steps)
