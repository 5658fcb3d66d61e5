"""Says whether the loss takes the same course within every epoch, as where rows come in one order."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowgrad.measures.flow_course import places_of

BINS = 10
"""Number of parts of an epoch."""
FEWEST = 11
"""Number of steps of an epoch from which on it has parts. The last step is in none: its batch may be smaller, and a
loss that tells each row from the others of its batch is smaller with it.
"""
SKIPPED = 1
"""Number of first epochs that are left out: the loss falls too fast in them."""


class Places:
    """Means of the loss by place in the epoch, over epochs of one length, in a bounded space.

    An epoch is as long as the one before; of another length, it is left out.
    """

    def __init__(self) -> None:
        """Start before the first epoch."""
        self._ended = 0
        """Number of epochs that have ended."""
        self._length = self._at = 0
        """Number of losses of the last epoch, and of this one so far."""
        self._count, self._sum = [0] * BINS, [0.0] * BINS
        self.epochs = 0
        """Number of epochs that are in the sums."""
        self.total, self.square = np.zeros(BINS), np.zeros(BINS)
        """Sums over epochs of the loss of each part, less the line through the parts, over the epoch's level."""

    def add(self, loss: float) -> None:
        """Note the loss of the next step."""
        if self._length >= FEWEST:
            part = self._at * BINS // (self._length - 1)
            if part < BINS:
                self._count[part] += 1
                self._sum[part] += loss
        self._at += 1

    def end_epoch(self) -> None:
        """Close the epoch."""
        self._ended += 1
        if self._at == self._length and self._ended > SKIPPED and all(self._count):
            means = np.array(self._sum) / self._count
            at = np.arange(BINS) - (BINS - 1) / 2
            level = float(means.mean())
            profile = (means - level - at * (at @ means) / (at @ at)) / abs(level) if level else means * np.nan
            if np.isfinite(profile).all():
                self.epochs += 1
                self.total += profile
                self.square += profile**2
        self._length, self._at = self._at, 0
        self._count, self._sum = [0] * BINS, [0.0] * BINS

    def scalars(self) -> dict[str, float]:
        """Figures of `flowgrad.measures.flow_course.PLACES`."""
        return places_of(self.epochs, self.total, self.square)

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {
            **{key: getattr(self, key) for key in _NUMBERS},
            **{key: list(getattr(self, key)) for key in _LISTS},
            **{key: getattr(self, key).tolist() for key in _ARRAYS},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        for key in _NUMBERS:
            setattr(self, key, state[key])
        for key in _LISTS:
            setattr(self, key, list(state[key]))
        for key in _ARRAYS:
            setattr(self, key, np.array(state[key], dtype=float))


_NUMBERS = ("epochs", "_ended", "_length", "_at")
_LISTS = ("_count", "_sum")
_ARRAYS = ("total", "square")
