"""Keeps sampled rows step by step, so that windows which overlap are found whatever their length and channels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flowgrad.gate.tables import TOLERATED_SHARE
from flowgrad.measures.overlaps import OVERLAP_MEASURES, SHORTEST, overlap_figures
from flowgrad.trackers.batches.rows import RowSample, member, mixed, number_bits

MOST_ROWS, LONGEST, CHANNELS = 1024, 512, 64
"""Number of rows of each part that are kept, of first steps that are kept of each, and of channels of a step."""
_EXACT = 2**52
"""Number below which a whole number is exact as float64."""


class Passages:
    """Samples of the rows of training and validation, of the input with most numbers a row, as sequences of steps."""

    def __init__(self, size: int) -> None:
        self.name: str | None = None
        """Name of that input; None where no input is a sequence, or none came yet."""
        self.train, self.validation = RowSample(min(size, MOST_ROWS)), RowSample(min(size, MOST_ROWS))
        self.cut = 0
        """Number of steps of the first axis that may be time; those of the second come behind it."""

    def see(self, keys: Tensor, columns: Mapping[str, Tensor], *, training: bool) -> None:
        """Take a batch: hashes of its rows, and its inputs, each of shape (rows, ...)."""
        if self.name is None:
            found = {name: values[0].numel() for name, values in columns.items() if _axes(values)}
            self.name = max(found, key=lambda name: found[name]) if found else None
        if self.name is None or self.name not in columns:
            return
        part = self.train if training else self.validation
        new = torch.nonzero(keys < part.below).flatten() if part.full else torch.arange(len(keys))
        new = new[~member(keys[new], part.keys)]
        if len(new):
            axes = _axes(columns[self.name][new.to(columns[self.name].device)])
            self.cut = self.cut or (axes[0].shape[1] if axes else 0)
            part.see(keys[new], {"": torch.cat(axes, 1)} if axes else {"": torch.zeros(len(new), 1)}, None)

    def figures(self) -> dict[str, float]:
        """Figures of `OVERLAP_MEASURES`, along the axis that finds most; NaN where rows differ in length."""
        unknown = {measure.name: math.nan for measure in OVERLAP_MEASURES}
        train_rows, validation_rows = (part.rows("values") for part in (self.train, self.validation))
        if train_rows is None or validation_rows is None or not len(train_rows):
            return unknown
        validation_rows = validation_rows[self._never_trained_on()]
        found = []
        for axis in (slice(0, self.cut), slice(self.cut, None)):
            train, validation = (part[:, axis].numpy() for part in (train_rows, validation_rows))
            found.append(overlap_figures(train, validation, len(self.train.keys) / self.train.distinct))
        return max(found, key=lambda figures: figures["overlap_pairs"] if figures["overlap_pairs"] >= 0 else -1.0)

    def _never_trained_on(self) -> Tensor:
        """Flags of the validation rows that are no training rows. Where more than a few are, as in folds or in weeks
        that are trained on once they were validated, rows of which that cannot be told are left out, too.
        """
        reached = self.validation.keys < self.train.below
        known = member(self.validation.keys, self.train.keys)
        some = bool(known.sum() > TOLERATED_SHARE * reached.sum())
        return ~known & (reached | (not some))

    def state(self) -> dict[str, Any]:
        """State of everything, as plain numbers and tensors of its own."""
        parts = {name: getattr(self, name).state() for name in ("train", "validation")}
        return {"name": self.name, "cut": self.cut, **parts}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.name, self.cut = state["name"], state["cut"]
        self.train.load(state["train"])
        self.validation.load(state["validation"])


def _axes(values: Tensor) -> list[Tensor]:
    """Rows as steps along each axis that may be time, float64 of shape (rows, steps); empty where they are no sequence.

    A step of several channels is a whole number made of all of them, equal where they are, bit by bit.
    """
    shape = [size for size in values.shape[1:] if size > 1]
    if len(shape) not in (1, 2) or max(shape) < SHORTEST or values.is_complex():
        return []
    values = values.detach().reshape(len(values), *shape)
    if len(shape) == 1:
        return [values[:, :LONGEST].double().cpu()]
    return [_steps(part[:, :LONGEST, :CHANNELS]) for part in (values, values.transpose(1, 2))]


def _steps(values: Tensor) -> Tensor:
    """Number of each step, shape (rows, steps), from its channels, shape (rows, steps, channels)."""
    places = torch.arange(values.shape[2], device=values.device)
    found = mixed(mixed(number_bits(values)) * (2 * mixed(places) + 1)).sum(2)
    return (mixed(found) % _EXACT).double().cpu()
