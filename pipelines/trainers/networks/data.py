"""Turns rows of a table into tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from pipelines.data.tables import Part


class Examples(Protocol):
    """Examples that batches are taken from."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor | slice) -> Self: ...


Kind = TypeVar("Kind", bound=Examples)


@dataclass(frozen=True)
class Rows:
    """Examples of one part."""

    inputs: Tensor
    """Inputs, float32, shape (rows, columns)."""
    target: Tensor
    """Target, float32, shape (rows,); of several classes, their numbers as int64."""

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, index: Tensor | slice) -> Rows:
        return Rows(self.inputs[index], self.target[index])


@dataclass(frozen=True)
class Preparation:
    """Preparation of every row before a network sees it, learned on the training rows."""

    gaps: np.ndarray
    """Replacement of a missing value of each column: its median, shape (columns,)."""
    mean: np.ndarray
    deviation: np.ndarray
    """Standard deviation of each column, shape (columns,), 1 where it is constant."""
    classes: bool

    @classmethod
    def of(cls, train: Part, *, standardise: bool, classes: bool) -> Preparation:
        """Learn from the training rows; without `standardise`, values stay as they are but for the gaps."""
        values = train.features.to_numpy()
        known = np.isfinite(values).any(axis=0)
        gaps = np.zeros(values.shape[1])
        gaps[known] = np.nanmedian(values[:, known], axis=0)
        mean, deviation = np.zeros(values.shape[1]), np.ones(values.shape[1])
        if standardise:
            filled = np.where(np.isnan(values), gaps, values)
            mean, spread = filled.mean(axis=0), filled.std(axis=0)
            deviation = np.where(spread > 1e-6 * np.abs(mean), spread, 1.0)  # rounding leaves a little of a constant
        return cls(gaps, mean, deviation, classes)

    def rows(self, part: Part) -> Rows:
        """Turn the part into tensors."""
        values = part.features.to_numpy()
        values = (np.where(np.isnan(values), self.gaps, values) - self.mean) / self.deviation
        kind = torch.int64 if self.classes else torch.float32
        return Rows(torch.tensor(values, dtype=torch.float32), torch.tensor(part.target, dtype=kind))


def shuffled(rows: Kind, batch_size: int, generator: torch.Generator) -> Iterator[Kind]:
    """Yield one epoch in random order, in batches of `batch_size`; the last is smaller, and left out where it would
    hold a single row, which has no variance to normalise by.
    """
    # Shuffled as a whole, so that a batch is a view and costs nothing.
    order = rows[torch.randperm(len(rows), generator=generator)]
    for start in range(0, len(rows), batch_size):
        batch = order[slice(start, start + batch_size)]
        if len(batch) > 1 or len(rows) == 1:
            yield batch
