"""Trains ranking models in one loop, whatever the loss; models that are solved for, in sweeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from omegaconf import DictConfig
from torch import nn

from datasets.tables import VALIDATION
from flowgrad import exits
from flowgrad.measures.ranking import gains, ranks
from flowgrad.trackers import TrainingTracker
from pipelines.data.interactions import Interactions
from pipelines.trainers.early_stopping import EarlyStopping
from pipelines.trainers.networks.loop import Watcher
from pipelines.trainers.ranking.batches import Batch, shuffled
from pipelines.trainers.ranking.losses import RankingLoss
from pipelines.trainers.ranking.models.ials import IALS
from pipelines.trainers.ranking.models.ranker import Ranker
from pipelines.trainers.ranking.serving import Served, serve

if TYPE_CHECKING:
    from flowgrad import Watch


@dataclass(frozen=True)
class Generators:
    """Streams of random numbers of a run."""

    order: torch.Generator
    """Order of the examples."""
    negatives: torch.Generator
    """Items drawn as negatives."""
    dropout: int
    """Seed of the values that layers leave out, which torch draws from its global generator."""


def fit(
    model: Ranker,
    loss: RankingLoss,
    optimizer: torch.optim.Optimizer,
    data: Interactions,
    settings: DictConfig,
    generators: Generators,
    course: TrainingTracker,
    watchers: Sequence[Watcher] = (),
    watch: Watch | None = None,
) -> int:
    """Train in epochs, with early stopping where the settings ask for it; return the number of steps.

    Args:
        model: trained in place.
        loss: of a batch, and of the validation events.
        optimizer: over the model's parameters.
        data: of which training and validation events are read.
        settings: `RankingLoopSettings`.
        generators: of everything random.
        course: is told losses and the validated NDCG.
        watchers: called at every step and epoch.
        watch: that watches the model, and steps itself; it is told losses.
    """
    examples = model.examples(data)
    stopping, steps = EarlyStopping(settings, model), 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generators.dropout)
        for _ in range(settings.epochs):
            exits.raise_again()
            model.train()
            total, seen = torch.zeros((), dtype=torch.float64), 0
            for batch in shuffled(examples, settings.batch_size, generators.order):
                value = _step(model, loss, optimizer, batch, settings.clip_norm, watch)
                size = len(batch.items)
                steps, seen, total = steps + 1, seen + size, total + value.double() * size
                course.step(float(value))
                for watcher in watchers:
                    watcher.step(value)
            trained = float(total) / seen
            held_out, ndcg = validated(model, loss, data, settings)
            course.end_epoch(trained, held_out, metric=ndcg)
            for watcher in watchers:
                watcher.end_epoch(trained, held_out)
            if watch is not None:
                watch.end_epoch(loss=trained, val_loss=held_out, metric=ndcg)
            if not math.isfinite(trained):
                break  # weights that are not finite never become so again
            if stopping.ends(-ndcg):
                course.stop_early()
                break
    stopping.restore()
    return steps


def _step(
    model: Ranker,
    loss: RankingLoss,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    clip_norm: float | None,
    watch: Watch | None,
) -> torch.Tensor:
    optimizer.zero_grad()
    value, penalty = loss.of(model, batch)
    (value + penalty).backward()
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    if watch is not None:
        watch.log(loss=value)
    optimizer.step()
    return value.detach()


def solve(model: IALS, data: Interactions, settings: DictConfig, course: TrainingTracker) -> int:
    """Solve for the tables in sweeps, with early stopping where the settings ask for it; return their number."""
    stopping, sweeps = EarlyStopping(settings, model), 0
    for _ in range(settings.epochs):
        exits.raise_again()
        trained, sweeps = model.sweep(), sweeps + 1
        _, ndcg = validated(model, None, data, settings)
        course.end_epoch(trained, metric=ndcg)
        if stopping.ends(-ndcg):
            course.stop_early()
            break
    stopping.restore()
    return sweeps


def validated(model: Ranker, loss: RankingLoss | None, data: Interactions, settings: DictConfig) -> tuple[float, float]:
    """Mean loss and NDCG of the validation events, the model in evaluation mode; NaN, and 0, where scores are not
    finite.
    """
    served = serve(model, data, data.held_out(VALIDATION), settings)
    value = math.nan if loss is None else _held_out(loss, served)
    if not served.finite:
        return math.nan, 0.0
    rank = ranks(served.scores.numpy(), served.targets.numpy())
    return value, float(gains(rank, settings.cutoff).mean())


def _held_out(loss: RankingLoss, served: Served) -> float:
    return float(loss.held_out(served.queries, served.catalogue, served.targets).double().mean())
