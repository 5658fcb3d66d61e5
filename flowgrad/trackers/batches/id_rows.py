"""Samples rows by the hash of their ids, in bounded space: equal rows are all in the sample, or none of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flowgrad.gate.rows import hashes, mixed

Keys = NDArray[np.uint64]
Ids = NDArray[np.int64]
Floats = NDArray[np.float64]

MOST_ROWS = 2**16
"""Number of distinct rows of each part that are kept."""
_APART = np.uint64(0x9E3779B97F4A7C15)
"""Odd constant that makes the hash that halves rows independent of the hash that identifies them."""
_TOP = 2**64 - 1


def keys_of(columns: Ids) -> Keys:
    """Hash the ids of each row to one number of 64 bits, shape (rows,); equal rows have equal numbers.

    Args:
        columns: shape (columns, rows).
    """
    return hashes(columns.astype(np.uint64))


def half_of(keys: Keys) -> NDArray[np.int64]:
    """Half of each row, 0 or 1, the same for equal rows; shape (rows,)."""
    return (mixed(keys + _APART) & np.uint64(1)).astype(np.int64)


class Part:
    """Distinct rows of one part (ids and target), each with how often it was met.

    Rows fall into halves in two ways. By their place among all rows, equal rows are spread over both as others are,
    which is right where each is a case of its own. By `half_of` their key, they are together, as copies should be.
    """

    def __init__(self, columns: int) -> None:
        self.ids: Ids = np.zeros((columns, 0), dtype=np.int64)
        self.keys: Keys = np.zeros(0, dtype=np.uint64)
        self.targets: Floats = np.zeros(0)
        self.times: Floats = np.zeros((2, 0))
        """Number of times each row was met in two halves of the rows, drawn by the order in which they came; shape (2,
        rows).
        """
        self.offered = 0
        self.merged = 0
        """Number of these rows that are distinct for sure: those in front."""

    def add(self, ids: Ids, keys: Keys, targets: Floats) -> None:
        """Keep some more rows."""
        self.ids = np.concatenate([self.ids, ids], axis=1)
        self.keys = np.concatenate([self.keys, keys])
        self.targets = np.concatenate([self.targets, targets])
        places = np.arange(self.offered, self.offered + len(keys), dtype=np.uint64)
        half = half_of(places)
        self.offered += len(keys)
        self.times = np.concatenate([self.times, np.stack([half == 0, half == 1]).astype(float)], axis=1)

    def merge(self) -> None:
        """Merge equal rows."""
        if self.merged == len(self.keys):
            return
        order = np.lexsort((self.targets, self.keys))
        keys, targets = self.keys[order], self.targets[order]
        new = np.ones(len(keys), dtype=bool)
        new[1:] = (keys[1:] != keys[:-1]) | (targets[1:] != targets[:-1])
        if len(keys):
            self.times = np.add.reduceat(self.times[:, order], np.flatnonzero(new), axis=1)
        self.ids, self.keys, self.targets = self.ids[:, order[new]], keys[new], targets[new]
        self.merged = len(self.keys)

    def below(self, threshold: int) -> None:
        """Leave out rows of larger keys."""
        kept = self.keys <= np.uint64(threshold)
        self.ids, self.keys = self.ids[:, kept], self.keys[kept]
        self.targets, self.times = self.targets[kept], self.times[:, kept]
        self.merged = len(self.keys)

    def state(self) -> dict[str, torch.Tensor]:
        """Everything kept, as tensors."""
        self.merge()
        return {
            "ids": torch.from_numpy(self.ids.copy()),
            "keys": torch.from_numpy(self.keys.view(np.int64).copy()),
            "targets": torch.from_numpy(self.targets.copy()),
            "times": torch.from_numpy(self.times.copy()),
            "offered": torch.tensor(self.offered),
        }

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from a state that `state` gave."""
        self.ids = state["ids"].numpy().copy()
        self.keys = state["keys"].numpy().copy().view(np.uint64)
        self.targets, self.times = state["targets"].numpy().copy(), state["times"].numpy().copy()
        self.offered, self.merged = int(state["offered"]), len(self.keys)


class RowSample:
    """Rows of training and validation whose key is below a threshold that falls as rows come in.

    The threshold is the same for both parts, so that a row of one is known in the other, and a recurring row is counted
    every time.
    """

    def __init__(self, columns: int) -> None:
        self.threshold = _TOP
        self.training = Part(columns)
        self.validation = Part(columns)

    @property
    def share(self) -> float:
        """Share of all distinct rows that are in the sample, in [0, 1]."""
        return (self.threshold + 1) / 2**64

    def add(self, ids: Ids, keys: Keys, targets: Floats, *, training: bool) -> None:
        """Offer rows: ids of shape (columns, rows), with their keys and targets."""
        chosen = keys <= np.uint64(self.threshold)
        part = self.training if training else self.validation
        part.add(ids[:, chosen], keys[chosen], targets[chosen])
        while len(part.keys) > 2 * MOST_ROWS:
            part.merge()
            if len(part.keys) > MOST_ROWS:
                self.threshold //= 2
                for each in (self.training, self.validation):
                    each.merge()
                    each.below(self.threshold)

    def state(self) -> dict[str, Any]:
        """Everything kept, as tensors and numbers."""
        return {
            "share": self.share,
            "training": self.training.state(),
            "validation": self.validation.state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state` gave."""
        self.threshold = int(state["share"] * 2**64) - 1
        self.training.load(state["training"])
        self.validation.load(state["validation"])
