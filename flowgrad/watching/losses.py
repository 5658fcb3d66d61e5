"""Keeps the losses that a loop logs until the step and the epoch that they belong to are over."""

from __future__ import annotations

from typing import Any

import torch

from flowgrad.trackers.watching import ArgumentError, loss_of

Loss = float | torch.Tensor


class Mean:
    """Mean of numbers; those on an accelerator stay there."""

    def __init__(self) -> None:
        self._sum: Loss = 0.0
        self.count = 0
        """Number of values."""

    def add(self, value: Loss) -> None:
        """Add a value."""
        self._sum = self._sum + value
        self.count += 1

    def take(self) -> Loss | None:
        """Return the mean of the values so far and start anew; None where there are none."""
        if not self.count:
            return None
        mean = self._sum / self.count
        self._sum, self.count = 0.0, 0
        return mean

    def state(self) -> list[float]:
        """State: the sum and the number of values."""
        return [float(self._sum), float(self.count)]

    def load(self, state: list[float]) -> None:
        """Go on from a state."""
        self._sum, self.count = state[0], int(state[1])


class Logged:
    """Losses and metrics as they were logged."""

    def __init__(self) -> None:
        self.step, self.train, self.validation, self.metric = Mean(), Mean(), Mean(), Mean()
        self.also: list[Mean] = []
        """Further means of the training losses, which others take."""
        self.losses = self.validations = 0
        """Number of training losses, and of validation losses, that were logged."""

    def add(self, loss: Any, validation: Any, metric: Any, name: str) -> None:
        """Note what was logged; each is None or one number.

        Raises:
            ArgumentError: one of them is not one number.
        """
        read = [
            _read(value, name, kind) for value, kind in ((loss, "loss"), (validation, "val_loss"), (metric, "metric"))
        ]
        if read[0] is not None:
            self.step.add(read[0])
            self.train.add(read[0])
            for mean in self.also:
                mean.add(read[0])
            self.losses += 1
        if read[1] is not None:
            self.validation.add(read[1])
            self.validations += 1
        if read[2] is not None:
            self.metric.add(read[2])

    def state(self) -> dict[str, Any]:
        """State for a checkpoint, as numbers and lists."""
        means = {key: getattr(self, key).state() for key in _MEANS}
        return {**means, "losses": self.losses, "validations": self.validations}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        for key in _MEANS:
            getattr(self, key).load(state[key])
        self.losses, self.validations = state["losses"], state["validations"]


_MEANS = ("step", "train", "validation", "metric")


def _read(value: Any, name: str, kind: str) -> Loss | None:
    if value is None or not isinstance(value, torch.Tensor) or value.device.type == "cpu":
        return None if value is None else loss_of(value, name, kind)
    if value.numel() != 1:
        raise ArgumentError(f"{name}: {kind} has shape {tuple(value.shape)}; give the one number that backward ran on")
    return value.detach().reshape(()).double().clone()  # a loop may write its next loss to the same place
