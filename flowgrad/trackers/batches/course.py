"""Follows the order in which batches come, and the optimizer steps that no batch was noted for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

_REMEMBERED = 64
"""Number of batches of an epoch whose rows are compared with those of the next."""


@dataclass
class Order:
    """Compares an epoch's batches with each other, and with those of the epoch before."""

    last: int = -1
    same: int = 0
    """Number of batches of all epochs that held the rows of the one before."""
    followed: int = 0
    """Number of batches that had one before them in their epoch."""
    now: list[int] = field(default_factory=list)
    before: list[int] = field(default_factory=list)
    again: int = 0
    """Number of batches that held the rows of the batch at the same place of the epoch before."""
    compared: int = 0
    rows: int = 0
    """Number of rows of this epoch whose target is a number."""
    sum: float = 0.0
    squares: float = 0.0
    between: float = 0.0
    """Sum over batches of n times the squared mean target."""
    batches: int = 0
    share: float = math.nan
    """Lowest share, of all whole epochs, of the variance of targets that lies between batches."""

    def see(self, keys: Tensor, targets: Tensor | None) -> None:
        """Take a batch: hashes of its rows, and its targets where they are one number a row."""
        key = int(keys.sum())
        if self.last != -1:
            self.followed += 1
            self.same += key == self.last
        self.last = key
        place = len(self.now)
        if place < _REMEMBERED:
            self.now.append(key)
            if place < len(self.before):
                self.compared += 1
                self.again += key == self.before[place]
        if targets is None or targets.ndim != 1 or targets.is_complex() or not len(targets):
            return
        values = targets.detach().double()
        total = float(values.sum())
        if math.isfinite(total):
            self.rows += len(values)
            self.batches += 1
            self.sum += total
            self.squares += float((values * values).sum())
            self.between += total * total / len(values)

    def end_epoch(self) -> None:
        """Close the epoch."""
        if 1 < self.batches < self.rows:
            whole = self.sum * self.sum / self.rows
            total, between = self.squares - whole, self.between - whole
            if total > 1e-12 * max(self.squares, 1e-300):
                chance = (self.batches - 1) / (self.rows - 1)
                share = (between / total - chance) / (1 - chance)
                self.share = share if math.isnan(self.share) else min(self.share, share)
        if self.now:
            self.before = self.now
        self.now, self.last = [], -1
        self.rows = self.batches = 0
        self.sum = self.squares = self.between = 0.0

    def figures(self) -> dict[str, float]:
        """Shares, in [0, 1]; NaN where there was nothing to compare."""
        return {
            "same_batch_share": self.same / self.followed if self.followed else math.nan,
            "order_repeats": self.again / self.compared if self.compared else math.nan,
            "targets_between_batches": self.share,
        }


@dataclass
class Steps:
    """Counts optimizer steps against batches that were noted."""

    taken: int = 0
    told: int = 0
    """Number of batches noted."""
    late: int = 0
    """Number of steps taken after the last batch noted of an epoch and before its end."""
    late_epochs: int = 0
    epochs: int = 0
    since: int = 0
    """Number of steps taken since a batch was noted."""
    between: int = 1
    """Most steps taken between two noted batches: more than one where several optimizers take turns."""

    def batch(self) -> None:
        """Note a batch."""
        self.between = max(self.between, self.since if self.told else 1)
        self.told += 1
        self.since = 0

    def end_epoch(self) -> None:
        """Close the epoch."""
        self.epochs += 1
        self.late += self.since
        self.late_epochs += self.since > self.between
        self.since = 0

    def figures(self) -> dict[str, float]:
        """Steps without a batch by epoch, and batches by step; NaN where no step was seen."""
        return {
            "late_steps": self.late / self.epochs if self.epochs and self.taken else math.nan,
            "late_epochs": self.late_epochs / self.epochs if self.epochs and self.taken else math.nan,
            "batches_by_step": self.told / self.taken if self.taken else math.nan,
        }


def state_of(part: Any) -> dict[str, Any]:
    """State of an `Order` or a `Steps`, as plain numbers and lists."""
    return asdict(part)


def load_into(part: Any, state: Mapping[str, Any]) -> None:
    """Go on from a state of `state_of`."""
    for name in asdict(part):
        setattr(part, name, list(state[name]) if isinstance(state[name], list) else state[name])
