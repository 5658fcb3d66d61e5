"""Sums by id of one column, exactly and in bounded space."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]

MOST_IDS = 2**21
"""Number of ids of one column that are counted one by one; those beyond share rows with others."""
FIRST_IDS = 2**10
"""Number of ids that there is room for at the start."""
_ODD = np.uint64(0x9E3779B97F4A7C15)
_ARRAYS = ("counts", "sums", "valid_counts", "valid_sums")


class IdSums:
    """Rows and sums of targets by id, of training and of validation.

    Ids from 0 up to `MOST_IDS` have a place of their own; others, negative ones too, are folded onto these places by a
    hash, in training and validation alike. Folding mixes ids that are met; a column that folds says so.
    """

    def __init__(self) -> None:
        self.counts: Floats = np.zeros(FIRST_IDS)
        self.sums: Floats = np.zeros(FIRST_IDS)
        self.valid_counts: Floats = np.zeros(FIRST_IDS)
        self.valid_sums: Floats = np.zeros(FIRST_IDS)
        self.folded = False
        """Whether some id was beyond that room."""
        self.room = MOST_IDS
        """Number of places that this column may take."""

    def places(self, ids: Ids) -> Ids:
        """Places of these ids, with room made for them; shape of `ids`."""
        if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= self.room):
            self.folded = True
            beyond = (ids < 0) | (ids >= self.room)
            mixed = (ids.astype(np.uint64) * _ODD) >> np.uint64(40)
            ids = np.where(beyond, (mixed % np.uint64(self.room)).astype(np.int64), ids)
        self._grow(int(ids.max(initial=-1)) + 1)
        return ids

    def _grow(self, size: int) -> None:
        now = len(self.valid_counts)
        if size <= now:
            return
        more = min(max(2 * now, 1 << (size - 1).bit_length()), self.room) - now
        for name in _ARRAYS:
            held = getattr(self, name)
            setattr(self, name, np.pad(held, (0, more)))

    def add(self, places: Ids, targets: Floats, *, training: bool) -> None:
        """Count rows.

        Args:
            places: what `places` gave, shape (n,).
            targets: one a row.
            training: whether it is training or validation.
        """
        counts, sums = (self.counts, self.sums) if training else (self.valid_counts, self.valid_sums)
        np.add.at(counts, places, 1.0)
        np.add.at(sums, places, targets)

    def state(self) -> dict[str, Any]:
        """Everything summed, as tensors and numbers."""
        return {name: torch.from_numpy(getattr(self, name).copy()) for name in _ARRAYS} | {
            "folded": self.folded,
            "room": self.room,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state` gave."""
        for name in _ARRAYS:
            setattr(self, name, state[name].numpy().copy())
        self.folded, self.room = bool(state["folded"]), int(state["room"])
