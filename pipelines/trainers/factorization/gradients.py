"""Gradients of plain factorisations, by formula.

Values are taken in the order of autograd, so that each is the same to the last bit. Nothing is recorded, and no table
of zeros is made at each step, which takes a third of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import Any, ClassVar

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.nn import functional

from pipelines.config.targets import target
from pipelines.data.ratings import Examples
from pipelines.trainers.factorization.faults import OF_UPDATES
from pipelines.trainers.factorization.losses import InBatchSoftmax, Loss, MeanSquaredError, repeated
from pipelines.trainers.factorization.models.factorization import MatrixFactorization
from pipelines.trainers.stacked import rows_of

Biases = list[Tensor]
"""Type of the biases of each example, of users and of items, shape (models * n,); none of a model without."""


class Gradients(ABC):
    """Gradients of a loss and its penalty, of a stack of `MatrixFactorization`."""

    most: ClassVar[int | None] = None
    """Number of models beyond which a stack saves nothing more; None where the model's size alone decides."""

    def __init__(self, model: Any, loss: Loss) -> None:
        """Give each table room for its gradient.

        Args:
            model: the stack.
            loss: of one model.
        """
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self._users, self._items = _Side(model.user_emb, model.user_bias), _Side(model.item_emb, model.item_bias)
        self._mean, self._loss = model.mean, loss
        self._l2 = torch.tensor(loss.l2, dtype=torch.float32)

    def set(self, batch: Examples) -> Tensor:
        """Set the gradients of the tables on a batch of shape (models, n), and return the data loss of each model,
        shape (models,).
        """
        users, items = self._users, self._items
        ids = users.rows(batch.users), items.rows(batch.items)
        p, q = users.table.index_select(0, ids[0]), items.table.index_select(0, ids[1])
        biases = [
            side.biases.index_select(0, rows)
            for side, rows in zip((users, items), ids, strict=True)
            if side.biases is not None
        ]
        shrink = 2 * float(self._l2 / batch.users.shape[-1])
        penalties = [held * shrink for held in (p, q, *biases)] if shrink else []
        losses, gradients = self._of_rows(p, q, biases, batch)
        for gradient, penalty in zip(gradients, penalties, strict=False):
            gradient += penalty
        for side, rows, gradient in zip((users, items), ids, gradients[:2], strict=True):
            side.table_gradient.zero_().index_add_(0, rows, gradient)
        for side, rows, gradient in zip((users, items), ids, gradients[2:], strict=False):
            side.bias_gradient.zero_().index_add_(0, rows, gradient)
        return losses

    @abstractmethod
    def _of_rows(self, p: Tensor, q: Tensor, biases: Biases, batch: Examples) -> tuple[Tensor, list[Tensor]]:
        """Data loss of each model, and its gradients by the rows of each example: of p, q, and the biases.

        Args:
            p: rows of users, shape (models * n, dim), which may be overwritten.
            q: rows of items, likewise.
            biases: likewise.
            batch: of shape (models, n).
        """


class SquaredErrorGradients(Gradients):
    """Gradients of `MeanSquaredError`: with e = p . q + biases - r, that of p is 2/n e q."""

    def _of_rows(self, p: Tensor, q: Tensor, biases: Biases, batch: Examples) -> tuple[Tensor, list[Tensor]]:
        scores = (p * q).sum(dim=-1)
        if biases:
            scores += self._mean
            for bias in biases:
                scores += bias
        error = scores.view_as(batch.ratings) - batch.ratings
        slope = (error * 2).mul_(1 / batch.ratings.shape[-1]).flatten()
        of_biases = [slope.clone() for _ in biases]
        return error.square_().mean(dim=-1), [q.mul_(slope[:, None]), p.mul_(slope[:, None]), *of_biases]


class InBatchSoftmaxGradients(Gradients):
    """Gradients of `InBatchSoftmax`: with the share s_ij of item j for user i, that of the logit is
    (s_ij - 1[i = j]) / n. The matrices are those of one model after the other, which fit the cache.
    """

    most = 2
    _loss: InBatchSoftmax

    def _of_rows(self, p: Tensor, q: Tensor, biases: Biases, batch: Examples) -> tuple[Tensor, list[Tensor]]:
        models, size = batch.items.shape
        chosen, target = _chosen(size)
        corrections = self._loss.correction(batch.items)
        of_biases = [torch.zeros_like(bias).view(models, size) for bias in biases]
        losses = []
        for model, (own_p, own_q) in enumerate(zip(p.chunk(models), q.chunk(models), strict=True)):
            logits = torch.mm(own_p, own_q.T).sub_(corrections[model])
            if biases:
                logits += biases[1].view(models, size)[model]
            logits.view(-1).index_fill_(0, repeated(batch.items[model]), float("-inf"))
            log_shares = torch.log_softmax(logits, dim=1)
            losses.append(functional.nll_loss(log_shares, target))
            of_logits = torch.ops.aten._log_softmax_backward_data(chosen, log_shares, 1, logits.dtype)
            of_p, of_q = torch.mm(of_logits, own_q), torch.mm(of_logits.T, own_p)
            own_p.copy_(of_p), own_q.copy_(of_q)
            if biases:
                of_biases[1][model] = of_logits.sum(dim=0)
        return torch.stack(losses), [p, q, *(of_bias.flatten() for of_bias in of_biases)]


@cache
def _chosen(size: int) -> tuple[Tensor, Tensor]:
    """Derivative of the mean log-loss by the log-probabilities, shape (size, size), and the item that each chose."""
    return torch.diag(torch.full((size,), -1.0) / size), torch.arange(size)


_FORMULAS: dict[Any, type[Gradients]] = {
    MeanSquaredError: SquaredErrorGradients,
    InBatchSoftmax: InBatchSoftmaxGradients,
}


def formula_of(config: DictConfig) -> type[Gradients] | None:
    """Formula of the gradients of a config; None where there is none: a subclass of a model or a loss computes
    something else, and faults of updates act on gradients on their way.
    """
    if (
        target(config, "model") is not MatrixFactorization
        or config.optimizer.sparse_gradients
        or config.fault.kind in OF_UPDATES
    ):
        return None
    return _FORMULAS.get(target(config, "loss"))


class _Side:
    """Table of users or of items, with its biases and the gradients of both."""

    def __init__(self, table: Any, biases: Any) -> None:
        self.table, self.table_gradient = table.weight.detach(), table.weight.grad
        self.biases: Any = None
        self.bias_gradient: Any = None
        if biases is not None:
            self.biases, self.bias_gradient = biases.weight.detach()[:, 0], biases.weight.grad[:, 0]
        self._first = rows_of(table, torch.zeros(1, dtype=torch.int64))

    def rows(self, ids: Tensor) -> Tensor:
        """Rows of the stack's table by ids of shape (models, n), shape (models * n,)."""
        return (ids + self._first).flatten()
