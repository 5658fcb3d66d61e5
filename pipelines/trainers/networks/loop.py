"""Trains networks in one loop, whatever the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from flowgrad import exits
from flowgrad.trackers import TrainingTracker
from pipelines.trainers.early_stopping import EarlyStopping
from pipelines.trainers.networks.data import Kind, shuffled
from pipelines.trainers.networks.losses import Loss

if TYPE_CHECKING:
    from flowgrad import Watch


class Watcher(Protocol):
    """Interface by which the loop reports its progress."""

    def step(self, loss: Tensor) -> Any:
        """Note that the optimizer has stepped on a batch of this loss, a scalar without its graph."""

    def end_epoch(self, train_loss: float, validation_loss: float) -> Any:
        """Note that an epoch has ended."""


class Observer(Watcher, Protocol):
    """A watcher that holds on to the model."""

    def detach(self) -> Any:
        """Take the watcher off: training is over."""


@dataclass(frozen=True)
class Fitted:
    """Result of the loop, besides the model."""

    train_losses: tuple[float, ...]
    """Mean training loss of each epoch."""
    validation_losses: tuple[float, ...]
    """Validation loss after each epoch."""
    steps: int


def fit(
    model: nn.Module,
    loss: Loss[Kind],
    optimizer: torch.optim.Optimizer,
    train: Kind,
    validation: Kind,
    settings: DictConfig,
    order: torch.Generator,
    watchers: Sequence[Watcher] = (),
    watch: Watch | None = None,
) -> Fitted:
    """Train in epochs; stop early, and go back to the best weights, where the settings say so.

    Args:
        model: trained in place.
        loss: of a batch, and of the validation rows.
        optimizer: over those of the model's parameters that it is to move.
        train: rows to train on.
        validation: rows to stop by.
        settings: `NetworkLoopSettings`.
        order: draws the order of the rows.
        watchers: called at every step and epoch.
        watch: that watches the model, and steps itself; it is told losses.
    """
    course = TrainingTracker()
    stopping, steps = EarlyStopping(settings, model), 0
    for _ in range(settings.epochs):
        exits.raise_again()
        model.train()
        total = torch.zeros((), dtype=torch.float64)
        seen = 0
        for batch in shuffled(train, settings.batch_size, order):
            batch_loss = _step(model, loss, optimizer, batch, settings.clip_norm, watch)
            steps, seen = steps + 1, seen + len(batch)
            total += batch_loss.double() * len(batch)
            for watcher in watchers:
                watcher.step(batch_loss)
        trained, held_out = float(total) / seen, loss.held_out(model, validation)
        course.end_epoch(trained, held_out)
        for watcher in watchers:
            watcher.end_epoch(trained, held_out)
        if watch is not None:
            watch.log(val_loss=held_out, **loss.told(validation))
            watch.end_epoch(loss=trained, metric=loss.metric(model, validation))
        if not math.isfinite(trained):
            break  # weights that are not finite never become so again
        if stopping.ends(held_out):
            if watch is not None:
                watch.stop_early()
            break
        if watch is not None and watch.should_stop:
            break
    stopping.restore()
    return Fitted(course.train_losses, course.validation_losses, steps)


def _step(
    model: nn.Module,
    loss: Loss[Kind],
    optimizer: torch.optim.Optimizer,
    batch: Kind,
    clip_norm: float | None,
    watch: Watch | None,
) -> Tensor:
    optimizer.zero_grad()
    made = loss.of(model, batch)
    made.backward()
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    if watch is not None:
        watch.log(loss=made, **loss.told(batch))
    optimizer.step()
    return made.detach()
