"""Losses of ranking models. Each compares a query's score of what followed with its scores of other items."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.nn import functional

from flowgrad.errors import FlowGradError
from pipelines.data.interactions import Interactions
from pipelines.trainers.ranking.batches import Batch
from pipelines.trainers.ranking.models.ranker import Ranker

_NEVER = float("-inf")


class RankingLoss(ABC):
    """A loss to minimise: a mean over the examples of a batch, and a penalty."""

    IN_BATCH = False
    """Whether the other targets of the batch are the negatives."""
    DRAWS = False
    """Whether negatives are drawn from the catalogue."""

    @classmethod
    def check(cls, settings: DictConfig) -> None:
        """Refuse settings that this loss does not have.

        Raises:
            FlowGradError: names the key, the value and what would be right.
        """
        if settings.negatives and not cls.DRAWS:
            raise FlowGradError(f"loss.negatives={settings.negatives}: {cls.__name__} draws none; set it to 0")
        if cls.DRAWS and not settings.negatives:
            raise FlowGradError(f"loss.negatives=0: {cls.__name__} draws negatives; give their number")
        if settings.logq and not cls.IN_BATCH:
            raise FlowGradError(f"loss.logq={settings.logq} corrects in-batch negatives; this loss has none (set 0)")
        if settings.hard and not (cls.IN_BATCH or cls.DRAWS):
            raise FlowGradError(f"loss.hard={settings.hard}: {cls.__name__} compares with all items; set it to 0")

    def __init__(self, settings: DictConfig, data: Interactions, generator: torch.Generator) -> None:
        """Keep the settings.

        Args:
            settings: the config's `loss`.
            data: whose training events say how frequent items are, and what each user met.
            generator: draws negatives.
        """
        self._settings, self._generator, self._n_items = settings, generator, data.n_items
        counts = data.exposures.float()
        self._log_q = (counts.clamp(min=1) / counts.sum()).log()
        pairs = data.users[data.train] * data.n_items + data.items[data.train]
        self._pairs = pairs.unique() if settings.mask_positives else None

    def of(self, model: Ranker, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean data loss and penalty of a batch, scalars with their graph."""
        compared = self.compared(batch.items)
        queries, rows = model.vectors(batch, compared)
        value = self.value(queries, rows, batch, compared)
        if not self._settings.l2:
            return value, torch.zeros(())
        own = rows[batch.items] if compared is None else rows[: len(queries)]
        squares = queries.square().sum() + own.square().sum()
        return value, self._settings.l2 * squares / len(queries)

    @abstractmethod
    def compared(self, targets: Tensor) -> Tensor | None:
        """Codes of the items whose rows the loss needs, the targets first; None: the whole catalogue."""

    @abstractmethod
    def value(self, queries: Tensor, rows: Tensor, batch: Batch, compared: Tensor | None) -> Tensor:
        """Mean data loss, a scalar with its graph.

        Args:
            queries: vectors of the queries, shape (m, dim).
            rows: vectors of `compared`.
            batch: what the queries are, and their targets.
            compared: as `compared` gave it.
        """

    def held_out(self, queries: Tensor, catalogue: Tensor, targets: Tensor) -> Tensor:
        """Loss of each held-out target against all items, shape (n,): the scores as they are served."""
        return functional.cross_entropy(queries @ catalogue.T / self._settings.temperature, targets, reduction="none")

    def _without(self, logits: Tensor, itself: Tensor, users: Tensor, items: Tensor) -> Tensor:
        """Scores of negatives without those of the target itself, and, where they are left out, of what the user met.

        Args:
            logits: shape (m, n).
            itself: flags of negatives that are the target, of that shape.
            users: code of each example's user, shape (m,).
            items: codes of the negatives, shape (n,) or (m, n).
        """
        if self._pairs is not None:
            pairs = users[:, None] * self._n_items + items
            places = torch.searchsorted(self._pairs, pairs).clamp(max=len(self._pairs) - 1)
            itself = itself | (self._pairs[places] == pairs)
        return logits.masked_fill(itself, _NEVER)

    def _hardest(self, negatives: Tensor) -> Tensor:
        """The highest-scored negatives of each example, where only some are kept."""
        hard = self._settings.hard
        return negatives.topk(hard, dim=1).values if 0 < hard < negatives.shape[1] else negatives


class FullSoftmax(RankingLoss):
    """Cross-entropy of the target among all items of the catalogue."""

    def compared(self, targets: Tensor) -> Tensor | None:
        """The whole catalogue."""
        return None

    def value(self, queries: Tensor, rows: Tensor, batch: Batch, compared: Tensor | None) -> Tensor:
        """Mean cross-entropy."""
        logits, targets = queries @ rows.T / self._settings.temperature, batch.items
        if self._pairs is None:
            return functional.cross_entropy(logits, targets)
        items = torch.arange(len(rows))
        positive = logits.gather(1, targets[:, None])[:, 0]
        return _against(positive, self._without(logits, items == targets[:, None], batch.owners, items))


class BatchSoftmax(RankingLoss):
    """Cross-entropy of the target among the targets of the batch (Yi et al. 2019, Sampling-Bias-Corrected Neural
    Modeling, RecSys), which are negatives in proportion to their popularity; `logq` corrects that.

    The same item twice in a batch is no negative of itself.
    """

    IN_BATCH = True

    def compared(self, targets: Tensor) -> Tensor | None:
        """The targets."""
        return targets

    def value(self, queries: Tensor, rows: Tensor, batch: Batch, compared: Tensor | None) -> Tensor:
        """Mean cross-entropy."""
        settings, items = self._settings, batch.items
        logits = queries @ rows.T / settings.temperature - settings.logq * self._log_q[items]
        negatives = self._without(logits, items[:, None] == items, batch.owners, items)
        return _against(logits.diagonal(), self._hardest(negatives))


class SampledSoftmax(RankingLoss):
    """Cross-entropy of the target among items drawn evenly from the catalogue, the same for the whole batch."""

    DRAWS = True

    def compared(self, targets: Tensor) -> Tensor | None:
        """The targets, then the drawn items."""
        drawn = torch.randint(self._n_items, (self._settings.negatives,), generator=self._generator)
        return torch.cat([targets, drawn])

    def value(self, queries: Tensor, rows: Tensor, batch: Batch, compared: Tensor | None) -> Tensor:
        """Mean cross-entropy."""
        assert compared is not None
        own, other = rows[: len(queries)], rows[len(queries) :]
        drawn = compared[len(queries) :]
        temperature = self._settings.temperature
        positive = (queries * own).sum(dim=1) / temperature
        logits = queries @ other.T / temperature
        return _against(
            positive, self._hardest(self._without(logits, drawn == batch.items[:, None], batch.owners, drawn))
        )


class Pairwise(RankingLoss):
    """Log-loss of the target scoring above items drawn evenly, some an example (Rendle et al. 2009, BPR, UAI)."""

    DRAWS = True

    def compared(self, targets: Tensor) -> Tensor | None:
        """The targets, then the drawn items of each in turn."""
        drawn = torch.randint(self._n_items, (len(targets) * self._settings.negatives,), generator=self._generator)
        return torch.cat([targets, drawn])

    def value(self, queries: Tensor, rows: Tensor, batch: Batch, compared: Tensor | None) -> Tensor:
        """Mean log-loss over the pairs."""
        assert compared is not None
        m = len(queries)
        own, other = rows[:m], rows[m:].view(m, -1, rows.shape[1])
        drawn = compared[m:].view(m, -1)
        scores = (other @ queries[:, :, None])[:, :, 0]
        scores = self._hardest(self._without(scores, drawn == batch.items[:, None], batch.owners, drawn))
        margin = ((queries * own).sum(dim=1, keepdim=True) - scores) / self._settings.temperature
        return functional.softplus(-margin).mean()

    def held_out(self, queries: Tensor, catalogue: Tensor, targets: Tensor) -> Tensor:
        """Mean log-loss of each target against all items: its place in the catalogue, as a loss."""
        scores = queries @ catalogue.T / self._settings.temperature
        return functional.softplus(scores - scores.gather(1, targets[:, None])).mean(dim=1)


def _against(positive: Tensor, negatives: Tensor) -> Tensor:
    """Mean cross-entropy of each example's positive score among it and its negatives."""
    return (torch.logaddexp(positive, negatives.logsumexp(dim=1)) - positive).mean()


def false_negative_share(loss: type[RankingLoss], data: Interactions) -> float:
    """Share of the negatives that a loss compares an example with, on average, which are positives of the same user in
    training, the target itself left out.
    """
    pairs = torch.unique(torch.stack([data.users[data.train], data.items[data.train]]), dim=1)
    counts = data.exposures.double()
    weights = counts / counts.sum() if loss.IN_BATCH else torch.full_like(counts, 1 / data.n_items)
    events = torch.bincount(data.users[data.train], minlength=data.n_users).double()
    met = torch.zeros(data.n_users, dtype=torch.float64).index_add_(0, pairs[0], weights[pairs[1]])
    itself = weights[data.items[data.train]].mean()
    return float((events / events.sum() * met).sum() - itself)
