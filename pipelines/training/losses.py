"""Losses of the factorisation: each gives the data term and the penalty apart, for only the first is comparable."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional

from flowgrad.errors import FlowGradError
from pipelines.data import Examples
from pipelines.models.factorization import MatrixFactorization


class Loss(ABC):
    """What is minimised: data term + penalty."""

    in_batch_negatives = False

    def __init__(self, train: Examples, n_items: int, *, l2: float, logq: float) -> None:
        """Keep the settings; `train` is at hand for losses that need item frequencies."""
        self.l2, self.logq = l2, logq

    @abstractmethod
    def terms(self, model: MatrixFactorization, batch: Examples) -> tuple[Tensor, Tensor]:
        """Mean data loss and penalty of one batch, scalars."""

    @abstractmethod
    def held_out(self, model: MatrixFactorization, examples: Examples) -> float:
        """Mean data loss on examples that were not trained on. Lower is better; comparable between configs."""

    def _penalty(self, *rows: Tensor | None) -> Tensor:
        """l2 times the squared norm of the rows of each example, averaged over the batch."""
        if not self.l2:
            return torch.zeros(())
        squares = [row.square().sum() / len(row) for row in rows if row is not None]
        return self.l2 * torch.stack(squares).sum()


class MeanSquaredError(Loss):
    """Squared error of the rating."""

    def __init__(self, train: Examples, n_items: int, *, l2: float, logq: float) -> None:
        super().__init__(train, n_items, l2=l2, logq=logq)
        if logq:
            raise FlowGradError(f"loss.logq={logq} corrects in-batch negatives; the squared error has none (set 0)")

    def terms(self, model: MatrixFactorization, batch: Examples) -> tuple[Tensor, Tensor]:
        """Mean squared error and L2 of one batch."""
        p, q, b_user, b_item = model.rows(batch.users, batch.items)
        error = model.score(p, q, b_user, b_item) - batch.ratings
        return error.square().mean(), self._penalty(p, q, b_user, b_item)

    def held_out(self, model: MatrixFactorization, examples: Examples) -> float:
        """Mean squared error."""
        with torch.no_grad():
            return float((model(examples.users, examples.items) - examples.ratings).square().mean())


class InBatchSoftmax(Loss):
    """Cross-entropy of the example's item among the items of the batch.

    A popular item is a negative in proportion to its popularity. `logq` subtracts that strength times log q_i from
    the logits, q_i being the item's share of the training examples (Yi et al. 2019, Sampling-Bias-Corrected Neural
    Modeling, RecSys). The same item drawn twice in a batch is no negative of itself.
    """

    in_batch_negatives = True

    def __init__(self, train: Examples, n_items: int, *, l2: float, logq: float) -> None:
        super().__init__(train, n_items, l2=l2, logq=logq)
        frequency = torch.bincount(train.items, minlength=n_items).float() / len(train.items)
        self._log_q = frequency.clamp(min=1.0 / len(train.items)).log()

    def terms(self, model: MatrixFactorization, batch: Examples) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy and L2 of one batch."""
        p, q, b_user, b_item = model.rows(batch.users, batch.items)
        logits = p @ q.T - self.logq * self._log_q[batch.items]
        if b_item is not None:
            logits = logits + b_item
        itself = batch.items[:, None] == batch.items
        itself.fill_diagonal_(False)
        logits = logits.masked_fill(itself, float("-inf"))
        target = torch.arange(len(batch.items))
        return functional.cross_entropy(logits, target), self._penalty(p, q, b_user, b_item)

    def held_out(self, model: MatrixFactorization, examples: Examples) -> float:
        """Mean cross-entropy over all items, uncorrected: the scores as they would be served."""
        with torch.no_grad():
            return float(functional.cross_entropy(model.score_all(examples.users), examples.items))
