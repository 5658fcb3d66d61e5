"""Losses of the factorisation: each gives the data term and the penalty separately, for only the first is
comparable. Batches of shape (n,) give scalars; those of a stack of models, (models, n), give one value a model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from flowgrad.errors import FlowGradError
from pipelines.data.ratings import Examples
from pipelines.trainers.factorization.models.factorization import MatrixFactorization

Generators = torch.Generator | Sequence[torch.Generator]


class Loss(ABC):
    """A loss to minimise: data term + penalty."""

    in_batch_negatives = False
    """Whether the other items of the batch are the negatives."""
    draws_from_catalogue = False
    """Whether negatives are drawn from all items, so that every item is looked up."""
    of_ratings = False
    """Whether scores are predicted ratings, whose residuals mean something."""
    stackable = False
    """Whether a stack of models is trained by it, for less than one model after the other. Each class says so for
    itself.
    """

    def __init__(
        self, train: Examples, n_items: int, *, l2: float, logq: float, generator: Generators | None = None
    ) -> None:
        """Keep the settings.

        Args:
            train: the training examples, for losses that need item frequencies.
            n_items: items of the catalogue.
            l2: strength of the penalty.
            logq: strength of the log-Q correction.
            generator: for losses that draw negatives while training; of a stack, one a model.
        """
        if logq and not self.in_batch_negatives:
            raise FlowGradError(f"loss.logq={logq} corrects in-batch negatives; this loss has none (set 0)")
        self.l2, self.logq = l2, logq

    @abstractmethod
    def terms(self, model: MatrixFactorization, batch: Examples) -> tuple[Tensor, Tensor]:
        """Mean data loss and penalty of one batch, shape (...,)."""

    @abstractmethod
    def held_out(self, model: MatrixFactorization, examples: Examples) -> float:
        """Mean data loss on examples that were not trained on. Lower is better; comparable between configs."""

    def _penalty(self, batch: Examples, *rows: Tensor | None) -> Tensor:
        """l2 times the squared norm of the rows of each example, averaged over the batch."""
        if not self.l2:
            return torch.zeros(())
        first = batch.users.dim() - 1
        squares = [row.square().flatten(first).sum(dim=-1) / row.shape[first] for row in rows if row is not None]
        return self.l2 * torch.stack(squares).sum(dim=0)


class MeanSquaredError(Loss):
    """Squared error of the rating."""

    of_ratings = True
    stackable = True

    def terms(self, model: MatrixFactorization, batch: Examples) -> tuple[Tensor, Tensor]:
        """Mean squared error and L2 of one batch."""
        p, q, b_user, b_item = model.rows(batch.users, batch.items)
        error = model.score(p, q, b_user, b_item) - batch.ratings
        return error.square().mean(dim=-1), self._penalty(batch, p, q, b_user, b_item)

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
        self, train: Examples, n_items: int, *, l2: float, logq: float, generator: Generators | None = None
    ) -> None:
        super().__init__(train, n_items, l2=l2, logq=logq)
        frequency = torch.bincount(train.items, minlength=n_items).float() / len(train.items)
        self._log_q = frequency.clamp(min=1.0 / len(train.items)).log()

    def terms(self, model: MatrixFactorization, batch: Examples) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy and L2 of one batch."""
        p, q, b_user, b_item = model.rows(batch.users, batch.items)
        logits = p @ q.T - self.correction(batch.items)
        if b_item is not None:
            logits = logits + b_item
        # It need not be recorded: what is never chosen has no gradient.
        logits.detach().view(-1).index_fill_(0, repeated(batch.items), float("-inf"))
        target = torch.arange(len(batch.items))
        return functional.cross_entropy(logits, target), self._penalty(batch, p, q, b_user, b_item)

    def correction(self, items: Tensor) -> Tensor:
        """Compute the correction that is taken off the logits of items, shape (...)."""
        return self.logq * self._log_q[items]

    def held_out(self, model: MatrixFactorization, examples: Examples) -> float:
        """Mean cross-entropy over all items, uncorrected: the scores as they would be served."""
        with torch.no_grad():
            return float(functional.cross_entropy(model.score_all(examples.users), examples.items))


class BayesianPersonalizedRanking(Loss):
    """Log-loss of the example's item scoring above one drawn evenly from the catalogue (Rendle et al. 2009, BPR, UAI).

    Items that the user rated too may be drawn; in a catalogue of any size they are few.
    """

    draws_from_catalogue = True
    stackable = True

    def __init__(
        self, train: Examples, n_items: int, *, l2: float, logq: float, generator: Generators | None = None
    ) -> None:
        super().__init__(train, n_items, l2=l2, logq=logq)
        self._n_items = n_items
        self._generators = generator if isinstance(generator, Sequence) else [generator]

    def terms(self, model: MatrixFactorization, batch: Examples) -> tuple[Tensor, Tensor]:
        """Mean log-loss and L2 of one batch."""
        size = batch.items.shape[-1:]
        drawn = torch.stack([torch.randint(self._n_items, size, generator=one) for one in self._generators])
        p, q, _, b_item = model.rows(batch.users, torch.cat([batch.items, drawn.view_as(batch.items)], dim=-1))
        positive, negative = q.chunk(2, dim=-2)
        margin = (p * (positive - negative)).sum(dim=-1)
        if b_item is not None:
            b_positive, b_negative = b_item.chunk(2, dim=-1)
            margin = margin + b_positive - b_negative
        return functional.softplus(-margin).mean(dim=-1), self._penalty(batch, p, positive, negative, b_item)

    def held_out(self, model: MatrixFactorization, examples: Examples) -> float:
        """Mean log-loss against all items: each example's place in the catalogue, as a loss."""
        with torch.no_grad():
            scores = model.score_all(examples.users)
            margin = scores.gather(1, examples.items[:, None]) - scores
            return float(functional.softplus(-margin).mean())


def repeated(items: Tensor) -> Tensor:
    """Places of the pairs of different examples with the same item, in the flattened matrix of all pairs, which are
    few.
    """
    names = items.numpy().astype(np.int32)  # half as much to compare
    same = np.flatnonzero(names[:, None] == names)
    return torch.from_numpy(same[same % (len(names) + 1) != 0])  # without the diagonal
