"""Keeps losses on their way from the device to the host."""

from __future__ import annotations

import math

import torch

from flowgrad.trackers.flow.history import Losses
from flowgrad.trackers.flow.places import Places
from flowgrad.trackers.watching import ArgumentError, loss_of

_MOST = 256
"""Number of losses that wait on a device before they are fetched anyway."""


class PendingLosses:
    """Losses given at every step, read from an accelerator only at a sampled step."""

    def __init__(self) -> None:
        """Start without a loss."""
        self.curve = Losses()
        self.places = Places()
        self.first_tail = math.nan
        """Mean of the last losses of the first epoch."""
        self._waiting: list[tuple[float | torch.Tensor | None, bool]] = []
        """Losses, and whether the step was skipped; None where an epoch ended."""
        self._far = 0

    def add(self, loss: float | torch.Tensor, tracker: str, *, skipped: bool = False) -> None:
        """Note a loss; one that is not finite is passed over where the step was skipped, as a scaler does then.

        Raises:
            ArgumentError: it is not one number.
        """
        if not isinstance(loss, torch.Tensor) or loss.device.type == "cpu":
            self._note(loss_of(loss, tracker), skipped)
            return
        if loss.numel() != 1:
            raise ArgumentError(
                f"{tracker}: loss has shape {tuple(loss.shape)}; give the one number that backward ran on"
            )
        # A copy: a loop that replays a CUDA graph writes each loss to the same place.
        self._waiting.append((loss.detach().reshape(()).clone(), skipped))
        self._far += 1
        if self._far == _MOST:
            self.settle(torch.stack([v.float() for v in self.on_device()]).tolist())

    def _note(self, loss: float, skipped: bool) -> None:
        if self._far:
            self._waiting.append((loss, skipped))
        elif not skipped or math.isfinite(loss):
            self.curve.add(loss)
            self.places.add(loss)

    def end_epoch(self) -> None:
        """Note that an epoch ends behind the losses given so far."""
        if self._far:
            self._waiting.append((None, False))
        else:
            self._end_epoch()

    def _end_epoch(self) -> None:
        self.places.end_epoch()
        recent = self.curve.recent
        if math.isnan(self.first_tail) and recent and not self.curve.broken_at:
            self.first_tail = sum(recent) / len(recent)

    def on_device(self) -> list[torch.Tensor]:
        """Losses that are still to be fetched, in order."""
        return [value for value, _ in self._waiting if isinstance(value, torch.Tensor)] if self._far else []

    def settle(self, fetched: list[float]) -> None:
        """Note the losses fetched of `on_device`."""
        if not self._far:
            return
        found = iter(fetched)
        waiting, self._waiting, self._far = self._waiting, [], 0
        for value, skipped in waiting:
            if value is None:
                self._end_epoch()
            else:
                self._note(next(found) if isinstance(value, torch.Tensor) else value, skipped)
