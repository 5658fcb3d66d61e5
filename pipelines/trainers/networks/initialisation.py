"""Draws the initial weights of a network."""

from __future__ import annotations

import math

import torch
from omegaconf import DictConfig
from torch import nn

INITS = ("kaiming", "xavier", "torch")
BOUNDED = ("tanh", "sigmoid")
"""Names of bounded activations."""


def initialise(network: nn.Module, settings: DictConfig, generator: torch.Generator) -> None:
    """Draw all weights from one generator; biases of hidden layers are `bias_init`, others 0.

    - `kaiming`: normal, variance 2 / fan-in, or 1 / fan-in before a bounded activation (He et al. 2015, Delving Deep
      into Rectifiers)
    - `xavier`: normal, variance 2 / (fan-in + fan-out) (Glorot & Bengio 2010)
    - `torch`: uniform, variance 1 / (3 fan-in), as torch's own layers

    Cells of recurrent layers and the head start as `torch` has it, whatever `init` says. `init_scale` is a factor on
    the standard deviation of every weight of the hidden layers.
    """
    bounded = settings.activation in BOUNDED
    with torch.no_grad():
        for name, module in network.named_modules():
            hidden = name.startswith("layers.")
            if isinstance(module, nn.Linear | nn.Conv2d):
                deviation = _deviation(module.weight, settings.init if hidden else "torch", bounded)
                scale = settings.init_scale if hidden else 1.0
                _draw(module.weight, deviation * scale, hidden and settings.init != "torch", generator)
                if module.bias is not None:
                    module.bias.fill_(settings.bias_init if hidden else 0.0)
            elif isinstance(module, nn.RNNBase):
                for parameter in module.parameters():
                    if parameter.dim() > 1:
                        deviation = settings.init_scale / math.sqrt(3 * module.hidden_size)
                        _draw(parameter, deviation, False, generator)
                    else:
                        parameter.fill_(settings.bias_init)


def _deviation(weight: torch.Tensor, init: str, bounded: bool) -> float:
    fan_out, fan_in = len(weight) * weight[0, 0].numel(), weight[0].numel()
    if init == "kaiming":
        return math.sqrt((1 if bounded else 2) / fan_in)
    return math.sqrt(2 / (fan_in + fan_out)) if init == "xavier" else 1 / math.sqrt(3 * fan_in)


def _draw(weight: torch.Tensor, deviation: float, normal: bool, generator: torch.Generator) -> None:
    if normal:
        weight.normal_(0.0, deviation, generator=generator)
    else:
        bound = math.sqrt(3) * deviation
        weight.uniform_(-bound, bound, generator=generator)
