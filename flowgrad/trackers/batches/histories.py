"""Keeps sequences of ids with the id that follows them, to see whether the same ones come again with other targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flowgrad.measures.histories import history_figures

_LEAST_LENGTH = 4
"""Number of places of a sequence from which on it is read."""
MOST = 1 << 15
"""Number of rows that are kept. Of more, those with the smaller hashes: all rows of a sequence, or none."""
_TOP = 2**62


class Histories:
    """Rows of the first epoch that hold one sequence of ids, and whose target is one id."""

    def __init__(self) -> None:
        """Start with no row."""
        self.rows = torch.empty(4, 0, dtype=torch.int64)
        """Hash, target, first and last id of each row, shape (4, rows)."""
        self._new: list[Tensor] = []
        """The same of rows that are still to be put to these."""
        self._waiting = 0
        """Number of these rows."""
        self.below = _TOP
        """Hash below which rows are kept."""
        self.open = True
        """Whether rows are still taken: not after the first epoch, nor of other inputs."""

    def see(self, keys: Tensor, columns: Mapping[str, Tensor], targets: Tensor | None) -> None:
        """Take a batch: hashes of its rows, its inputs, each of shape (rows, ...), and its targets; None where they are
        not known.
        """
        if not self.open:
            return
        sequences = [values for values in columns.values() if _is_sequence(values)]
        if targets is None or len(sequences) != 1 or not _are_ids(targets):
            self.open = False
            return
        ids = sequences[0].detach()
        told = torch.stack([targets.detach().long(), ids[:, 0].long(), ids[:, -1].long()]).cpu()
        self._new.append(torch.cat([keys[None], told]))
        self._waiting += len(keys)
        if self._waiting > MOST // 4:
            self._settle()

    def _settle(self) -> None:
        whole = torch.cat([self.rows, *self._new], 1)
        self._new, self._waiting = [], 0
        while whole.shape[1] > MOST:
            self.below //= 2
            whole = whole[:, whole[0] < self.below]
        self.rows = whole[:, whole[0] < self.below]

    def end_epoch(self) -> None:
        """Close the epoch."""
        self._settle()
        self.open = self.open and not self.rows.shape[1]

    def figures(self) -> dict[str, float]:
        """Figures of `flowgrad.measures.histories.HISTORY_MEASURES`."""
        self._settle()
        return history_figures(*self.rows.numpy())

    def state(self) -> dict[str, Any]:
        """State of everything, as plain numbers and a tensor of its own."""
        self._settle()
        return {"rows": self.rows.clone(), "below": self.below, "open": self.open}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.rows, self.below, self.open = state["rows"].clone(), state["below"], state["open"]


def _is_sequence(values: Tensor) -> bool:
    whole = not values.is_floating_point() and not values.is_complex() and values.dtype != torch.bool
    return whole and values.ndim == 2 and values.shape[1] >= _LEAST_LENGTH


def _are_ids(targets: Tensor) -> bool:
    whole = not targets.is_floating_point() and not targets.is_complex() and targets.dtype != torch.bool
    return whole and targets.ndim == 1
