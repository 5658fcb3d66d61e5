"""Networks whose layers have names and widths of their own: teachers and students."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

OUTPUT = "out"
"""Name of the last layer."""
TABLES = ("user_emb", "item_emb")
"""Names of a recommender's embeddings."""


def hidden_names(depth: int) -> tuple[str, ...]:
    """Names of hidden layers, from the inputs on.

    >>> hidden_names(2)
    ('fc1', 'fc2')
    """
    return tuple(f"fc{number}" for number in range(1, depth + 1))


class Dense(nn.Module):
    """Linear layers `fc1`, `fc2`, ..., `out`, rectified between; weights by He et al. 2015, Delving Deep into
    Rectifiers, eq. 10, uniform.
    """

    def __init__(self, n_inputs: int, widths: Sequence[int], n_outputs: int, generator: torch.Generator) -> None:
        """Draw the weights.

        Args:
            n_inputs: features.
            widths: units of each hidden layer.
            n_outputs: classes, or 1.
            generator: of the weights.
        """
        super().__init__()
        self._hidden = hidden_names(len(widths))
        sizes = itertools.pairwise([n_inputs, *widths, n_outputs])
        for name, (coming, going) in zip([*self._hidden, OUTPUT], sizes, strict=True):
            self.add_module(name, _linear(coming, going, generator))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, shape (..., n, outputs), of inputs, shape (..., n, features)."""
        for name in self._hidden:
            inputs = functional.relu(self.get_submodule(name)(inputs))
        return self.get_submodule(OUTPUT)(inputs)


class Recommender(nn.Module):
    """Network that feeds embeddings of user and item side by side into linear layers (the MLP of He et al. 2017, Neural
    Collaborative Filtering, par. 3.3), for ratings: the mean plus what the network gives.
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        dims: Mapping[str, int],
        widths: Sequence[int],
        mean: float,
        generator: torch.Generator,
    ) -> None:
        """Draw the weights; embeddings from N(0, 0.1^2).

        Args:
            n_users: rows of `user_emb`.
            n_items: rows of `item_emb`.
            dims: columns of either.
            widths: units of each hidden layer.
            mean: of the training ratings; it is not trained.
            generator: of the weights.
        """
        super().__init__()
        for name, rows in zip(TABLES, (n_users, n_items), strict=True):
            weight = torch.empty(rows, dims[name]).normal_(0.0, 0.1, generator=generator)
            # `nn.Embedding(n, dim)` is not used, as it draws from the global generator.
            self.add_module(name, nn.Embedding.from_pretrained(weight, freeze=False))
        self._hidden = hidden_names(len(widths))
        sizes = itertools.pairwise([sum(dims.values()), *widths, 1])
        for name, (coming, going) in zip([*self._hidden, OUTPUT], sizes, strict=True):
            self.add_module(name, _linear(coming, going, generator))
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))

    def forward(self, pairs: Tensor) -> Tensor:
        """Ratings, shape (..., n, 1), of pairs of user and item, int64, shape (..., n, 2)."""
        rows = [self.get_submodule(name)(pairs[..., side]) for side, name in enumerate(TABLES)]
        inputs = torch.cat(rows, dim=-1)
        for name in self._hidden:
            inputs = functional.relu(self.get_submodule(name)(inputs))
        return self.mean + self.get_submodule(OUTPUT)(inputs)


def layer_names(network: nn.Module) -> tuple[str, ...]:
    """Names of a network's layers, from the inputs on."""
    return tuple(name for name, _ in network.named_children())


def _linear(coming: int, going: int, generator: torch.Generator) -> nn.Linear:
    # The layer's own initialisation would draw from the global generator.
    layer = nn.utils.skip_init(nn.Linear, coming, going)
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
    nn.init.zeros_(layer.bias)
    return layer
