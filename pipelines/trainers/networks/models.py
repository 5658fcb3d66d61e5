"""Networks on rows of a table. Hidden layers are `layers.0`, `layers.1`, ... in all of them, the last is `head`."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, ClassVar

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from flowgrad.errors import FlowGradError
from pipelines.config.targets import target
from pipelines.trainers.networks.initialisation import BOUNDED, initialise

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}  # fmt: skip
CELLS: dict[str, type[nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
NORMALISATIONS = (None, "batch", "layer")


class Network(nn.Module):
    """A network from rows to outputs, one a row and class."""

    stackable: ClassVar[bool] = False
    """Whether several may be trained as one, `pipelines.trainers.stacked`. Each class says so for itself."""

    @classmethod
    def check(cls, settings: DictConfig, inputs: int) -> None:
        """Refuse a number of inputs that it cannot arrange.

        Raises:
            FlowGradError: says what it takes.
        """


class Mlp(Network):
    """Perceptron of `depth` hidden layers of one width; with `residual`, layers add to their input."""

    stackable = True

    def __init__(self, settings: DictConfig, inputs: int, outputs: int) -> None:
        """Lay out the layers; `build_network` draws their weights."""
        super().__init__()
        widths = [inputs, *[settings.width] * settings.depth]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(_norm(settings.normalisation, settings.width) for _ in self.layers)
        self.activations = nn.ModuleList(ACTIVATIONS[settings.activation]() for _ in self.layers)
        self.head = nn.Linear(settings.width, outputs)
        self._residual = settings.residual

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs, shape (rows, outputs), of inputs, shape (rows, inputs)."""
        hidden = inputs
        for layer, norm, activation in zip(self.layers, self.norms, self.activations, strict=True):
            made = activation(norm(layer(hidden)))
            hidden = hidden + made if self._residual and made.shape == hidden.shape else made
        return self.head(hidden)


class Cnn(Network):
    """Convolutions of 3 x 3 on a square image of one channel, halved after every second of them, then averaged."""

    @classmethod
    def check(cls, settings: DictConfig, inputs: int) -> None:
        """Refuse a number of inputs that is no square; see `Network.check`."""
        if math.isqrt(inputs) ** 2 != inputs:
            raise FlowGradError(f"model._target_: Cnn takes a square image, e.g. of 64 inputs; the table has {inputs}")

    def __init__(self, settings: DictConfig, inputs: int, outputs: int) -> None:
        """Lay out the layers; see `Mlp.__init__`."""
        super().__init__()
        self._side = math.isqrt(inputs)
        channels = [1, *[settings.width] * settings.depth]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(channels))
        self.norms = nn.ModuleList(_norm(settings.normalisation, settings.width, images=True) for _ in self.layers)
        self.activations = nn.ModuleList(ACTIVATIONS[settings.activation]() for _ in self.layers)
        self.head = nn.Linear(settings.width * 4, outputs)
        self._residual = settings.residual

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs, shape (rows, outputs), of inputs, shape (rows, inputs)."""
        hidden = inputs.view(-1, 1, self._side, self._side)
        for i, (layer, norm, activation) in enumerate(zip(self.layers, self.norms, self.activations, strict=True)):
            made = activation(norm(layer(hidden)))
            hidden = hidden + made if self._residual and made.shape == hidden.shape else made
            if i % 2 == 1 and hidden.shape[-1] >= 4:
                hidden = nn.functional.max_pool2d(hidden, 2)
        return self.head(nn.functional.adaptive_avg_pool2d(hidden, 2).flatten(1))


class Recurrent(Network):
    """Recurrent layers over a row cut into `steps` equal pieces; the head reads the last state.

    `cell=rnn` knows two activations: tanh stands for those that are bounded, relu for the others. The other cells have
    gates of their own.
    """

    @classmethod
    def check(cls, settings: DictConfig, inputs: int) -> None:
        """Refuse an unknown cell, and steps that do not divide the inputs; see `Network.check`."""
        if settings.cell not in CELLS:
            raise FlowGradError(f"model.cell={settings.cell!r} is unknown; use {', '.join(CELLS)}")
        if inputs % settings.steps:
            raise FlowGradError(f"model.steps={settings.steps} does not divide the table's {inputs} columns")

    def __init__(self, settings: DictConfig, inputs: int, outputs: int) -> None:
        """Lay out the layers; see `Mlp.__init__`."""
        super().__init__()
        self._steps = settings.steps
        sizes = [inputs // settings.steps, *[settings.width] * settings.depth]
        bounded = settings.activation in BOUNDED
        own: dict[str, Any] = {"nonlinearity": "tanh" if bounded else "relu"} if settings.cell == "rnn" else {}
        self.layers = nn.ModuleList(CELLS[settings.cell](a, b, batch_first=True, **own) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(
            _norm("layer" if settings.normalisation else None, settings.width) for _ in self.layers
        )
        self.head = nn.Linear(settings.width, outputs)
        self._residual = settings.residual

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs, shape (rows, outputs), of inputs, shape (rows, inputs)."""
        hidden = inputs.view(len(inputs), self._steps, -1)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            made = norm(layer(hidden)[0])
            hidden = hidden + made if self._residual and made.shape == hidden.shape else made
        return self.head(hidden[:, -1])


def build_network(config: DictConfig, inputs: int, outputs: int, generator: torch.Generator) -> Network:
    """Build the network that the `model` node names, its weights drawn by `generator` alone.

    Raises:
        FlowGradError: it cannot take so many inputs.
    """
    made: type[Network] = target(config, "model")
    made.check(config.model, inputs)
    with torch.random.fork_rng(devices=[]):  # torch draws weights when a layer is made; most are drawn anew below
        torch.manual_seed(generator.initial_seed())  # those of a network of a user's own that are not
        network = made(config.model, inputs, outputs)
    initialise(network, config.model, generator)
    return network


def _norm(kind: str | None, width: int, images: bool = False) -> nn.Module:
    if kind is None:
        return nn.Identity()
    if kind == "batch":
        return nn.BatchNorm2d(width) if images else nn.BatchNorm1d(width)
    return nn.GroupNorm(1, width) if images else nn.LayerNorm(width)
