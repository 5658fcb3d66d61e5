"""Losses of the factorisation: each gives the data term and the penalty separately, for only the first is
comparable.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional

from flowgrad.errors import FlowGradError
from pipelines.data.ratings import Examples
from pipelines.trainers.factorization.models.factorization import MatrixFactorization


class Loss(ABC):
    """A loss to minimise: data term + penalty."""

    in_batch_negatives = False
    """Whether the other items of the batch are the negatives."""
    draws_from_catalogue = False
    """Whether negatives are drawn from all items, so that every item is looked up."""
    of_ratings = False
    """Whether scores are predicted ratings, whose residuals mean something."""

    def __init__(
        self, train: Examples, n_items: int, *, l2: float, logq: float, generator: torch.Generator | None = None
    ) -> None:
        """Keep the settings.

        Args:
            train: the training examples, for losses that need item frequencies.
            n_items: items of the catalogue.
            l2: strength of the penalty.
            logq: strength of the log-Q correction.
            generator: for losses that draw negatives while training.
        """
        if logq and not self.in_batch_negatives:
            raise FlowGradError(f"loss.logq={logq} corrects in-batch negatives; this loss has none (set 0)")
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

    of_ratings = True

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

    def __init__(
        self, train: Examples, n_items: int, *, l2: float, logq: float, generator: torch.Generator | None = None
    ) -> None:
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


class BayesianPersonalizedRanking(Loss):
    """Log-loss of the example's item scoring above one drawn evenly from the catalogue (Rendle et al. 2009, BPR, UAI).

    Items that the user rated too may be drawn; in a catalogue of any size they are few.
    """

    draws_from_catalogue = True

    def __init__(
        self, train: Examples, n_items: int, *, l2: float, logq: float, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(train, n_items, l2=l2, logq=logq)
        self._n_items, self._generator = n_items, generator

    def terms(self, model: MatrixFactorization, batch: Examples) -> tuple[Tensor, Tensor]:
        """Mean log-loss and L2 of one batch."""
        drawn = torch.randint(self._n_items, (len(batch),), generator=self._generator)
        p, q, _, b_item = model.rows(batch.users, torch.cat([batch.items, drawn]))
        positive, negative = q.chunk(2)
        margin = (p * (positive - negative)).sum(dim=1)
        if b_item is not None:
            b_positive, b_negative = b_item.chunk(2)
            margin = margin + b_positive - b_negative
        return functional.softplus(-margin).mean(), self._penalty(p, positive, negative, b_item)

    def held_out(self, model: MatrixFactorization, examples: Examples) -> float:
        """Mean log-loss against all items: each example's place in the catalogue, as a loss."""
        with torch.no_grad():
            scores = model.score_all(examples.users)
            margin = scores.gather(1, examples.items[:, None]) - scores
            return float(functional.softplus(-margin).mean())
