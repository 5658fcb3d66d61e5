"""Faults of the loop: gradients, steps, schedules and shuffling, and the mode of the model."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from pipelines.benchmarks.field.data import Rows, length, take
from pipelines.benchmarks.field.registry import fault
from pipelines.benchmarks.field.training import Training, mean_loss, plain_step, shuffled


@fault(["perceptron", "cnn", "transformer", "factorisation", "deepfm"])
def gradients_not_cleared(run: Training) -> None:
    """`optimizer.zero_grad()` is missing (IBM/aihwkit #446)."""

    def step(run: Training, rows: Rows) -> Tensor:
        loss = run.loss(rows)
        loss.backward()
        if run.clip is not None:
            clip_grad_norm_(run.model.parameters(), run.clip)
        run.optimizer.step()
        return loss.detach()

    run.step = step


@fault(["perceptron", "recurrent", "two_tower", "student"])
def cleared_once_an_epoch(run: Training) -> None:
    """`optimizer.zero_grad()` stands before the loop over batches instead of in it."""
    gradients_not_cleared(run)
    run.before_epoch.append(lambda run, epoch: run.optimizer.zero_grad())


@fault(["perceptron", "cnn", "recurrent", "factorisation"])
def cleared_before_step(run: Training) -> None:
    """Gradients are cleared between backward and step, so that nothing is learned."""

    def step(run: Training, rows: Rows) -> Tensor:
        loss = run.loss(rows)
        loss.backward()
        run.optimizer.zero_grad()
        run.optimizer.step()
        return loss.detach()

    run.step = step


@fault(["perceptron", "cnn", "deepfm"])
def step_before_backward(run: Training) -> None:
    """The optimizer steps where gradients were just cleared, before those of the batch exist."""

    def step(run: Training, rows: Rows) -> Tensor:
        run.optimizer.zero_grad(set_to_none=False)
        run.optimizer.step()
        loss = run.loss(rows)
        loss.backward()
        return loss.detach()

    run.step = step


@fault(["perceptron", "transformer", "factorisation"])
def step_outside_the_loop(run: Training) -> None:
    """An indentation: the optimizer steps once an epoch, with the gradient of the last batch."""

    def step(run: Training, rows: Rows) -> Tensor | None:
        run.optimizer.zero_grad()
        loss = run.loss(rows)
        loss.backward()
        run.notes["batch"] = run.notes.get("batch", 0) + 1
        if run.notes["batch"] % -(-length(run.train) // run.batch):
            return None
        run.optimizer.step()
        return loss.detach()

    run.step = step


@fault(["perceptron", "cnn", "recurrent", "factorisation", "deepfm"])
def scheduler_every_batch(run: Training) -> None:
    """A schedule that is meant for epochs is stepped at every batch (Lornatang/SRGAN-PyTorch #1)."""
    run.scheduler_of = lambda run: torch.optim.lr_scheduler.StepLR(run.optimizer, 5, 0.3)
    run.schedule = "batch"


@fault(["cnn", "transformer", "two_tower"])
def cosine_too_short(run: Training) -> None:
    """`CosineAnnealingLR` and then a rate of zero: its length was given in epochs, and it is stepped by batches."""

    def rate(step: int) -> float:
        return max(0.0, 1 - step / run.epochs)

    run.scheduler_of = lambda run: torch.optim.lr_scheduler.LambdaLR(run.optimizer, rate)
    run.schedule = "batch"


@fault(["perceptron", "cnn", "transformer", "two_tower"])
def warmup_never_stepped(run: Training) -> None:
    """The warm-up begins at a thousandth of the rate, and nobody steps it."""
    run.scheduler_of = lambda run: torch.optim.lr_scheduler.LinearLR(run.optimizer, 1e-3, 1.0, 100)
    run.schedule = "never"


@fault(["perceptron", "cnn", "recurrent"], base="sgd_momentum")
def accumulation_not_scaled(run: Training) -> None:
    """Sixteen small batches are summed up without dividing, at the rate of one batch."""
    every = 16
    run.batch = max(4, run.batch // 4)

    def step(run: Training, rows: Rows) -> Tensor | None:
        loss = run.loss(rows)
        loss.backward()
        run.notes["batch"] = run.notes.get("batch", 0) + 1
        if run.notes["batch"] % every:
            return None
        run.optimizer.step()
        run.optimizer.zero_grad()
        return loss.detach()

    run.step = step


@fault(["perceptron", "cnn", "recurrent"], base="sgd_momentum")
def clipped_before_unscaling(run: Training) -> None:
    """Gradients of a loss that is scaled by 1024 are clipped to 1, and divided by 1024 after that."""
    scale = 1024.0

    def step(run: Training, rows: Rows) -> Tensor:
        run.optimizer.zero_grad()
        loss = run.loss(rows)
        (loss * scale).backward()
        clip_grad_norm_(run.model.parameters(), 1.0)
        for parameter in run.model.parameters():
            if parameter.grad is not None:
                parameter.grad /= scale
        run.optimizer.step()
        return loss.detach()

    run.step = step


@fault(["cnn", "student_cnn", "transformer", "deepfm"])
def left_in_eval(run: Training) -> None:
    """After the first validation nobody calls `model.train()` again."""

    def mode(run: Training, epoch: int) -> None:
        if epoch == 0:
            run.model.train()

    run.mode = mode


@fault(["cnn", "transformer", "deepfm", "student"])
def validated_in_train_mode(run: Training) -> None:
    """Dropout and batch statistics stay on while the model is validated."""
    run.evaluates = False


@fault(["perceptron", "cnn", "recurrent", "factorisation", "deepfm"])
def sorted_and_not_shuffled(run: Training) -> None:
    """Batches follow the file, which is sorted by the target or by the user."""
    key = next(name for name in ("user", "y") if name in run.train)
    order = torch.argsort(run.train[key], stable=True)
    run.batches = lambda run, epoch: iter(order.split(run.batch))


@fault(["perceptron", "cnn", "factorisation", "two_tower"])
def same_batch(run: Training) -> None:
    """`next(iter(loader))` within the loop of an unshuffled loader: the first batch, again and again."""

    def batches(run: Training, epoch: int) -> Iterator[Tensor]:
        for _ in shuffled(run, epoch):
            yield torch.arange(min(run.batch, length(run.train)))

    run.batches = batches


@fault(["cnn", "recurrent", "deepfm"])
def sampler_of_few_rows(run: Training) -> None:
    """A sampler that draws with replacement was given an index that was cut: it knows a twentieth of the rows."""
    few = torch.randperm(length(run.train), generator=torch.Generator().manual_seed(run.seed))
    few = few[: max(run.batch, length(run.train) // 20)]

    def batches(run: Training, epoch: int) -> Iterator[Tensor]:
        for index in shuffled(run, epoch):
            yield few[torch.randint(len(few), (len(index),), generator=run.generator)]

    run.batches = batches


@fault(["perceptron", "transformer", "two_tower"])
def validation_trained_on(run: Training) -> None:
    """The loop over validation batches calls the training step too."""

    def validate(run: Training) -> float:
        run.mode(run, 1)
        for index in torch.arange(length(run.validation)).split(run.batch):
            plain_step(run, take(run.validation, index))
        return mean_loss(run, run.validation)

    run.validate = validate
