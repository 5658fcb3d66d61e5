"""Holds training hooks: each changes a run while it trains, or each run of a stack in the same way."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipelines.trainers.stacked import rows_of


class TrainingHook:
    """A training hook, called at every optimizer step. It does nothing by itself."""

    def before_step(self) -> None:
        """Act once the gradients are there, before the optimizer steps."""

    def after_step(self) -> None:
        """Act once the optimizer has stepped, before any tracker reads the weights."""

    def end(self) -> None:
        """Undo lasting changes: training is over."""


class HotRows(TrainingHook):
    """Some rows of a table move `factor` times as far as the optimizer says: a learning rate of their own."""

    def __init__(self, table: nn.Embedding, rows: Tensor, factor: float) -> None:
        self._table, self._rows, self._factor = table, rows_of(table, rows).flatten(), factor
        self._before = table.weight.detach()[self._rows]

    def before_step(self) -> None:
        """Note where the rows are."""
        self._before = self._table.weight.detach()[self._rows]

    def after_step(self) -> None:
        """Go on in the direction of the step."""
        with torch.no_grad():
            move = self._table.weight[self._rows] - self._before
            self._table.weight[self._rows] = self._before + self._factor * move


class StuckRows(HotRows):
    """Some rows of a table have gradients and are not moved by them, as if the optimizer did not hold them."""

    def __init__(self, table: nn.Embedding, rows: Tensor) -> None:
        super().__init__(table, rows, 0.0)


class CappedRows(TrainingHook):
    """Some rows of a table move at most as far as the median row that moved in the same step."""

    def __init__(self, table: nn.Embedding, rows: Tensor) -> None:
        self._table, self._rows = table, rows_of(table, rows)
        self._before = table.weight.detach()

    def before_step(self) -> None:
        """Note where all rows are."""
        self._before = self._table.weight.detach().clone()

    def after_step(self) -> None:
        """Shorten the moves that are too long."""
        move = self._table.weight.detach() - self._before
        length = move.norm(dim=1)
        others = length.clone()
        others[self._rows] = 0
        for rows, moved in zip(self._rows, others.chunk(len(self._rows)), strict=True):
            usual = moved[moved > 0]
            if not len(usual):
                continue
            scale = (usual.median() / length[rows]).clamp(max=1)  # 0 / 0 is no move, and stays none
            with torch.no_grad():
                self._table.weight[rows] = self._before[rows] + move[rows] * scale.nan_to_num(0)[:, None]


class FrozenRows(TrainingHook):
    """Some rows of a table never get their gradient: a mask sets it to zero."""

    def __init__(self, table: nn.Embedding, rows: Tensor) -> None:
        self._rows = rows_of(table, rows).flatten()
        self._hook = table.weight.register_hook(self._masked)

    def _masked(self, gradient: Tensor) -> Tensor:
        if not gradient.is_sparse:
            masked = gradient.clone()
            masked[self._rows] = 0
            return masked
        ids, values = gradient._indices(), gradient._values()
        kept = ~torch.isin(ids[0], self._rows)
        return torch.sparse_coo_tensor(ids, values * kept[:, None], gradient.shape, check_invariants=False)

    def end(self) -> None:
        """Take the mask off."""
        self._hook.remove()
