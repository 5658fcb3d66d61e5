"""Asks a model about held-out events: the scores by which items would be recommended."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import DictConfig
from torch import Tensor

from pipelines.data.interactions import Interactions
from pipelines.trainers.ranking.models.ranker import Ranker


@dataclass(frozen=True)
class Served:
    """Answers of a model."""

    users: Tensor
    """Codes of the users, int64, shape (n,)."""
    targets: Tensor
    """Codes of the items that followed, int64, shape (n,)."""
    queries: Tensor
    """Vectors of the queries, shape (n, dim)."""
    catalogue: Tensor
    """Vectors of all items, shape (items, dim)."""
    scores: Tensor
    """Scores, float64, shape (n, items); -inf where an item is no candidate."""

    @property
    def finite(self) -> bool:
        """Whether no score is NaN or infinite but for those of items that are no candidates."""
        return not bool((self.scores.isnan() | self.scores.isposinf()).any())


def serve(model: Ranker, data: Interactions, places: Tensor, settings: DictConfig) -> Served:
    """Ask the model about these events. Items that the user met before are no candidates, unless `settings.repeats`;
    the target always is one, unless it is left out as cold (`settings.serve_cold`).
    """
    queries, catalogue = model.asked(data.users[places], data.histories(places, model.length)), model.catalogue()
    targets, scores = data.items[places], queries.double() @ catalogue.double().T
    own = scores.gather(1, targets[:, None])
    if not settings.repeats:
        scores.masked_fill_(data.seen(places), float("-inf"))
    scores.scatter_(1, targets[:, None], own)
    if not settings.serve_cold:
        scores.masked_fill_(data.exposures == 0, float("-inf"))
    return Served(data.users[places], targets, queries, catalogue, scores)
