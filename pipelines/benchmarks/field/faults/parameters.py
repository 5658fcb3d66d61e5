"""Faults of parameters: left out, cut off, frozen, shared, put back, never used."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pipelines.benchmarks.field.registry import fault
from pipelines.benchmarks.field.training import Training


def _without(run: Training, names: tuple[str, ...]) -> None:
    """Make the optimizer of the training without the parameters of some modules."""
    make = run.optimizer_of

    def optimizer_of(run: Training) -> Optimizer:
        optimizer = make(run)
        left = {id(parameter) for name in names for parameter in run.module(name).parameters()}
        for group in optimizer.param_groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in left]
        return optimizer

    run.optimizer_of = optimizer_of


@fault(["perceptron", "cnn", "transformer", "two_tower", "deepfm"])
def head_left_out(run: Training) -> None:
    """The optimizer was given the parameters of the body alone."""
    _without(run, (run.head,))


@fault(["cnn", "transformer", "factorisation", "two_tower"])
def encoder_left_out(run: Training) -> None:
    """The optimizer was given the parameters of the head alone, or not those of the first module."""
    _without(run, (run.encoder,))


@fault(["perceptron", "cnn", "recurrent", "factorisation"])
def optimizer_of_another_model(run: Training) -> None:
    """The model was copied (or loaded anew) after its optimizer was made."""
    make = run.optimizer_of

    def optimizer_of(run: Training) -> Optimizer:
        trained = run.model
        run.model = copy.deepcopy(trained)
        optimizer = make(run)
        run.notes["copy"], run.model = run.model, trained
        return optimizer

    run.optimizer_of = optimizer_of


def _cut(module: nn.Module) -> None:
    """Take outputs of the module out of the graph, as by `.detach()`, `.data` or a trip through NumPy."""

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        return output.detach() if isinstance(output, Tensor) else tuple(part.detach() for part in output)

    module.register_forward_hook(hook)


@fault(["perceptron", "cnn", "transformer", "two_tower", "deepfm"])
def branch_detached(run: Training) -> None:
    """A tensor is detached on its way (queenie88/A-GCN #4)."""
    _cut(run.module(run.encoder))


@fault(["perceptron", "cnn", "recurrent"])
def detached_late(run: Training) -> None:
    """Everything before the last layer is cut off."""
    head = run.module(run.head)
    head.register_forward_pre_hook(lambda module, args: tuple(arg.detach() for arg in args))


@fault(["perceptron", "cnn", "transformer", "factorisation"])
def frozen_midway(run: Training) -> None:
    """After the second epoch `requires_grad_(False)`, meant for an evaluation, is never taken back."""

    def freeze(run: Training, epoch: int) -> None:
        if epoch == 2:
            for name, parameter in run.model.named_parameters():
                if not name.startswith(run.head):
                    parameter.requires_grad_(False)

    run.before_epoch.append(freeze)


@fault(["perceptron", "cnn", "transformer", "deepfm", "two_tower"])
def layers_shared_by_mistake(run: Training) -> None:
    """`[layer] * 2`: one module stands in two places."""
    assert run.twins is not None
    run.replace(run.twins[1], run.module(run.twins[0]))


@fault(["perceptron", "cnn", "transformer", "factorisation"])
def initialised_every_epoch(run: Training) -> None:
    """A function that draws weights is called in the loop over epochs."""

    def draw(run: Training, epoch: int) -> None:
        if epoch:
            for module in run.module(run.encoder).modules():
                draws: Any = getattr(module, "reset_parameters", None)
                if draws is not None:
                    draws()

    run.before_epoch.append(draw)


@fault(["perceptron", "cnn", "factorisation", "student"])
def checkpoint_loaded_every_epoch(run: Training) -> None:
    """The weights of the first epoch's end are loaded before each of the next."""

    def load(run: Training, epoch: int) -> None:
        if epoch == 1:
            run.notes["state"] = copy.deepcopy(run.model.state_dict())
        elif epoch > 1:
            run.model.load_state_dict(run.notes["state"])

    run.before_epoch.append(load)


@fault(["perceptron", "cnn", "deepfm"])
def layer_never_called(run: Training) -> None:
    """The forward pass calls one layer twice and the other never."""
    assert run.twins is not None
    first, second = (run.module(name) for name in run.twins)
    run.notes["called"] = second
    second.forward = first.forward


@fault(["perceptron", "cnn", "recurrent", "two_tower"])
def weights_too_large(run: Training) -> None:
    """Weights were drawn with ten times the deviation that their layer is made for."""
    with torch.no_grad():
        for parameter in run.model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(10.0)


@fault(["perceptron", "cnn", "deepfm"])
def units_dead(run: Training) -> None:
    """Biases far below zero silence the units of a layer."""
    assert run.twins is not None
    with torch.no_grad():
        for name in run.twins:
            bias = run.module(name).bias
            assert isinstance(bias, Tensor)
            bias.fill_(-20.0)
        if run.host == "cnn":
            for name in ("bn2.bias", "bn3.bias"):
                run.model.get_parameter(name).fill_(-20.0)
