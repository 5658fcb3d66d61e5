"""Follows the level and the spread of inputs from epoch to epoch, on a sample of the batches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from typing import Any

import torch
from torch import Tensor

from flowgrad.measures.input_levels import INPUT_LEVEL_MEASURES, LEAST_EPOCHS, changed_alike, level_figures
from flowgrad.trackers.batches.rows import WIDEST, spaced

FIRST, EVERY = 16, 8
"""Number of first batches of an epoch that are read, and period of those after them."""
MOST_INPUTS, MOST_ROWS, MOST_COLUMNS = 8, 128, 64
"""Number of inputs that are followed, of rows of a batch that are read, and of numbers in a row of a table up to
which each is a column of its own.
"""
SUMS = 11
"""Number of sums by column; see `flowgrad.measures.input_levels.Sums`."""


class Level:
    """Sums of one input: of its first epoch, of its last three, and of the one that runs."""

    def __init__(self, columns: int) -> None:
        self.compared = torch.zeros(columns, dtype=torch.int64)
        """Number of epochs, from the third on, to which the change of each column can be compared with that before."""
        self.alike = torch.zeros(columns, dtype=torch.int64)
        """Number of those to which it changed alike."""
        self.epochs = 0
        """Number of epochs since rows have this size."""
        self.sizes = [0, 0, 0, 0]
        """Least and largest numbers in a row: of the first epoch, and of the one that runs."""
        self.sums = torch.zeros(5, SUMS, columns, dtype=torch.float64)
        """Sums of the first epoch, of the last three, and of the one that runs."""

    @property
    def columns(self) -> int:
        """Number of columns."""
        return len(self.alike)

    def see(self, columns: Tensor, size: int) -> None:
        """Take rows of a batch, float64 of shape (rows, columns, numbers), cut from rows of so many numbers."""
        now = self.sums[4]
        if not bool(now[0].any()):
            now[-1] = columns.nan_to_num(0.0, 0.0, 0.0).mean((0, 2))
        distances = columns - now[-1][None, :, None]
        each = torch.stack([distances.mean(2), distances.square().mean(2)])
        known = each.isfinite().all(0)
        rows = known.sum(0).double()
        each = torch.where(known, each, 0.0)
        first, second = each
        sums = torch.stack([first.sum(0), first.square().sum(0), second.sum(0), second.square().sum(0)])
        means = sums[[0, 2]] / rows.clamp(min=1)
        batch = (rows > 0).double()
        of_batches = torch.stack([means[0], means[0] ** 2, means[1], means[1] ** 2])
        now[:-1] += torch.cat([rows[None], sums, batch[None], of_batches])
        least, largest = self.sizes[2:]
        self.sizes[2:] = [min(least or size, size), max(largest, size)]

    def end_epoch(self) -> None:
        """Close the epoch; begin anew where no row is of a size that the first epoch had."""
        now = self.sums[4].clone()
        if not bool(now[0].any()):
            return
        least, largest, *sizes = self.sizes
        if not self.epochs or sizes[0] > largest or sizes[1] < least:
            self.sums[0], self.epochs, self.sizes[:2] = now, 0, sizes
            self.compared, self.alike = torch.zeros_like(self.alike), torch.zeros_like(self.alike)
        self.sums[1:4] = torch.stack([*self.sums[2:4].clone(), now])
        self.epochs += 1
        if self.epochs >= LEAST_EPOCHS:
            alike, told = map(torch.from_numpy, changed_alike(*self.sums[1:4].numpy()))
            self.alike += alike
            self.compared += told
        self.sums[4] = 0.0
        self.sizes[2:] = [0, 0]

    def figures(self, part: str) -> dict[str, float]:
        """Figures of `INPUT_LEVEL_MEASURES` of a part; none before the third epoch."""
        if self.epochs < LEAST_EPOCHS:
            return {}
        sums = self.sums.numpy()
        alike = (self.alike / self.compared.clamp(min=1)).numpy()
        found = level_figures(part, sums[0], list(sums[2:4]), alike)
        return found | {f"{part}_epochs": float(self.epochs)}


class Levels:
    """Levels of the inputs of a part that are real numbers, by name."""

    def __init__(self) -> None:
        self.batches = 0
        """Number of batches of the epoch."""
        self.levels: dict[str, Level] = {}

    def see(self, columns: Mapping[str, Tensor]) -> None:
        """Take a batch: its inputs, each of shape (rows, ...)."""
        self.batches += 1
        if self.batches > FIRST and self.batches % EVERY:
            return
        for name, values in columns.items():
            if values.is_floating_point() and (name in self.levels or len(self.levels) < MOST_INPUTS):
                self._see(name, values.detach().reshape(len(values), -1), table=values.ndim == 2)

    def _see(self, name: str, values: Tensor, *, table: bool) -> None:
        size = values.shape[1]
        whole = not table or size > MOST_COLUMNS or (name in self.levels and self.levels[name].columns == 1)
        rows = spaced(spaced(values.T, MOST_ROWS).T, WIDEST).double().cpu()
        rows = rows[:, None, :] if whole else rows[:, :, None]
        if not rows.numel():
            return
        if name not in self.levels:
            self.levels[name] = Level(rows.shape[1])
        if rows.shape[1] == self.levels[name].columns:
            self.levels[name].see(rows, size)

    def end_epoch(self) -> None:
        """Close the epoch."""
        self.batches = 0
        for level in self.levels.values():
            level.end_epoch()

    def figures(self, part: str) -> dict[str, float]:
        """Figures of `INPUT_LEVEL_MEASURES` of a part, `input` or `validation_input`, of the input that moved most."""
        unknown = {one.name: math.nan for one in INPUT_LEVEL_MEASURES if one.name.startswith(f"{part}_")}
        found = [figures for level in self.levels.values() if (figures := level.figures(part))]
        moved = (f"{part}_level_shift", f"{part}_spread_change")
        return unknown | max(found, key=lambda figures: max(figures.get(name, 0.0) for name in moved), default={})

    def state(self) -> dict[str, Any]:
        """State of everything, as plain numbers and tensors of its own."""
        return {"batches": self.batches, "levels": {name: _copied(vars(level)) for name, level in self.levels.items()}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.batches, self.levels = state["batches"], {}
        for name, content in state["levels"].items():
            level = self.levels[name] = Level(len(content["alike"]))
            vars(level).update(_copied(content))


def _copied(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.clone() if isinstance(value, Tensor) else copy(value) for name, value in content.items()}
