"""Faults of optimizers: rates, decay, two on one tensor, state that is lost."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from pipelines.benchmarks.field.data import Rows
from pipelines.benchmarks.field.registry import fault
from pipelines.benchmarks.field.training import Training, plain_step


def scaled(run: Training, factor: float) -> None:
    """Multiply every learning rate by a factor."""
    make = run.optimizer_of

    def optimizer_of(run: Training) -> Optimizer:
        optimizer = make(run)
        for group in optimizer.param_groups:
            group["lr"] *= factor
        return optimizer

    run.optimizer_of = optimizer_of


@fault(["perceptron", "cnn", "transformer", "factorisation", "deepfm", "student"])
def rate_x100(run: Training) -> None:
    """The learning rate has two zeros too few."""
    scaled(run, 100)


@fault(["perceptron", "cnn", "recurrent", "factorisation", "two_tower", "student"])
def rate_over_300(run: Training) -> None:
    """The learning rate has zeros too many."""
    scaled(run, 1 / 300)


@fault(["perceptron", "cnn", "factorisation", "two_tower"])
def decay_on_everything(run: Training) -> None:
    """A huge penalty on every weight, tables and norms among them."""
    make = run.optimizer_of

    def optimizer_of(run: Training) -> Optimizer:
        optimizer = make(run)
        for group in optimizer.param_groups:
            group["weight_decay"] = 10.0 if isinstance(optimizer, torch.optim.AdamW) else 1.0
        return optimizer

    run.optimizer_of = optimizer_of


@fault(["perceptron", "cnn", "factorisation"])
def two_optimizers(run: Training) -> None:
    """Another optimizer, of another part of a model, holds the same tensors and steps too."""

    def step(run: Training, rows: Rows) -> Tensor:
        if "second" not in run.notes:
            run.notes["second"] = torch.optim.SGD(run.model.parameters(), lr=run.sgd * 5, momentum=0.9)
        loss = plain_step(run, rows)
        run.notes["second"].step()
        return loss

    run.step = step


@fault(["perceptron", "transformer", "factorisation"])
def optimizer_made_every_batch(run: Training) -> None:
    """The optimizer is made within the loop, and its state is lost at each step; the tracker knows the first."""

    def step(run: Training, rows: Rows) -> Tensor:
        optimizer = run.optimizer_of(run)
        optimizer.zero_grad()
        loss = run.loss(rows)
        loss.backward()
        optimizer.step()
        return loss.detach()

    run.step = step


@fault(["perceptron", "cnn", "deepfm"])
def state_lost_on_resume(run: Training) -> None:
    """Training resumes in each epoch with weights and without the optimizer's state."""

    def forget(run: Training, epoch: int) -> None:
        run.optimizer.state.clear()

    run.before_epoch.append(forget)


@fault(["perceptron", "cnn", "factorisation"], base="sgd_momentum")
def momentum_near_one(run: Training) -> None:
    """SGD has a momentum of .999 at the rate that was tuned for .9."""
    run.optimizer_of = lambda run: torch.optim.SGD(run.model.parameters(), lr=run.sgd, momentum=0.999)


@fault(["perceptron", "cnn", "transformer"])
def rate_of_one_layer_tiny(run: Training) -> None:
    """A group meant for fine-tuning, at a ten-thousandth of the rate, holds a layer that starts from nothing."""
    make = run.optimizer_of

    def optimizer_of(run: Training) -> Optimizer:
        optimizer = make(run)
        slow = {id(parameter) for parameter in run.module(run.encoder).parameters()}
        group = optimizer.param_groups[0]
        of_layer = [parameter for parameter in group["params"] if id(parameter) in slow]
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in slow]
        optimizer.add_param_group({"params": of_layer, "lr": group["lr"] * 1e-4})
        return optimizer

    run.optimizer_of = optimizer_of


@fault(["cnn", "transformer", "recurrent"])
def too_few_epochs(run: Training) -> None:
    """Training ends long before the loss has settled."""
    run.epochs = 2
    scaled(run, 0.3)


@fault(["perceptron", "deepfm", "factorisation"])
def far_too_many_epochs(run: Training) -> None:
    """There is no penalty and no early stopping: the model learns its rows by heart."""
    make = run.optimizer_of

    def optimizer_of(run: Training) -> Optimizer:
        optimizer = make(run)
        for group in optimizer.param_groups:
            group["weight_decay"] = 0.0
        return optimizer

    run.optimizer_of = optimizer_of
    run.epochs *= 4
    run.train = {name: column[: len(column) // 3] for name, column in run.train.items()}
