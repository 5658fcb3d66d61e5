"""Holds the interface of ranking models: a score is the product of a query's vector and an item's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from omegaconf import MISSING, DictConfig
from torch import Tensor, nn
from torch.nn import functional

from pipelines.config.schema.limits import SCALE, SIZE, Limit
from pipelines.config.schema.models import ModelSettings
from pipelines.data.interactions import PADDING, Interactions
from pipelines.trainers.ranking.batches import Batch, events_of, pairs_of, windows_of

LENGTH = Limit(1, 4096)
"""Limits of the number of events that a model looks back."""


@dataclass
class RankerSettings(ModelSettings):
    """A model whose scores are products of vectors."""

    dim: Annotated[int, SIZE] = MISSING
    """Number of columns of the vectors."""
    init_std: Annotated[float, SCALE] = MISSING
    """Standard deviation of the embeddings' initial entries."""
    normalise: bool = False
    """Whether vectors are scaled to length 1, so that scores are cosines."""


@dataclass
class HistorySettings(RankerSettings):
    """A model that reads what a user did before."""

    length: Annotated[int, LENGTH] = MISSING
    """Number of events that it looks back, at most."""
    mask_padding: bool = True
    """Whether places that only fill up a short history are left out; else they are read as an item of their own."""


class Ranker(nn.Module, ABC):
    """A ranking model. Subclasses lay out their layers; `build_ranker` draws the weights."""

    LENGTH: ClassVar[int] = 1
    """Number of events that a query needs, where the settings do not say."""

    def __init__(self, settings: DictConfig, data: Interactions) -> None:
        """Keep the settings.

        Args:
            settings: the config's `model`.
            data: whose users and items there are; models of a graph read the training events.
        """
        super().__init__()
        self.normalise = bool(settings.normalise)
        self.length = int(getattr(settings, "length", self.LENGTH))

    def examples(self, data: Interactions) -> Batch:
        """Everything that the model is trained on."""
        return pairs_of(data)

    @abstractmethod
    def queries(self, users: Tensor, histories: Tensor) -> Tensor:
        """Vectors of queries, shape (n, dim); see `Batch` for both arguments."""

    @abstractmethod
    def rows(self, items: Tensor | None) -> Tensor:
        """Vectors of these items, shape (m, dim), or of the whole catalogue."""

    def trained(self, batch: Batch) -> Tensor:
        """Vector of each of the batch's targets' queries, shape (m, dim)."""
        return self.queries(batch.users, batch.histories)

    def vectors(self, batch: Batch, items: Tensor | None) -> tuple[Tensor, Tensor]:
        """Vectors of the queries, shape (m, dim), and of these items, as the loss compares them."""
        return self.scaled(self.trained(batch)), self.scaled(self.rows(items))

    def scaled(self, vectors: Tensor) -> Tensor:
        """The vectors at the length that scores are made of."""
        return functional.normalize(vectors, dim=-1) if self.normalise else vectors

    def asked(self, users: Tensor, histories: Tensor) -> Tensor:
        """Vectors of queries, in evaluation mode and without a gradient."""
        self.eval()
        with torch.no_grad():
            return self.scaled(self.queries(users, histories)).detach()

    def catalogue(self) -> Tensor:
        """Vectors of all items, in evaluation mode and without a gradient."""
        self.eval()
        with torch.no_grad():
            return self.scaled(self.rows(None)).detach()


class HistoryRanker(Ranker):
    """A model that reads a history and has a state at each of its places: `states`."""

    def __init__(self, settings: DictConfig, data: Interactions) -> None:
        """Lay out the table of items, of which row 0 is padding."""
        super().__init__(settings, data)
        self.mask_padding = bool(settings.mask_padding)
        padding = PADDING if self.mask_padding else None
        self.item_emb = nn.Embedding(data.n_items + 1, settings.dim, padding_idx=padding)

    def examples(self, data: Interactions) -> Batch:
        """Windows of the users' events."""
        return windows_of(data, self.length)

    @abstractmethod
    def states(self, histories: Tensor) -> Tensor:
        """State after each place of the histories, shape (n, length, dim)."""

    def queries(self, users: Tensor, histories: Tensor) -> Tensor:
        """The last state of each history."""
        return self.states(histories)[:, -1]

    def trained(self, batch: Batch) -> Tensor:
        """The states at all places with a target."""
        return self.states(batch.histories)[batch.there]

    def rows(self, items: Tensor | None) -> Tensor:
        """Rows of the very table that histories are read by: output and input are tied."""
        return self.item_emb.weight[1:] if items is None else self.item_emb(items + 1)


class UserHistoryRanker(Ranker):
    """A model that reads who the user is and the items before: one target an example."""

    def examples(self, data: Interactions) -> Batch:
        """One event an example."""
        return events_of(data, self.length)


def draw(model: nn.Module, init_std: float, generator: torch.Generator) -> None:
    """Draw all weights by one generator: tables from N(0, init_std^2), layers from a Xavier normal (Glorot & Bengio
    2010), biases 0; padding rows stay 0. Recurrent layers start from N(0, 1 / hidden size), orthogonal or not.
    """
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                module.weight.normal_(0.0, init_std, generator=generator)
                if module.padding_idx is not None:
                    module.weight[module.padding_idx] = 0.0
            elif isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, nn.GRU):
                for parameter in module.parameters():
                    if parameter.dim() > 1:
                        parameter.normal_(0.0, module.hidden_size**-0.5, generator=generator)
                    else:
                        parameter.zero_()


def build_ranker(settings: DictConfig, made: type[Ranker], data: Interactions, generator: torch.Generator) -> Ranker:
    """Build a model, its weights drawn by `generator` alone."""
    with torch.random.fork_rng(devices=[]):  # torch draws weights when a layer is made; they are drawn anew below
        model = made(settings, data)
    draw(model, settings.init_std, generator)
    return model
