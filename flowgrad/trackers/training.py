"""The course of the losses: what a run says of itself, whatever the model."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

from flowgrad.measurements import Measurements
from flowgrad.measures import training
from flowgrad.rules import RuleBook
from flowgrad.trackers import states
from flowgrad.trackers.base import Tracker

_LISTS = ("train", "validation", "recent")
_STATE = (*_LISTS, "target_variance", "l2_penalty", "steps", "start", "peak")


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
        self._start = math.nan
        self._peak = math.nan
        self._recent: deque[float] = deque(maxlen=training.PEAK_STEPS)

    def step(self, loss: float) -> None:
        """Note the training loss of one batch, as it was before the optimizer stepped. Counts the step."""
        self._steps += 1
        self._recent.append(float(loss))
        if self._steps == 1:
            self._start = float(loss)
        recent = sum(self._recent) / len(self._recent)
        if len(self._recent) == training.PEAK_STEPS and not recent <= self._peak:  # a NaN stays
            self._peak = recent

    def end_epoch(self, train_loss: float, validation_loss: float | None = None, steps: int = 0) -> None:
        """Note one finished epoch: mean training loss, validation loss (lower is better), and the steps taken in it
        that `step` was not told of.
        """
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
            "loss_peak_ratio": self._peak / self._start if self._start else math.nan,
            **training.validation_course(self._validation),
            "target_variance": self._target_variance,
            "l2_penalty": self._l2_penalty,
            "loss_to_variance": course["loss_last"] / self._target_variance if self._target_variance else math.nan,
        }
        return Measurements(self.KIND, self.name, scalars, step=self._steps)

    def state_dict(self) -> dict[str, Any]:
        """Everything noted so far, for a checkpoint: numbers and lists of numbers."""
        content = {key: getattr(self, f"_{key}") for key in _STATE}
        return states.headed(
            self.KIND, {key: list(value) if key in _LISTS else value for key, value in content.items()}
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken. Name and rule book stay this tracker's own; all else, the variance
        and the penalty included, comes from the state.

        Raises:
            ValueError: `state` is no state of such a tracker, or one of another version. Nothing has changed then.
        """
        states.check(state, self.name, self.KIND, _STATE)
        for key in _STATE:
            setattr(self, f"_{key}", list(state[key]) if key in _LISTS else state[key])
        self._recent = deque(state["recent"], maxlen=training.PEAK_STEPS)
