"""Healthy habits of optimizers and schedules."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pipelines.benchmarks.field.data import Rows, length
from pipelines.benchmarks.field.registry import habit
from pipelines.benchmarks.field.training import Training

NETWORKS = ["perceptron", "cnn", "recurrent", "transformer"]
RECOMMENDERS = ["factorisation", "two_tower", "deepfm"]


def total_steps(run: Training) -> int:
    """Number of steps of the whole training."""
    return run.epochs * -(-length(run.train) // run.batch)


@habit([*NETWORKS, "two_tower"])
def sgd_momentum(run: Training) -> None:
    """SGD with a momentum of .9 at its own rate, constant."""
    run.optimizer_of = lambda run: torch.optim.SGD(run.model.parameters(), lr=run.sgd, momentum=0.9)
    run.scheduler_of = None


@habit(["perceptron", "cnn", "transformer", "deepfm"])
def adamw_decay(run: Training) -> None:
    """AdamW with a decay of .01."""
    run.optimizer_of = lambda run: torch.optim.AdamW(run.model.parameters(), lr=2e-3, weight_decay=0.01)


@habit(["factorisation", "perceptron", "deepfm"])
def adagrad(run: Training) -> None:
    """Adagrad, whose steps shrink by themselves."""
    run.optimizer_of = lambda run: torch.optim.Adagrad(run.model.parameters(), lr=0.03, weight_decay=1e-5)


@habit(["perceptron", "cnn", "recurrent"])
def rmsprop(run: Training) -> None:
    """RMSprop, at a rate that falls with the epochs."""
    run.optimizer_of = lambda run: torch.optim.RMSprop(run.model.parameters(), lr=1e-3, weight_decay=1e-3)
    run.scheduler_of = lambda run: torch.optim.lr_scheduler.CosineAnnealingLR(run.optimizer, run.epochs)


@habit(["perceptron", "cnn", "transformer", "two_tower"])
def warmup(run: Training) -> None:
    """The rate rises over the first tenth of all steps."""
    steps = total_steps(run) // 10 + 1
    run.scheduler_of = lambda run: torch.optim.lr_scheduler.LambdaLR(
        run.optimizer, lambda step: min(1.0, (step + 1) / steps)
    )
    run.schedule = "batch"


@habit(["perceptron", "cnn", "recurrent", "deepfm"])
def cosine(run: Training) -> None:
    """The rate falls to zero by a cosine over all steps."""
    steps = total_steps(run)
    run.scheduler_of = lambda run: torch.optim.lr_scheduler.CosineAnnealingLR(run.optimizer, steps)
    run.schedule = "batch"


@habit(["perceptron", "cnn", "transformer"])
def one_cycle(run: Training) -> None:
    """OneCycleLR up to three times the rate."""
    steps = total_steps(run)
    run.scheduler_of = lambda run: torch.optim.lr_scheduler.OneCycleLR(
        run.optimizer, 3 * run.optimizer.param_groups[0]["lr"], total_steps=steps + 1
    )
    run.schedule = "batch"


@habit(["recurrent", "factorisation", "two_tower"])
def step_decay(run: Training) -> None:
    """A tenth of the rate for the last third of the epochs."""
    after = max(1, run.epochs * 2 // 3)
    run.scheduler_of = lambda run: torch.optim.lr_scheduler.StepLR(run.optimizer, after, 0.1)
    run.schedule = "epoch"


@habit(["cnn", "transformer", "deepfm"])
def discriminative_rates(run: Training) -> None:
    """The first module is trained at a tenth of the rate of the others."""
    make = run.optimizer_of

    def optimizer_of(run: Training) -> Optimizer:
        optimizer = make(run)
        slow = {id(parameter) for parameter in run.module(run.encoder).parameters()}
        group = optimizer.param_groups[0]
        first = [parameter for parameter in group["params"] if id(parameter) in slow]
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in slow]
        optimizer.add_param_group({"params": first, "lr": group["lr"] * 0.1})
        return optimizer

    run.optimizer_of = optimizer_of


@habit(["transformer", "cnn"])
def no_decay_of_norms(run: Training) -> None:
    """Decay on matrices, none on biases and norms."""

    def optimizer_of(run: Training) -> Optimizer:
        matrices = [parameter for parameter in run.model.parameters() if parameter.dim() > 1]
        others = [parameter for parameter in run.model.parameters() if parameter.dim() <= 1]
        groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=2e-3)

    run.optimizer_of = optimizer_of


@habit(["factorisation", "two_tower"])
def sparse_tables(run: Training) -> None:
    """Tables with sparse gradients by SparseAdam, the rest by Adam, in one object that steps both."""
    for name, table in list(run.model.named_modules()):
        if isinstance(table, nn.Embedding):
            made = nn.Embedding(table.num_embeddings, table.embedding_dim, sparse=True)
            made.load_state_dict(table.state_dict())
            run.replace(name, made)

    def optimizer_of(run: Training) -> Optimizer:
        tables = [table.weight for table in run.tables().values()]
        known = {id(weight) for weight in tables}
        others = [parameter for parameter in run.model.parameters() if id(parameter) not in known]
        if others:
            run.notes["dense"] = torch.optim.Adam(others, lr=2e-3)
        return torch.optim.SparseAdam(tables, lr=2e-3)

    def step(run: Training, rows: Rows) -> Tensor:
        run.optimizer.zero_grad()
        if "dense" in run.notes:
            run.notes["dense"].zero_grad()
        loss = run.loss(rows)
        loss.backward()
        run.optimizer.step()
        if "dense" in run.notes:
            run.notes["dense"].step()
        return loss.detach()

    run.optimizer_of, run.step = optimizer_of, step


@habit(["perceptron", "cnn", "recurrent"])
def sharpness_aware(run: Training) -> None:
    """SAM (Foret et al. 2021): the gradient is taken a little uphill, in two passes a step."""

    def step(run: Training, rows: Rows) -> Tensor:
        run.optimizer.zero_grad()
        loss = run.loss(rows)
        loss.backward()
        given = [(parameter, parameter.grad) for parameter in run.model.parameters() if parameter.grad is not None]
        length = torch.stack([gradient.norm() for _, gradient in given]).norm() + 1e-12
        moves = [(parameter, gradient * (0.05 / length)) for parameter, gradient in given]
        with torch.no_grad():
            for parameter, move in moves:
                parameter.add_(move)
        run.optimizer.zero_grad()
        run.loss(rows).backward()
        with torch.no_grad():
            for parameter, move in moves:
                parameter.sub_(move)
        run.optimizer.step()
        return loss.detach()

    run.step = step


@habit(["perceptron", "recurrent"])
def lbfgs_closure(run: Training) -> None:
    """The optimizer is given a closure, as L-BFGS wants it and any takes it."""

    def step(run: Training, rows: Rows) -> Tensor:
        def closure() -> Tensor:
            run.optimizer.zero_grad()
            loss = run.loss(rows)
            loss.backward()
            return loss

        found: Any = run.optimizer.step(closure)  # type: ignore[arg-type]
        return found.detach()

    run.step = step
