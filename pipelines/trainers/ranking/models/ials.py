"""Implicit alternating least squares, trained without a gradient: the reference (Hu, Koren & Volinsky 2008, ICDM; in
the form of Rendle et al. 2022, Revisiting the Performance of iALS on Item Recommendation Benchmarks, RecSys).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from omegaconf import MISSING, DictConfig
from torch import Tensor, nn

from pipelines.config.schema.limits import FROM_0_TO_1, POSITIVE
from pipelines.data.interactions import Interactions
from pipelines.trainers.ranking.models.ranker import Ranker, RankerSettings


@dataclass
class IALSSettings(RankerSettings):
    """Two tables, each solved for given the other in turn."""

    _target_: str = "pipelines.trainers.ranking.models.ials.IALS"
    unobserved_weight: Annotated[float, POSITIVE] = MISSING
    """Weight of a pair of the catalogue, observed or not; an observed pair weighs 1 besides."""
    l2: Annotated[float, POSITIVE] = MISSING
    """Penalty on the rows."""
    l2_exponent: Annotated[float, FROM_0_TO_1] = MISSING
    """Power of a row's weight in the loss by which its penalty is scaled; 1: in proportion."""


class IALS(Ranker):
    """Sum over observed pairs of (1 - p.q)^2, over all pairs of a0 (p.q)^2, and a penalty l2 (n + a0 N)^v |p|^2."""

    def __init__(self, settings: DictConfig, data: Interactions) -> None:
        """Lay out both tables; `sweep` solves for them."""
        super().__init__(settings, data)
        self.user_emb = nn.Embedding(data.n_users, settings.dim)
        self.item_emb = nn.Embedding(data.n_items, settings.dim)
        self.requires_grad_(False)
        self._weight, self._l2, self._power = settings.unobserved_weight, settings.l2, settings.l2_exponent
        pairs = torch.unique(torch.stack([data.users[data.train], data.items[data.train]]), dim=1)
        self._by_user, self._by_item = pairs, pairs.flip(0)[:, pairs[1].argsort(stable=True)]

    def queries(self, users: Tensor, histories: Tensor) -> Tensor:
        """Rows of users, shape (n, dim)."""
        return self.user_emb(users)

    def rows(self, items: Tensor | None) -> Tensor:
        """Rows of items, shape (m, dim)."""
        return self.item_emb.weight if items is None else self.item_emb(items)

    def sweep(self) -> float:
        """Solve for all users, then for all items; return the loss over all pairs afterwards, a mean over observed
        ones.
        """
        users, items = self.user_emb.weight, self.item_emb.weight
        with torch.no_grad():
            users.copy_(self._solved(self._by_user, items, len(users)))
            items.copy_(self._solved(self._by_item, users, len(items)))
            fit = (1 - (users[self._by_user[0]] * items[self._by_user[1]]).sum(dim=1)).square().sum()
            rest = self._weight * ((users.T @ users) * (items.T @ items)).sum()
        return float(fit + rest) / self._by_user.shape[1]

    def _solved(self, pairs: Tensor, others: Tensor, count: int) -> Tensor:
        """Rows of one side, shape (count, dim), given those of the other."""
        held = others.double()
        whole, dim = self._weight * held.T @ held, held.shape[1]
        counts = torch.bincount(pairs[0], minlength=count)
        penalty = self._l2 * (counts + self._weight * len(held)).pow(self._power)
        left = torch.empty(count, dim, dim, dtype=torch.float64)
        right = torch.zeros(count, dim, dtype=torch.float64)
        for row, met in enumerate(pairs[1].split(counts.tolist())):
            mine = held[met]
            left[row] = whole + mine.T @ mine
            right[row] = mine.sum(dim=0)
        left += penalty[:, None, None] * torch.eye(dim, dtype=torch.float64)
        return torch.linalg.solve(left, right).float()
