"""Holds a training as its author wrote it: model, data, loss, optimizer, loop. A fault or a habit changes it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from pipelines.benchmarks.field.data import Rows, length, take


@dataclass
class Training:
    """One training. Callables here are called with the training itself first, so that they can be wrapped."""

    host: str
    seed: int
    model: nn.Module
    train: Rows
    validation: Rows
    """Rows that the author evaluates on after each epoch."""
    test: Rows
    """Rows that come later; no tracker and no author sees them."""
    forward: Callable[[Training, Rows], Tensor]
    """Function that gives outputs of a batch."""
    criterion: Callable[[Training, Tensor, Rows], Tensor]
    """Function that gives the loss of these outputs."""
    cost: Callable[[Training, Rows], float]
    """Function that gives the cost of the model in use, lower is better; the loop's loss is no part of it."""
    optimizer_of: Callable[[Training], Optimizer]
    null: float
    """Cost of a model that gives the same for every row."""
    sgd: float = 0.01
    """Sound learning rate of SGD with momentum .9 here."""
    epochs: int = 10
    batch: int = 64
    scheduler_of: Callable[[Training], Any] | None = None
    schedule: str = "epoch"
    """Time at which the scheduler is stepped: after each `epoch`, each `batch`, or `never`."""
    clip: float | None = None
    step: Callable[[Training, Rows], Tensor | None] = lambda run, rows: plain_step(run, rows)
    """Function that trains on a batch and returns its loss; None where no optimizer step was taken."""
    batches: Callable[[Training, int], Iterator[Tensor]] = lambda run, epoch: shuffled(run, epoch)
    mode: Callable[[Training, int], None] = lambda run, epoch: _train_mode(run)
    """Function that sets the mode of the model before an epoch."""
    validate: Callable[[Training], float] = lambda run: mean_loss(run, run.validation)
    """Function that gives the validation loss as the author computes it."""
    evaluates: bool = True
    """Whether the author's evaluation puts the model into evaluation mode."""
    before_epoch: list[Callable[[Training, int], None]] = field(default_factory=list)
    after_fit: list[Callable[[Training], None]] = field(default_factory=list)
    patience: int | None = None
    """Number of epochs without a better validation loss after which the loop ends and the best weights are kept."""
    inputs: str | None = None
    """Column that is given to `observe_inputs`; None: inputs are ids."""
    told: str = "tensor"
    """Form in which the author gives trackers the loss: `tensor` or `number`."""
    tells_epochs: bool = True
    variance: float | None = None
    """Variance of the targets, where the loss is a squared error."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Number of rows of the table that a column of ids indexes, by the column."""
    course: bool = False
    """Whether a `TrainingTracker` is called at epochs too."""
    encoder: str = ""
    """Name of the module nearest to the inputs that faults of parameters are injected into."""
    head: str = ""
    """Name of the last module."""
    twins: tuple[str, str] | None = None
    """Names of two modules of the same shape."""
    teacher: nn.Module | None = None
    original: nn.Module | None = None
    """The teacher as it was, by which the student is judged."""
    teacher_mode: bool = False
    """Whether the teacher is in training mode, and takes gradients."""
    optimizer: Optimizer = field(init=False)
    scheduler: Any = field(init=False, default=None)
    generator: torch.Generator = field(init=False)
    last: tuple[Tensor, Tensor] | None = field(init=False, default=None)
    """Outputs and loss of the batch whose loss was computed last."""
    validated: Callable[[Rows], None] = field(init=False, default_factory=lambda: lambda rows: None)
    """Function that is called with each batch of the author's validation."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Values that faults and habits remember between steps."""

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)

    def tables(self) -> dict[str, nn.Embedding]:
        """Embedding tables by their names, each once."""
        return {
            name.replace(".", "_"): module
            for name, module in self.model.named_modules()
            if isinstance(module, nn.Embedding)
        }

    def module(self, name: str) -> nn.Module:
        """A module of the model by its name."""
        return self.model.get_submodule(name)

    def replace(self, name: str, module: nn.Module) -> None:
        """Put a module in the place of another."""
        parent, _, last = name.rpartition(".")
        setattr(self.model.get_submodule(parent) if parent else self.model, last, module)

    def loss(self, rows: Rows) -> Tensor:
        """Loss of a batch."""
        output = self.forward(self, rows)
        loss = self.criterion(self, output, rows)
        self.last = (output, loss.detach())
        return loss


def plain_step(run: Training, rows: Rows) -> Tensor:
    """Train on a batch as most loops do."""
    run.optimizer.zero_grad()
    loss = run.loss(rows)
    loss.backward()
    if run.clip is not None:
        clip_grad_norm_(run.model.parameters(), run.clip)
    run.optimizer.step()
    return loss.detach()


def shuffled(run: Training, epoch: int) -> Iterator[Tensor]:
    """Yield every row once, in an order drawn anew."""
    yield from torch.randperm(length(run.train), generator=run.generator).split(run.batch)


def mean_loss(run: Training, rows: Rows) -> float:
    """Mean loss of some rows without gradients, in batches of the training's size."""
    run.model.train(not run.evaluates)
    total, count = 0.0, 0
    with torch.no_grad():
        for index in torch.arange(length(rows)).split(max(run.batch, 256)):
            batch = take(rows, index)
            total += float(run.loss(batch)) * len(index)
            count += len(index)
            run.validated(batch)
    return total / count


@dataclass(frozen=True)
class Fitted:
    """Outcome of a training."""

    cost: float
    """Cost on the test rows."""
    told: float
    """Validation cost as the author would report it."""
    steps: int
    train_losses: tuple[float, ...]
    validation_losses: tuple[float, ...]


def prepare(run: Training) -> None:
    """Make the optimizer and the scheduler, as they stand before the loop."""
    run.optimizer = run.optimizer_of(run)
    run.scheduler = run.scheduler_of(run) if run.scheduler_of is not None else None


def fit(run: Training, watchers: Any) -> Fitted:
    """Train, with `watchers.batch(rows)` after each batch, `watchers.step(loss)` after each step, and
    `watchers.end_epoch(...)` after each epoch.
    """
    trained: list[float] = []
    validated: list[float] = []
    steps, best, kept = 0, math.inf, None
    for epoch in range(run.epochs):
        for act in run.before_epoch:
            act(run, epoch)
        run.mode(run, epoch)
        total, count = 0.0, 0
        for index in run.batches(run, epoch):
            rows = take(run.train, index)
            run.last = None
            loss = run.step(run, rows)
            watchers.batch(rows)
            if loss is None:
                continue
            if run.scheduler is not None and run.schedule == "batch":
                run.scheduler.step()
            watchers.step(loss if run.told == "tensor" else loss.item())
            steps += 1
            total += loss.item()
            count += 1
        if run.scheduler is not None and run.schedule == "epoch":
            run.scheduler.step()
        trained.append(total / max(count, 1))
        validated.append(run.validate(run))
        watchers.end_epoch(trained[-1], validated[-1])
        if run.patience is not None:
            if validated[-1] < best:
                best, kept, since = validated[-1], copy.deepcopy(run.model.state_dict()), 0
            else:
                since += 1
            if since >= run.patience:
                break
    if kept is not None:
        run.model.load_state_dict(kept)
    for last in run.after_fit:
        last(run)
    with torch.no_grad():
        run.model.train(not run.evaluates)
        told = run.cost(run, run.validation)
        run.model.eval()
        cost = run.cost(run, run.test)
    return Fitted(cost, told, steps, tuple(trained), tuple(validated))


def _train_mode(run: Training) -> None:
    run.model.train()
    if run.teacher is not None:
        run.teacher.train(run.teacher_mode)
