"""Light graph convolution over who met what (He et al. 2020, LightGCN, SIGIR). Without layers it is the matrix
factorisation of BPR (Rendle et al. 2009, UAI).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from omegaconf import MISSING, DictConfig
from torch import Tensor, nn

from pipelines.config.schema.limits import Limit
from pipelines.data.interactions import Interactions
from pipelines.trainers.ranking.batches import Batch
from pipelines.trainers.ranking.models.ranker import Ranker, RankerSettings


@dataclass
class LightGCNSettings(RankerSettings):
    """Tables of users and items, averaged over layers of neighbours."""

    _target_: str = "pipelines.trainers.ranking.models.lightgcn.LightGCN"
    layers: Annotated[int, Limit(0, 100)] = MISSING
    """Number of steps to neighbours of neighbours; 0: each row is used as it is."""


class LightGCN(Ranker):
    """Mean of `layers` + 1 propagations of both tables over the training events, by D^-1/2 A D^-1/2."""

    def __init__(self, settings: DictConfig, data: Interactions) -> None:
        """Lay out both tables and the graph of the training events, where a pair counts once."""
        super().__init__(settings, data)
        self.user_emb = nn.Embedding(data.n_users, settings.dim)
        self.item_emb = nn.Embedding(data.n_items, settings.dim)
        self._layers = int(settings.layers)
        if self._layers:
            self.register_buffer("graph", _graph(data), persistent=False)

    def vectors(self, batch: Batch, items: Tensor | None) -> tuple[Tensor, Tensor]:
        """Vectors of the batch's users and of these items, of one propagation."""
        if not self._layers:
            return super().vectors(batch, items)
        users, catalogue = self._propagated()
        rows = catalogue if items is None else catalogue[items]
        return self.scaled(users[batch.users]), self.scaled(rows)

    def queries(self, users: Tensor, histories: Tensor) -> Tensor:
        """Vectors of users, shape (n, dim)."""
        return self._propagated()[0][users] if self._layers else self.user_emb(users)

    def rows(self, items: Tensor | None) -> Tensor:
        """Vectors of items, shape (m, dim)."""
        if not self._layers:
            return self.item_emb.weight if items is None else self.item_emb(items)
        catalogue = self._propagated()[1]
        return catalogue if items is None else catalogue[items]

    def _propagated(self) -> tuple[Tensor, Tensor]:
        hidden = torch.cat([self.user_emb.weight, self.item_emb.weight])
        total = hidden
        for _ in range(self._layers):
            hidden = torch.sparse.mm(self.graph, hidden)
            total = total + hidden
        users, items = (total / (self._layers + 1)).split([len(self.user_emb.weight), len(self.item_emb.weight)])
        return users, items


def _graph(data: Interactions) -> Tensor:
    """Symmetric normalised adjacency of users and items, sparse, shape (users + items,) twice."""
    pairs = torch.unique(torch.stack([data.users[data.train], data.items[data.train] + data.n_users]), dim=1)
    places = torch.cat([pairs, pairs.flip(0)], dim=1)
    size = data.n_users + data.n_items
    degree = torch.bincount(places[0], minlength=size).clamp(min=1).float()
    weights = (degree[places[0]] * degree[places[1]]).rsqrt()
    return torch.sparse_coo_tensor(places, weights, (size, size), check_invariants=False).coalesce()
