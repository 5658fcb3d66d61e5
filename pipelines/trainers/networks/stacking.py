"""Trains networks of several seeds together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from pipelines.trainers.networks.data import Rows
from pipelines.trainers.networks.losses import OutputLoss
from pipelines.trainers.stacking import Stack, train_together
from pipelines.trainers.trainer import Trained


def fit_stack(
    models: Sequence[nn.Module],
    loss: OutputLoss,
    optimizer_of: Callable[[nn.Module], torch.optim.Optimizer],
    train: Sequence[Rows],
    validation: Sequence[Rows],
    settings: DictConfig,
    orders: Sequence[torch.Generator],
    sooner: Sequence[DictConfig] = (),
) -> list[Trained]:
    """Train each network as `pipelines.trainers.networks.loop.fit` does.

    Args:
        models: of one class and the same sizes, trained in place.
        loss: of the outputs of one network.
        optimizer_of: makes the optimizer of a stack.
        train: rows of each network to train on, as many as of the others.
        validation: rows of each to stop by.
        settings: `NetworkLoopSettings`, without `clip_norm`.
        orders: draw the order of the rows of each.
        sooner: settings with other endings, `Trainer.train_stack`.
    """

    def epoch(stack: Stack, places: Sequence[int]) -> tuple[Tensor, int]:
        total, steps, seen = torch.zeros(len(places), dtype=torch.float64), 0, 0
        stack.model.train()
        for batch in _shuffled([train[place] for place in places], settings.batch_size, [orders[at] for at in places]):
            losses = loss.criterion(stack.model(batch.inputs), batch)
            stack.step(losses)
            size = batch.target.shape[1]
            total += losses.detach().double() * size
            steps, seen = steps + 1, seen + size
        return total / seen, steps

    return train_together(
        models,
        settings,
        optimizer_of,
        epoch,
        lambda place: loss.held_out(models[place], validation[place]),
        sooner=sooner,
    )


def _shuffled(rows: Sequence[Rows], batch_size: int, orders: Sequence[torch.Generator]) -> Iterator[Rows]:
    """Yield one epoch of several networks: tensors of shape (models, n, ...), in which each has the batches that
    `pipelines.trainers.networks.data.shuffled` yields.
    """
    count = len(rows[0])
    own = [one[torch.randperm(count, generator=order)] for one, order in zip(rows, orders, strict=True)]
    whole = {name: torch.stack([getattr(one, name) for one in own]) for name in vars(own[0])}
    for start in range(0, count, batch_size):
        if count - start > 1 or count == 1:
            yield replace(rows[0], **{name: held[:, start : start + batch_size] for name, held in whole.items()})
