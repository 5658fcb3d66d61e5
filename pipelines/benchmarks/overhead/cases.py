"""Makes the training that is timed: one table, ids by Zipf's law, and a plain training step."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from pipelines.benchmarks.overhead.watchers import TableWatcher


@dataclass(frozen=True)
class TableCase:
    """One table and the way it is trained."""

    id: str
    rows: int
    dim: int
    optimizer: str
    """Name of the optimizer, a key of `OPTIMIZERS`."""
    batch: int
    """Number of lookups a step."""
    steps: int
    """Number of steps of each arm, where the watcher is not the peer at every step."""


@dataclass(frozen=True)
class Optimizer:
    """A class of optimizers and its arguments."""

    cls: type[torch.optim.Optimizer]
    sparse: bool = False
    """Whether the table's gradient holds the rows in the batch only."""


OPTIMIZERS = {
    "adam": Optimizer(torch.optim.Adam),
    "sgd": Optimizer(torch.optim.SGD),
    "sparse_adam": Optimizer(torch.optim.SparseAdam, sparse=True),
}
"""Optimizers by the name of their choice in `conf/optimizer/`."""

_LEARNING_RATE = 0.01
"""Learning rate, small enough that nothing diverges; the cost of a step does not depend on it."""
Batch = tuple[torch.Tensor, torch.Tensor]
"""Type of ids and targets, shape (batch,) each."""


class ZipfBatches:
    """Batches of ids whose frequency falls with their rank as 1 / rank^exponent; ranks are assigned to ids at random,
    for in no real table do the popular rows lie side by side.
    """

    def __init__(self, case: TableCase, exponent: float, seed: int, device: torch.device) -> None:
        self._random = np.random.default_rng(seed)
        weights = np.arange(1, case.rows + 1, dtype=np.float64) ** -exponent
        self._cumulated = np.cumsum(weights)
        self._ids = self._random.permutation(case.rows)
        self._size, self._device = case.batch, device

    def draw(self, count: int) -> list[Batch]:
        """Draw the next `count` batches, on the device."""
        uniform = self._random.random((count, self._size)) * self._cumulated[-1]
        # Rounding may take the product to the last sum itself.
        ranks = np.searchsorted(self._cumulated, uniform, side="right").clip(max=len(self._ids) - 1)
        ids = torch.from_numpy(self._ids[ranks]).to(self._device)
        targets = torch.from_numpy(self._random.standard_normal((count, self._size), dtype=np.float32))
        return list(zip(ids, targets.to(self._device), strict=True))


class TableArm:
    """A table in training: the product of each row with a fixed vector is fitted to a target by squared error."""

    def __init__(self, case: TableCase, seed: int, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(seed)
        choice = OPTIMIZERS[case.optimizer]
        weight = torch.randn(case.rows, case.dim, generator=generator).mul_(0.1)
        self.vector = torch.randn(case.dim, generator=generator).to(device)
        self.table = nn.Embedding(case.rows, case.dim, _weight=weight.to(device), sparse=choice.sparse)
        settings: dict[str, Any] = {"lr": _LEARNING_RATE}
        if not choice.sparse:
            settings["fused"] = True  # as pipelines.trainers.factorization.loop does
        self.optimizer = choice.cls(self.table.parameters(), **settings)
        self.watcher: TableWatcher | None = None

    def twin(self) -> TableArm:
        """Make an arm that trains the same table in the same memory, with the same optimizer state; hooks on one are
        not on the other. Only for an arm that has taken a step: before that there is no state to share.
        """
        twin = copy.copy(self)
        weight = self.table.weight
        rows, dim = weight.shape
        twin.table = nn.Embedding(rows, dim, _weight=weight.detach(), sparse=self.table.sparse)
        twin.optimizer = type(self.optimizer)(twin.table.parameters(), **self.optimizer.defaults)
        twin.optimizer.state[twin.table.weight] = self.optimizer.state[weight]
        return twin

    def train(self, batches: list[Batch]) -> None:
        """Take one step a batch."""
        for ids, targets in batches:
            loss = (self.table(ids) @ self.vector - targets).square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if self.watcher is not None:
                self.watcher.step()

    def weights(self) -> list[torch.Tensor]:
        """Weights of the table."""
        return [self.table.weight]

    def tensors(self) -> list[torch.Tensor]:
        """Tensors that the model and its optimizer hold, whether watched or not."""
        weight = self.table.weight
        state = [value for value in self.optimizer.state[weight].values() if isinstance(value, torch.Tensor)]
        return [weight, self.vector, *state, *([] if weight.grad is None else [weight.grad])]
