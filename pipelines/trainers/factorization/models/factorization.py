"""Matrix factorisation (Koren, Bell & Volinsky 2009, Matrix Factorization Techniques for Recommender Systems)."""

from __future__ import annotations

from typing import ClassVar

import torch
from omegaconf import DictConfig
from torch import Tensor, nn


class MatrixFactorization(nn.Module):
    """Score of user u and item i: p_u . q_i, with `biases` + mean + b_u + b_i.

    The mean is that of the training ratings and is not trained. Ids of shape (..., n) give rows of shape (..., n, dim)
    and scores of shape (..., n), so that the same lines score a stack of models.
    """

    TABLES: ClassVar[tuple[str, ...]] = ("user_emb", "item_emb")
    """Names of the attributes that hold tables of embeddings, which `tracker.tables` may name."""
    stackable: ClassVar[bool] = True
    """Whether `pipelines.trainers.factorization.stacking` may train several as one: they consist of tables and linear
    layers, and `rows` and `score` take shapes of more dimensions. Each class says so for itself.
    """
    mean: Tensor

    @classmethod
    def check(cls, settings: DictConfig) -> None:
        """Refuse settings that cannot be meant together; bounds of a single one stand beside its field.

        Raises:
            FlowGradError: names the key, the value and what would be right.
        """

    @classmethod
    def columns(cls, settings: DictConfig) -> int:
        """Number of columns of all tables of one side, by which it is checked whether they fit into memory."""
        return int(settings.dim)

    def __init__(
        self,
        n_users: int,
        n_items: int,
        mean: float,
        *,
        dim: int,
        biases: bool,
        init_std: float,
        sparse: bool,
        generator: torch.Generator,
    ) -> None:
        """Draw the initial embeddings from N(0, init_std^2) by `generator`; biases start at 0."""
        super().__init__()
        # `nn.Embedding(n, dim)` is not used, as it draws from the global generator.
        self.user_emb, self.item_emb = (
            table(torch.empty(rows, dim).normal_(0.0, init_std, generator=generator), sparse)
            for rows in (n_users, n_items)
        )
        self.user_bias = table(torch.zeros(n_users, 1), sparse) if biases else None
        self.item_bias = table(torch.zeros(n_items, 1), sparse) if biases else None
        self.register_buffer("mean", torch.tensor(mean if biases else 0.0, dtype=torch.float32))

    def rows(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Rows of each example: p (..., n, dim), q (..., n, dim), and b_u, b_i (..., n) or None."""
        return (
            self.user_emb(users),
            self.item_emb(items),
            None if self.user_bias is None else self.user_bias(users)[..., 0],
            None if self.item_bias is None else self.item_bias(items)[..., 0],
        )

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores of the pairs, shape (..., n)."""
        p, q, b_user, b_item = self.rows(users, items)
        return self.score(p, q, b_user, b_item)

    def score(self, p: Tensor, q: Tensor, b_user: Tensor | None, b_item: Tensor | None) -> Tensor:
        """Scores from rows, shape (..., n)."""
        scores = (p * q).sum(dim=-1)
        if b_user is not None and b_item is not None:
            scores = scores + self.mean + b_user + b_item
        return scores

    def score_all(self, users: Tensor) -> Tensor:
        """Scores of every item for each user, shape (n, n_items), up to a constant a user."""
        scores = self.user_emb(users) @ self.item_emb.weight.T
        return scores if self.item_bias is None else scores + self.item_bias.weight[:, 0]


def table(weight: Tensor, sparse: bool) -> nn.Embedding:
    """Make a trained table of embeddings that starts at these values, shape (rows, dim)."""
    return nn.Embedding.from_pretrained(weight, freeze=False, sparse=sparse)
