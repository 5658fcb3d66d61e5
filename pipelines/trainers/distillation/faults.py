"""The `fault` node of a student's config: a known damage to one layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from flowgrad.errors import FlowGradError
from pipelines.trainers.distillation.networks import OUTPUT

OF_TRAINING = ("frozen_layer", "slow_layer", "narrow_layer")
"""Kinds of damage by the settings of the layer, which fixes can overrule."""
OF_NOISE = ("noisy_gradients", "noisy_weights", "noisy_activations")
"""Kinds of damage by noise while training, whatever the settings say."""
KINDS = (*OF_TRAINING, *OF_NOISE)


def check_fault(config: DictConfig, layers: tuple[str, ...]) -> None:
    """Refuse an unknown damage.

    Raises:
        FlowGradError: names the key and what would be right.
    """
    fault = config.fault
    if fault.kind not in KINDS:
        raise FlowGradError(f"fault.kind={fault.kind!r} is unknown; use one of {', '.join(KINDS)}")
    if fault.layer not in layers:
        raise FlowGradError(f"fault.layer={fault.layer!r}; the student's layers are {', '.join(layers)}")
    if fault.kind == "narrow_layer" and (fault.layer == OUTPUT or fault.strength < 1):
        raise FlowGradError(
            f"fault.layer={fault.layer}, fault.strength={fault.strength}: narrow_layer takes a layer before "
            f"{OUTPUT!r}, and for strength its units, 1 or more"
        )
    if fault.kind != "frozen_layer" and not fault.strength > 0:
        raise FlowGradError(f"fault.strength={fault.strength}: {fault.kind} takes a number above 0")


def injected(config: DictConfig, kind: str) -> dict[str, float]:
    """Strength of a damage of this kind, by layer; empty where the config has none."""
    fault = config.fault
    return {} if fault is None or fault.kind != kind else {fault.layer: float(fault.strength)}


def interfere(config: DictConfig, student: nn.Module, optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """Put the noise that the config names into the training of a student; the result takes it out again.

    `strength` is relative: to the root mean square of the layer's gradient, of its weights (a step), or to the
    deviation of its activations. Draws on `fault.seed` alone.
    """
    if config.fault is None or config.fault.kind not in OF_NOISE:
        return lambda: None
    fault, layer = config.fault, student.get_submodule(config.fault.layer)
    drawn = torch.Generator().manual_seed(fault.seed)
    if fault.kind == "noisy_activations":

        def disturbed(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            return output + _noise(output, float(output.detach().std()) * fault.strength, drawn)

        return layer.register_forward_hook(disturbed).remove
    parameters = list(layer.parameters())
    if fault.kind == "noisy_gradients":

        def shaken(*_: Any) -> None:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.add_(_noise(parameter, _rms(parameter.grad) * fault.strength, drawn))

        return optimizer.register_step_pre_hook(shaken).remove

    def moved(*_: Any) -> None:
        with torch.no_grad():
            for parameter in parameters:
                parameter.add_(_noise(parameter, _rms(parameter) * fault.strength, drawn))

    return optimizer.register_step_post_hook(moved).remove


def _noise(like: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    return torch.empty_like(like.detach()).normal_(0.0, 1.0, generator=generator) * deviation


def _rms(tensor: Tensor) -> float:
    return float(tensor.detach().square().mean().sqrt())
