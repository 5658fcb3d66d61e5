"""Self-attention over a user's history (Kang & McAuley 2018, Self-Attentive Sequential Recommendation, ICDM)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from omegaconf import MISSING, DictConfig
from torch import Tensor, nn
from torch.nn import functional

from flowgrad.errors import FlowGradError
from pipelines.config.schema.limits import BELOW_1, SIZE, Limit
from pipelines.data.interactions import PADDING, Interactions
from pipelines.trainers.ranking.models.ranker import HistoryRanker, HistorySettings


@dataclass
class SASRecSettings(HistorySettings):
    """Blocks of causal self-attention."""

    _target_: str = "pipelines.trainers.ranking.models.sasrec.SASRec"
    blocks: Annotated[int, Limit(1, 100)] = MISSING
    heads: Annotated[int, SIZE] = MISSING
    """Number of heads of attention; it divides `dim`."""
    dropout: Annotated[float, BELOW_1] = MISSING
    """Share of the values that training leaves out after the embeddings and within the blocks."""


class SASRec(HistoryRanker):
    """Causal self-attention with learned places, counted from the end of the history, and a tied output.

    Blocks are normalised at their input, as a stack of them trains without a warm-up then.
    """

    def __init__(self, settings: DictConfig, data: Interactions) -> None:
        """Lay out places and blocks.

        Raises:
            FlowGradError: heads that do not divide the columns.
        """
        if settings.dim % settings.heads:
            raise FlowGradError(f"model.heads={settings.heads} does not divide model.dim={settings.dim}")
        super().__init__(settings, data)
        self.place_emb = nn.Embedding(settings.length, settings.dim)
        self.blocks = nn.ModuleList(
            Block(settings.dim, settings.heads, settings.dropout) for _ in range(settings.blocks)
        )
        self.norm = nn.LayerNorm(settings.dim)
        self._dropout = float(settings.dropout)

    def states(self, histories: Tensor) -> Tensor:
        """State after each place of the histories, shape (n, length, dim)."""
        length = histories.shape[1]
        places = self.place_emb(torch.arange(length - 1, -1, -1))
        hidden = functional.dropout(self.item_emb(histories) + places, self._dropout, self.training)
        seen = torch.ones(length, length, dtype=torch.bool).tril()
        if self.mask_padding:  # a place always sees itself, or a row of padding would see nothing
            seen = seen & (histories != PADDING)[:, None, :] | torch.eye(length, dtype=torch.bool)
            seen = seen[:, None]
        for block in self.blocks:
            hidden = block(hidden, seen)
        return self.norm(hidden)


class Block(nn.Module):
    """Self-attention and a perceptron, each added to its input."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        """Lay out the layers."""
        super().__init__()
        self.attention_norm, self.perceptron_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mixed, self.joined = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.wide, self.narrow = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self._heads, self._dropout = heads, dropout

    def forward(self, hidden: Tensor, seen: Tensor) -> Tensor:
        """Hidden states, shape (n, length, dim), of such; `seen` flags the places that each place attends to."""
        n, length, dim = hidden.shape
        parts = self.mixed(self.attention_norm(hidden)).view(n, length, 3, self._heads, dim // self._heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        dropout = self._dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, dropout_p=dropout)
        joined = self.joined(mixed.transpose(1, 2).reshape(n, length, dim))
        hidden = hidden + functional.dropout(joined, self._dropout, self.training)
        made = self.narrow(functional.gelu(self.wide(self.perceptron_norm(hidden))))
        return hidden + functional.dropout(made, self._dropout, self.training)
