"""Follows in which epoch training last saw each row, and so which validation rows had left it when they came."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

import torch
from torch import Tensor

from flowgrad.measures.rows_left import rows_left_figures
from flowgrad.trackers.batches.rows import RowSample, member


class Recency:
    """Holds the epoch in which training last saw each sampled row, and sums of the validation rows of all epochs."""

    def __init__(self) -> None:
        self.trained = 0
        """Number of epochs that had training rows."""
        self.keys = torch.empty(0, dtype=torch.int64)
        """Hashes of training rows, in order."""
        self.last = torch.empty(0, dtype=torch.int64)
        """Number, from 1, of the epoch in which each was last seen."""
        self.met = 0
        """Number of epochs with validation rows that training saw."""
        self.rows = self.at_once = self.left = self.copies = 0.0
        """Sums over the epochs; see `rows_left_figures`."""

    def end_epoch(self, train: RowSample, validation: RowSample) -> None:
        """Close an epoch, before the samples `turn`."""
        now = train.lately > 0
        last = torch.zeros_like(train.keys)
        kept = member(train.keys, self.keys)
        last[kept] = self.last[torch.searchsorted(self.keys, train.keys[kept])]
        self.trained += bool(now.any())
        last[now] = self.trained
        self.keys, self.last = train.keys.clone(), last
        chosen = (validation.lately > 0) & (validation.keys < min(train.below, validation.below))
        seen = chosen & seen_flags(train, validation)
        if not len(last) or not bool(chosen.any()):
            return
        at_once = int((last[torch.searchsorted(train.keys, validation.keys[seen])] == self.trained).sum())
        self.met += bool(seen.any())
        self.rows += int(chosen.sum())
        self.at_once += at_once
        self.left += int(seen.sum()) - at_once
        self.copies += int(seen.sum()) * float((last == self.trained).double().mean())

    def figures(self, train: RowSample, validation: RowSample) -> dict[str, float]:
        """Figures of `ROWS_LEFT_MEASURES`, with a validation that comes after the last epoch."""
        whole = copy(self)
        if self.trained and not bool((train.lately > 0).any()):
            whole.end_epoch(train, validation)
        return rows_left_figures(whole.rows, whole.at_once, whole.left, whole.copies, whole.met)

    def state(self) -> dict[str, Any]:
        """State of everything, as plain numbers and tensors of its own."""
        return {name: value.clone() if isinstance(value, Tensor) else value for name, value in vars(self).items()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        for name in vars(self):
            setattr(self, name, state[name].clone() if isinstance(state[name], Tensor) else state[name])


def seen_flags(before: RowSample, after: RowSample) -> Tensor:
    """Flags of the later distinct rows that the earlier ones hold with the same target, bit by bit; with any target
    where one of the two parts was told none.

    The inputs of a matrix factorised by rows, or of an autoencoder, come again on purpose, with other targets.
    """
    known = member(after.keys, before.keys)
    targets, earlier = after.rows("targets"), before.rows("targets")
    if targets is not None and earlier is not None and targets.shape[1] == earlier.shape[1]:
        own = targets[known]
        like = earlier[torch.searchsorted(before.keys, after.keys[known])]
        known[known.clone()] = ((own == like) | (own.isnan() & like.isnan())).all(1)
    return known
