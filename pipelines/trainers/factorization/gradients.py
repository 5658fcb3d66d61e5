"""Gradients of the squared error of plain factorisations, by formula."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

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
        self._model, self._l2 = model, float(torch.tensor(l2, dtype=torch.float32))
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)

    def set(self, batch: Examples) -> Tensor:
        """Set the gradients of the tables on a batch of shape (models, n), and return the mean squared error of each
        model, shape (models,).
        """
        with torch.no_grad():
            return self._set(batch)

    def _set(self, batch: Examples) -> Tensor:
        model, size = self._model, batch.users.shape[-1]
        users, items = (rows_of(model.user_emb, batch.users).flatten(), rows_of(model.item_emb, batch.items).flatten())
        p, q = model.user_emb.weight.index_select(0, users), model.item_emb.weight.index_select(0, items)
        biases = [
            (table, rows, table.weight.index_select(0, rows))
            for table, rows in ((model.user_bias, users), (model.item_bias, items))
            if table is not None
        ]
        product = p * q
        scores = product.sum(dim=-1)
        if biases:
            scores += model.mean
            for _, _, values in biases:
                scores += values[:, 0]
        error = scores.view_as(batch.ratings) - batch.ratings
        slope = ((error * 2) * (1 / size)).view(-1, 1)
        if self._l2:
            shrink = 2 * float(torch.tensor(self._l2) / size)
            p_shrinks, q_shrinks = torch.mul(p, shrink, out=product), q * shrink
            of_p, of_q = q.mul_(slope).add_(p_shrinks), p.mul_(slope).add_(q_shrinks)
        else:
            shrink, of_p, of_q = 0.0, q.mul_(slope), p.mul_(slope)
        _sum_by_row(model.user_emb, users, of_p)
        _sum_by_row(model.item_emb, items, of_q)
        for table, rows, values in biases:
            _sum_by_row(table, rows, values.mul_(shrink).add_(slope) if shrink else slope)
        return error.square_().mean(dim=-1)


def _sum_by_row(table: nn.Module, rows: Tensor, gradients: Tensor) -> None:
    """Set the gradient of a table to the sum of those of the examples of each row."""
    held = table.get_parameter("weight").grad
    assert held is not None
    held.zero_().index_add_(0, rows, gradients)
