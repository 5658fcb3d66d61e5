"""Neural matrix factorisation (He et al. 2017, Neural Collaborative Filtering, WWW)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from flowgrad.errors import FlowGradError
from pipelines.trainers.factorization.models.factorization import MatrixFactorization, table


class NeuMF(MatrixFactorization):
    """Score of user u and item i: w . [p_u * q_i ; MLP(r_u, s_i)] + b, and the mean of the training ratings.

    The factorisation (GMF) and the perceptron (MLP) have embeddings of their own: `user_emb`, `item_emb`, and
    `mlp_user_emb`, `mlp_item_emb`. Section 3.4 of the paper; for ratings the output is linear and not a probability.
    """

    TABLES = (*MatrixFactorization.TABLES, *(f"mlp_{table}" for table in MatrixFactorization.TABLES))
    stackable = True

    @classmethod
    def check(cls, settings: DictConfig) -> None:
        """Refuse a perceptron without layers; see `MatrixFactorization.check`."""
        if not len(settings.widths):
            raise FlowGradError("model.widths=[]: give units of one layer or more")

    @classmethod
    def columns(cls, settings: DictConfig) -> int:
        """Number of columns of both parts; see `MatrixFactorization.columns`."""
        return int(settings.dim + settings.mlp_dim)

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
        mlp_dim: int,
        widths: Sequence[int],
    ) -> None:
        """Draw all weights by `generator`.

        Args:
            n_users: rows of the users' tables.
            n_items: rows of the items' tables.
            mean: of the training ratings; scores are around it.
            dim: columns of the GMF tables.
            biases: a bias a user and item besides.
            init_std: of the embeddings' initial entries.
            sparse: whether the tables' gradients are sparse.
            generator: of the initial weights.
            mlp_dim: columns of the MLP tables.
            widths: units of each hidden layer of the MLP.
        """
        super().__init__(
            n_users, n_items, mean, dim=dim, biases=biases, init_std=init_std, sparse=sparse, generator=generator
        )
        self.mean.fill_(mean)
        self.mlp_user_emb, self.mlp_item_emb = (
            table(torch.empty(rows, mlp_dim).normal_(0.0, init_std, generator=generator), sparse)
            for rows in (n_users, n_items)
        )
        sizes = [2 * mlp_dim, *widths]
        with torch.random.fork_rng(devices=[]):  # torch draws weights when a layer is made; they are drawn anew below
            self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
            self.head = nn.Linear(dim + sizes[-1], 1)
        for layer in (*self.layers, self.head):
            nn.init.kaiming_normal_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
        self._dim = dim

    def rows(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Rows of each example; p and q hold the rows of both parts side by side, see `MatrixFactorization.rows`."""
        p, q, b_user, b_item = super().rows(users, items)
        return (
            torch.cat([p, self.mlp_user_emb(users)], dim=-1),
            torch.cat([q, self.mlp_item_emb(items)], dim=-1),
            b_user,
            b_item,
        )

    def score(self, p: Tensor, q: Tensor, b_user: Tensor | None, b_item: Tensor | None) -> Tensor:
        """Scores from rows, shape (..., n)."""
        at = self._dim
        hidden = torch.cat([p[..., at:], q[..., at:]], dim=-1)
        for layer in self.layers:
            hidden = torch.relu(layer(hidden))
        scores = self.head(torch.cat([p[..., :at] * q[..., :at], hidden], dim=-1))[..., 0] + self.mean
        return scores if b_user is None or b_item is None else scores + b_user + b_item

    def score_all(self, users: Tensor) -> Tensor:
        """Scores of every item for each user, shape (n, n_items)."""
        items = torch.arange(self.item_emb.num_embeddings)
        return torch.stack([self(user.expand(len(items)), items) for user in users])
