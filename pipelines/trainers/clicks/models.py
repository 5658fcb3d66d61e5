"""Click models: tables of embeddings, `tables.COLUMN_emb`, and what makes a logit of their vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from pipelines.config.targets import target
from pipelines.trainers.networks.initialisation import initialise
from pipelines.trainers.networks.models import Mlp


class ClickModel(nn.Module, ABC):
    """A model from rows of tables and amounts to the log-odds of a click."""

    def __init__(self, settings: DictConfig, sizes: Mapping[str, int], amounts: int) -> None:
        """Lay out the tables; `build_click_model` draws their weights.

        Args:
            settings: `ClickModelSettings`.
            sizes: number of rows of the table of each column of categories.
            amounts: number of columns of amounts.
        """
        super().__init__()
        self.tables = tables(sizes, settings.dim)

    def vectors(self, ids: Tensor) -> Tensor:
        """Embeddings of the rows, shape (rows, columns, dim), of row numbers, shape (rows, columns)."""
        return torch.stack([table(ids[:, k]) for k, table in enumerate(self.tables.values())], dim=1)

    @abstractmethod
    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """Log-odds, shape (rows, 1), of row numbers, shape (rows, columns), and amounts, shape (rows, amounts)."""

    def draw(self, settings: DictConfig, generator: torch.Generator) -> None:
        """Draw all weights: entries of tables from N(0, `init_std`²), layers as `initialise` says."""
        for part in self.children():
            initialise(part, settings, generator)
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Embedding):
                    module.weight.normal_(0.0, settings.init_std, generator=generator)


class DeepFM(ClickModel):
    """Sum of a linear term, the products of all pairs of embeddings, and a perceptron on all of them (Guo et al. 2017,
    DeepFM, IJCAI, equations 1 to 4). Amounts enter the linear term and the perceptron.
    """

    def __init__(self, settings: DictConfig, sizes: Mapping[str, int], amounts: int) -> None:
        """Lay out the layers; see `ClickModel.__init__`."""
        super().__init__(settings, sizes, amounts)
        self.weights = tables(sizes, 1)
        self.linear = nn.Linear(amounts, 1, bias=False) if amounts else None
        self.deep = Mlp(settings, len(sizes) * settings.dim + amounts, 1)

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """Log-odds; see `ClickModel.forward`."""
        ids, amounts = inputs
        vectors = self.vectors(ids)
        first = sum_of(weight(ids[:, k]) for k, weight in enumerate(self.weights.values()))
        if self.linear is not None:
            first = first + self.linear(amounts)
        pairs = (vectors.sum(dim=1).square() - vectors.square().sum(dim=1)).sum(dim=1, keepdim=True) / 2
        return first + pairs + self.deep(torch.cat([vectors.flatten(1), amounts], dim=1))


class Dlrm(ClickModel):
    """A perceptron makes one more vector of the amounts, cross layers multiply the entries of all vectors, and a second
    perceptron reads them (Naumov et al. 2019, DLRM, arXiv 1906.00091, with the interaction of Wang et al. 2021, DCN V2,
    WWW, equation 1, in place of inner products).
    """

    def __init__(self, settings: DictConfig, sizes: Mapping[str, int], amounts: int) -> None:
        """Lay out the layers; see `ClickModel.__init__`."""
        super().__init__(settings, sizes, amounts)
        self.bottom = Mlp(settings, amounts, settings.dim) if amounts else None
        width = (len(sizes) + (amounts > 0)) * settings.dim
        self.cross = nn.ModuleList(nn.Linear(width, width) for _ in range(settings.cross_layers))
        self.top = Mlp(settings, width, 1)

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """Log-odds; see `ClickModel.forward`."""
        ids, amounts = inputs
        vectors = [self.vectors(ids).flatten(1)]
        if self.bottom is not None:
            vectors.append(self.bottom(amounts))
        first = crossed = torch.cat(vectors, dim=1)
        for layer in self.cross:
            crossed = first * layer(crossed) + crossed
        return self.top(crossed)


def tables(sizes: Mapping[str, int], dim: int) -> nn.ModuleDict:
    """A table for each column, by `table_name`."""
    return nn.ModuleDict({table_name(column): nn.Embedding(rows, dim) for column, rows in sizes.items()})


def table_name(column: str) -> str:
    """Name of a column's table; torch allows no dot in it."""
    return f"{column.replace('.', '_')}_emb"


def sum_of(terms: Iterable[Tensor]) -> Tensor:
    """Sum of tensors of one shape."""
    return torch.stack(list(terms)).sum(dim=0)


def build_click_model(
    config: DictConfig, sizes: Mapping[str, int], amounts: int, generator: torch.Generator
) -> ClickModel:
    """Build the model that the `model` node names, its weights drawn by `generator` alone."""
    made: type[ClickModel] = target(config, "model")
    with torch.random.fork_rng(devices=[]):  # torch draws weights when a layer is made; they are drawn anew below
        torch.manual_seed(generator.initial_seed())
        model = made(config.model, sizes, amounts)
    model.draw(config.model, generator)
    return model
