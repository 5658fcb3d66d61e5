"""Two towers, one of the user and one of the item (Yi et al. 2019, Sampling-Bias-Corrected Neural Modeling for Large
Corpus Item Recommendations, RecSys).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import torch
from omegaconf import MISSING, DictConfig
from torch import Tensor, nn

from pipelines.config.schema.limits import SIZE
from pipelines.data.interactions import PADDING, Interactions
from pipelines.trainers.ranking.models.ranker import HistorySettings, UserHistoryRanker


@dataclass
class TwoTowerSettings(HistorySettings):
    """A perceptron a side, above tables of users and items."""

    _target_: str = "pipelines.trainers.ranking.models.two_tower.TwoTower"
    widths: Annotated[list[int], SIZE] = MISSING
    """Number of units of each hidden layer of either tower; none: a tower is one linear layer."""


class TwoTower(UserHistoryRanker):
    """User tower of (user, mean of the items before), item tower of the item; both read one table of items."""

    def __init__(self, settings: DictConfig, data: Interactions) -> None:
        """Lay out tables and towers."""
        super().__init__(settings, data)
        self.mask_padding = bool(settings.mask_padding)
        padding = PADDING if self.mask_padding else None
        self.user_emb = nn.Embedding(data.n_users, settings.dim)
        self.item_emb = nn.Embedding(data.n_items + 1, settings.dim, padding_idx=padding)
        self.user_tower = tower(2 * settings.dim, settings.widths, settings.dim)
        self.item_tower = tower(settings.dim, settings.widths, settings.dim)

    def queries(self, users: Tensor, histories: Tensor) -> Tensor:
        """Vectors of the user tower, shape (n, dim)."""
        read = self.item_emb(histories)
        if self.mask_padding:
            before = read.sum(dim=1) / (histories != PADDING).sum(dim=1, keepdim=True).clamp(min=1)
        else:
            before = read.mean(dim=1)
        return self.user_tower(torch.cat([self.user_emb(users), before], dim=1))

    def rows(self, items: Tensor | None) -> Tensor:
        """Vectors of the item tower, shape (m, dim)."""
        return self.item_tower(self.item_emb.weight[1:] if items is None else self.item_emb(items + 1))


def tower(inputs: int, widths: Sequence[int], outputs: int) -> nn.Sequential:
    """A perceptron with ReLU between its layers."""
    layers: list[nn.Module] = []
    for a, b in pairwise([inputs, *widths]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear([inputs, *widths][-1], outputs))
