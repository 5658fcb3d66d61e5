"""A recurrent network over a user's history (Hidasi et al. 2016, Session-based Recommendations with Recurrent Neural
Networks, ICLR; with the tied output of Hidasi & Karatzoglou 2018, CIKM).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from omegaconf import MISSING, DictConfig
from torch import Tensor, nn
from torch.nn import functional

from pipelines.config.schema.limits import BELOW_1, SIZE, Limit
from pipelines.data.interactions import PADDING, Interactions
from pipelines.trainers.ranking.models.ranker import HistoryRanker, HistorySettings


@dataclass
class GRU4RecSettings(HistorySettings):
    """Layers of gated recurrent units."""

    _target_: str = "pipelines.trainers.ranking.models.gru4rec.GRU4Rec"
    width: Annotated[int, SIZE] = MISSING
    """Number of units of each layer."""
    layers: Annotated[int, Limit(1, 100)] = MISSING
    dropout: Annotated[float, BELOW_1] = MISSING
    """Share of the embeddings' values that training leaves out."""


class GRU4Rec(HistoryRanker):
    """Gated recurrent units, and a linear map of their state into the space of the items' table."""

    def __init__(self, settings: DictConfig, data: Interactions) -> None:
        """Lay out the layers."""
        super().__init__(settings, data)
        self.units = nn.GRU(settings.dim, settings.width, settings.layers, batch_first=True)
        self.head = nn.Linear(settings.width, settings.dim)
        self._dropout = float(settings.dropout)

    def states(self, histories: Tensor) -> Tensor:
        """State after each place of the histories, shape (n, length, dim). Padding is read last, so that no state that
        counts has seen it, where it is to be left out.
        """
        if not self.mask_padding:
            return self._read(histories)
        length = histories.shape[1]
        filled = (histories == PADDING).sum(dim=1, keepdim=True)
        places = torch.arange(length)
        turned = self._read(histories.gather(1, (places + filled) % length))
        back = ((places - filled) % length)[:, :, None].expand_as(turned)
        return turned.gather(1, back)

    def _read(self, histories: Tensor) -> Tensor:
        hidden = functional.dropout(self.item_emb(histories), self._dropout, self.training)
        return self.head(self.units(hidden)[0])
