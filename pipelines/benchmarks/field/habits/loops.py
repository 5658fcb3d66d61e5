"""Healthy habits of loops and losses."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from pipelines.benchmarks.field.data import Rows, length, take
from pipelines.benchmarks.field.faults.optimizers import scaled
from pipelines.benchmarks.field.registry import habit
from pipelines.benchmarks.field.training import Training


@habit(["perceptron", "cnn", "transformer", "deepfm"])
def accumulation(run: Training) -> None:
    """Four small batches make a step, each loss divided by four."""
    every, run.batch = 4, max(4, run.batch // 4)

    def step(run: Training, rows: Rows) -> Tensor | None:
        loss = run.loss(rows)
        (loss / every).backward()
        run.notes["batch"] = run.notes.get("batch", 0) + 1
        if run.notes["batch"] % every:
            return None
        run.optimizer.step()
        run.optimizer.zero_grad()
        return loss.detach()

    run.step = step


@habit(["perceptron", "cnn", "transformer", "two_tower"])
def clipping(run: Training) -> None:
    """Gradients are clipped to a norm of 1."""
    run.clip = 1.0


@habit(["perceptron", "cnn", "transformer", "deepfm"])
def autocast(run: Training) -> None:
    """The forward pass runs in bfloat16."""
    forward = run.forward

    def halved(run: Training, rows: Rows) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return forward(run, rows).float()

    run.forward = halved


@habit(["perceptron", "cnn"])
def scaled_loss(run: Training) -> None:
    """The loss is scaled by 1024, and gradients are unscaled before they are clipped."""

    def step(run: Training, rows: Rows) -> Tensor:
        run.optimizer.zero_grad()
        loss = run.loss(rows)
        (loss * 1024).backward()
        for parameter in run.model.parameters():
            if parameter.grad is not None:
                parameter.grad /= 1024
        clip_grad_norm_(run.model.parameters(), 1.0)
        run.optimizer.step()
        return loss.detach()

    run.step = step


@habit(["cnn", "recurrent", "transformer"])
def label_smoothing(run: Training) -> None:
    """A tenth of each target is spread over all classes."""
    if run.host == "transformer":
        run.criterion = lambda run, output, rows: F.cross_entropy(
            output.flatten(0, 1), rows["next"].flatten(), ignore_index=0, label_smoothing=0.1
        )
    else:
        run.criterion = lambda run, output, rows: F.cross_entropy(output, rows["y"], label_smoothing=0.1)


@habit(["cnn", "recurrent"])
def mixup(run: Training) -> None:
    """Pairs of rows are mixed, and so are their losses (Zhang et al. 2018)."""

    def step(run: Training, rows: Rows) -> Tensor:
        run.optimizer.zero_grad()
        share = 0.5 + 0.5 * torch.rand(1, generator=run.generator).item()
        other = torch.randperm(length(rows), generator=run.generator)
        output = run.model(share * rows["x"] + (1 - share) * rows["x"][other])
        loss = share * F.cross_entropy(output, rows["y"]) + (1 - share) * F.cross_entropy(output, rows["y"][other])
        loss.backward()
        run.optimizer.step()
        return loss.detach()

    run.step = step


@habit(["cnn", "transformer", "two_tower"])
def average_copy(run: Training) -> None:
    """An exponential mean of the weights is kept aside and used at the end."""
    step = run.step

    def and_average(run: Training, rows: Rows) -> Tensor | None:
        loss = step(run, rows)
        mean = run.notes.setdefault("mean", copy.deepcopy(run.model))
        with torch.no_grad():
            for kept, weight in zip(mean.parameters(), run.model.parameters(), strict=True):
                kept.lerp_(weight, 0.05)
        return loss

    run.step = and_average


@habit(["perceptron", "cnn", "factorisation", "deepfm"])
def early_stopping(run: Training) -> None:
    """Training has many epochs, and the weights of the best one are kept."""
    run.epochs, run.patience = run.epochs * 2, 2


@habit(["perceptron", "cnn", "recurrent"])
def large_batch(run: Training) -> None:
    """Batches are eight times as large, with more epochs at twice the rate."""
    run.batch, run.epochs = run.batch * 8, run.epochs * 4
    scaled(run, 2.0)


@habit(["perceptron", "cnn", "student"])
def tiny_batch(run: Training) -> None:
    """Batches of eight at a third of the rate, fewer epochs."""
    run.batch, run.epochs = 8, max(2, run.epochs // 2)
    scaled(run, 0.4)


@habit(["perceptron", "factorisation", "deepfm"])
def three_short_epochs(run: Training) -> None:
    """Three epochs, at twice the rate: enough for these."""
    run.epochs = 3
    scaled(run, 2.0)


@habit(["cnn", "recurrent"])
def imbalanced_classes(run: Training) -> None:
    """Half of the classes have a tenth of their rows, and weigh more in the loss."""
    keep = (run.train["y"] < 5) | (torch.rand(length(run.train), generator=torch.Generator().manual_seed(1)) < 0.1)
    run.train = take(run.train, torch.nonzero(keep).flatten())
    weight = torch.where(torch.arange(10) < 5, 1.0, 5.0)
    run.criterion = lambda run, output, rows: F.cross_entropy(output, rows["y"], weight=weight)
    run.epochs *= 2


@habit(["perceptron", "cnn", "factorisation"])
def epochs_not_told(run: Training) -> None:
    """The author calls `step` and nothing else."""
    run.tells_epochs = False


@habit(["perceptron"])
def honest_strong_column(run: Training) -> None:
    """One column is an earlier measurement of the target: strong, known in time, and kept in use."""
    noise = torch.Generator().manual_seed(run.seed)
    for part in ("train", "validation", "test"):
        rows = getattr(run, part)
        y = rows["y"]
        lag = (y - y.mean()) / y.std() + 0.3 * torch.randn(len(y), generator=noise)
        setattr(run, part, {**rows, "x": torch.cat([lag[:, None], rows["x"][:, 1:]], 1)})


@habit(["perceptron", "cnn", "recurrent"])
def sum_loss_small_rate(run: Training) -> None:
    """The loss is summed over the batch, and the rate is for a sum."""
    criterion = run.criterion
    run.criterion = lambda run, output, rows: criterion(run, output, rows) * len(output)


@habit(["perceptron"])
def huber(run: Training) -> None:
    """Huber's loss instead of the squared error."""
    run.criterion = lambda run, output, rows: F.huber_loss(output, rows["y"], delta=0.5)
    run.variance = None


@habit(["perceptron", "transformer"])
def gaussian_likelihood(run: Training) -> None:
    """A likelihood of densities, which may fall below zero and be right; on the transformer, minus a constant."""
    criterion = run.criterion
    if run.host == "perceptron":
        run.criterion = lambda run, output, rows: F.gaussian_nll_loss(
            output, rows["y"], torch.full_like(output, 0.8)
        ) - 0.5  # fmt: skip
        run.variance = None
    else:
        run.criterion = lambda run, output, rows: criterion(run, output, rows) - 1.2


@habit(["recurrent", "factorisation", "deepfm"])
def read_as_number(run: Training) -> None:
    """Trackers are given `loss.item()`."""
    run.told = "number"
