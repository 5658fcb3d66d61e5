"""Gradients of the squared error of plain factorisations, by formula."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from pipelines.config.targets import target
from pipelines.data.ratings import Examples
from pipelines.trainers.factorization.losses import MeanSquaredError
from pipelines.trainers.factorization.models.factorization import MatrixFactorization
from pipelines.trainers.stacked import rows_of


def has_formula(config: DictConfig) -> bool:
    """Whether `SquaredErrorGradients` knows the gradients: subclasses of a model or a loss compute something else."""
    return (
        target(config, "model") is MatrixFactorization
        and target(config, "loss") is MeanSquaredError
        and not config.optimizer.sparse_gradients
    )


class SquaredErrorGradients:
    """Gradients of `MeanSquaredError` and its penalty, of a stack of `MatrixFactorization`.

    With e = p . q + biases - r over a batch of n examples, the gradient of a row p is the sum of 2/n e q + 2 l2/n p
    over its examples; of q and the biases likewise. The products are taken in the order of autograd, so that each is
    the same to the last bit. Nothing is recorded, and no table of zeros is made at each step, which took a third of it.
    """

    def __init__(self, model: Any, l2: float) -> None:
        """Give each table room for its gradient.

        Args:
            model: the stack.
            l2: strength of the penalty.
        """
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self._users, self._items = _Side(model.user_emb, model.user_bias), _Side(model.item_emb, model.item_bias)
        self._mean, self._l2 = model.mean, torch.tensor(l2, dtype=torch.float32)

    def set(self, batch: Examples) -> Tensor:
        """Set the gradients of the tables on a batch of shape (models, n), and return the mean squared error of each
        model, shape (models,).
        """
        (models, size), sides = batch.users.shape, (self._users, self._items)
        rows = [side.rows(ids) for side, ids in zip(sides, (batch.users, batch.items), strict=True)]
        p, q = (side.table.index_select(0, of_side) for side, of_side in zip(sides, rows, strict=True))
        product = p * q
        scores = product.sum(dim=-1)
        biases = [
            side.biases.index_select(0, of_side)
            for side, of_side in zip(sides, rows, strict=True)
            if side.biases is not None
        ]
        if biases:
            scores += self._mean
            for bias in biases:
                scores += bias
        error = scores.view(models, size) - batch.ratings
        slope = (error * 2).mul_(1 / size).flatten()
        shrink = 2 * float(self._l2 / size)
        if shrink:
            p_shrinks, q_shrinks = torch.mul(p, shrink, out=product), q * shrink
            of_p, of_q = q.mul_(slope[:, None]).add_(p_shrinks), p.mul_(slope[:, None]).add_(q_shrinks)
        else:
            of_p, of_q = q.mul_(slope[:, None]), p.mul_(slope[:, None])
        for side, of_side, gradients in zip(sides, rows, (of_p, of_q), strict=True):
            side.table_gradient.zero_().index_add_(0, of_side, gradients)
        for side, of_side, bias in zip(sides, rows, biases, strict=False):
            side.bias_gradient.zero_().index_add_(0, of_side, bias.mul_(shrink).add_(slope) if shrink else slope)
        return error.square_().mean(dim=-1)


class _Side:
    """Table of users or of items, with its biases and the gradients of both."""

    def __init__(self, table: Any, biases: Any) -> None:
        self.table, self.table_gradient = table.weight.detach(), table.weight.grad
        self.biases = self.bias_gradient = None
        if biases is not None:
            self.biases, self.bias_gradient = biases.weight.detach()[:, 0], biases.weight.grad[:, 0]
        self._first = rows_of(table, torch.zeros(1, dtype=torch.int64))

    def rows(self, ids: Tensor) -> Tensor:
        """Rows of the stack's table by ids of shape (models, n), shape (models * n,)."""
        return (ids + self._first).flatten()
