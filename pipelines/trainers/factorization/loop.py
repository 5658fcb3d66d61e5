"""Makes one training run of the factorisation, watched or not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from flowgrad import exits
from flowgrad.errors import FlowGradError
from flowgrad.trackers import TrainingTracker
from flowgrad.trackers.embedding import EmbeddingTracker
from flowgrad.watching import Watch, watch
from pipelines.config.targets import function_of, target
from pipelines.data.ratings import Data, Examples
from pipelines.trainers.early_stopping import EarlyStopping
from pipelines.trainers.factorization.faults import SIDES, Injected, inject, side_of
from pipelines.trainers.factorization.interference import CappedRows, TrainingHook
from pipelines.trainers.factorization.losses import Generators, Loss
from pipelines.trainers.factorization.models.factorization import MatrixFactorization
from pipelines.trainers.optimizers import build_optimizer
from pipelines.trainers.trainer import Trained


class Observer(Protocol):
    """Interface by which the loop reports its progress."""

    def step(self, loss: float) -> None:
        """Note that the optimizer has stepped on a batch of this data loss."""

    def end_epoch(self) -> None:
        """Note that an epoch has ended."""

    def detach(self) -> None:
        """Take the observer off: training is over."""


ObserverFactory = Callable[[MatrixFactorization, torch.optim.Optimizer], Sequence[Observer]]


def train(
    config: DictConfig,
    data: Data,
    seed: int,
    *,
    watched: bool = False,
    observers: ObserverFactory | None = None,
) -> Trained:
    """Train by the config, from `seed` alone: initial weights and order of the examples draw on streams of their own,
    so that two configs of one seed share what they can.

    Args:
        config: what to train and how.
        data: ratings, of which `train` and `validation` are read.
        seed: of everything random.
        watched: attach the trackers that the config names.
        observers: makes further ones that are called at every step and epoch.
    """
    torch.set_num_threads(config.training.threads)
    init, order, negatives = generators(seed, 3)
    injected = inject(config, data)
    data = without_quarantined(config, injected.data)
    model = build_model(config, data, init)
    loss = loss_of(config, data, negatives)
    hooks = hooks_of(config, data, injected, model)
    optimizer = build_optimizer(config, model.parameters())
    trackers = _attach(config, model, loss, optimizer) if watched else {}
    course = TrainingTracker(
        target_variance=float(data.train.ratings.var()) if loss.of_ratings else None, l2_penalty=loss.l2
    )
    others = observers(model, optimizer) if observers else ()
    treating = _treating(config, data, model, loss, optimizer) if config.training.treat else None
    own = tuple(trackers.values())
    steps = _epochs(config, data, model, loss, order, optimizer, own, others, course, hooks, treating)
    if treating is not None:
        treating.detach()
    for hook in hooks:
        hook.end()
    _observe_examples(trackers, model, data, loss)
    for tracker in trackers.values():
        tracker.detach()
    for observer in others:
        observer.detach()
    seen = tuple(t.measurements() for t in (course, *trackers.values())) if watched else ()
    return Trained(
        model,
        course.train_losses,
        course.validation_losses,
        steps,
        seen,
        () if treating is None else treating.treated,
        tuple(trackers.values()),
        optimizer,
    )


def fine_tune(config: DictConfig, data: Data, seed: int, model: MatrixFactorization, epochs: int) -> None:
    """Train a model on in place, by the optimizer, loss and data of the config, and go back to the best weights.

    Args:
        config: that it was trained by; a fault in it is not injected again.
        data: ratings, of which `train` and `validation` are read.
        seed: of the order of the examples, which is another than in training.
        model: whose weights may be under masks.
        epochs: at most.
    """
    *_, negatives, order = generators(seed, 4)
    settings = OmegaConf.merge(config, {"training": {"epochs": epochs, "early_stopping": True}})
    assert isinstance(settings, DictConfig)
    optimizer = build_optimizer(config, model.parameters())
    loss = loss_of(config, data, negatives)
    _epochs(settings, data, model, loss, order, optimizer, (), (), TrainingTracker(), ())


def hooks_of(config: DictConfig, data: Data, injected: Injected, model: MatrixFactorization) -> list[TrainingHook]:
    """Make the hooks that a fault, and capped rows, put into the training of a model, or of a stack."""
    hooks = [injected.interfere(model)] if injected.interfere else []
    # A cap comes last: it is to hold back whatever moved the rows.
    return hooks + [
        CappedRows(getattr(model, table), torch.tensor(rows))
        for table, rows in _listed("training.capped_rows", config.training.capped_rows, _sizes(data))
    ]


def generators(seed: int, count: int) -> list[torch.Generator]:
    """Make the streams of a seed: initial weights, order of the examples, negatives, and others as asked for."""
    sequences = np.random.SeedSequence(seed).spawn(count)
    return [torch.Generator().manual_seed(int(one.generate_state(1)[0])) for one in sequences]


def loss_of(config: DictConfig, data: Data, negatives: Generators | None = None) -> Loss:
    """Make the loss that the `loss` node names; `negatives` draws those of losses that take any."""
    loss: Loss = target(config, "loss")(
        data.train, data.n_items, l2=config.loss.l2, logq=config.loss.logq, generator=negatives
    )
    return loss


def build_model(config: DictConfig, data: Data, generator: torch.Generator) -> MatrixFactorization:
    """Build the model that the `model` node names, untrained."""
    return target(config, "model")(
        data.n_users,
        data.n_items,
        float(data.train.ratings.mean()),
        sparse=config.optimizer.sparse_gradients,
        generator=generator,
        **{key: value for key, value in config.model.items() if key != "_target_"},
    )


def _epochs(
    config: DictConfig,
    data: Data,
    model: MatrixFactorization,
    loss: Loss,
    order: torch.Generator,
    optimizer: torch.optim.Optimizer,
    trackers: Sequence[EmbeddingTracker],
    observers: Sequence[Observer],
    course: TrainingTracker,
    hooks: Sequence[TrainingHook],
    treating: Watch | None = None,
) -> int:
    """Train all epochs, with early stopping where asked for, and return the number of steps taken; `treating` changes
    the training as its findings ask for.
    """
    batches = sampler_of(config)
    settings, steps = config.training, 0
    stopping = EarlyStopping(settings, model)
    for _ in range(settings.epochs):
        exits.raise_again()
        total = 0.0
        for batch in batches(data.train, settings.batch_size, order):
            data_loss, penalty = loss.terms(model, batch)
            optimizer.zero_grad()
            (data_loss + penalty).backward()
            for hook in hooks:
                hook.before_step()
            optimizer.step()
            for hook in hooks:
                hook.after_step()
            steps += 1
            batch_loss = float(data_loss.detach())
            if treating is not None:
                treating.log(loss=batch_loss)
            course.step(batch_loss)
            total += batch_loss * len(batch)
            for tracker in trackers:
                tracker.step()
            for observer in observers:
                observer.step(batch_loss)
        for tracker in trackers:
            tracker.end_epoch()
        for observer in observers:
            observer.end_epoch()
        validation = loss.held_out(model, data.validation)
        course.end_epoch(total / len(data.train), validation)
        if treating is not None:
            treating.end_epoch(loss=total / len(data.train), val_loss=validation)
        if not math.isfinite(total):
            break  # weights that are not finite never become so again
        if stopping.ends(validation) or (treating is not None and treating.should_stop):
            course.stop_early()
            break
    stopping.restore()
    return steps


def sampler_of(config: DictConfig) -> Callable[[Examples, int, torch.Generator], Iterator[Examples]]:
    """The function that draws the batches of an epoch.

    Raises:
        FlowGradError: `sampler._target_` names something else, which is not called.
    """
    return function_of(config, "sampler", ("examples", "batch_size", "generator"), "sampler=shuffled")


def check_rows(config: DictConfig, data: Data) -> None:
    """Refuse rows listed in `sampler.quarantine` or `training.capped_rows` that the tables do not have.

    Raises:
        FlowGradError: names the key, the table and the row.
    """
    list(_listed("training.capped_rows", config.training.capped_rows, _sizes(data)))
    without_quarantined(config, data)


def _sizes(data: Data) -> dict[str, int]:
    return {"user_emb": data.n_users, "item_emb": data.n_items}


def without_quarantined(config: DictConfig, data: Data) -> Data:
    """Leave out the training examples of which a row is quarantined."""
    kept = torch.ones(len(data.train), dtype=torch.bool)
    for table, rows in _listed("sampler.quarantine", config.sampler.quarantine, _sizes(data)):
        kept &= ~torch.isin(getattr(data.train, SIDES[table]), torch.tensor(rows))
    if not kept.any():
        raise FlowGradError("sampler.quarantine leaves no training example; list fewer rows")
    return data if kept.all() else replace(data, train=data.train[kept])


def _listed(key: str, tables: Mapping[str, Sequence[int]], sizes: Mapping[str, int]) -> Iterator[tuple[str, list[int]]]:
    """Yield the tables with rows listed under `key`, and those rows, checked."""
    for table, rows in tables.items():
        if table not in sizes:
            raise FlowGradError(f"{key} names {table!r}; the model's tables are {sorted(sizes)}")
        wrong = next((row for row in rows if not 0 <= row < sizes[table]), None)
        if wrong is not None:
            raise FlowGradError(f"{key}.{table} names row {wrong}; the table has rows 0 to {sizes[table] - 1}")
        if rows:
            yield table, list(rows)


def _attach(
    config: DictConfig, model: MatrixFactorization, loss: Loss, optimizer: torch.optim.Optimizer
) -> dict[str, EmbeddingTracker]:
    trackers = {}
    for table in config.tracker.tables:
        layer = getattr(model, table, None)
        if layer is None:
            raise FlowGradError(f"tracker.tables names {table!r}; the model's tables are {_tables(model)}")
        trackers[table] = EmbeddingTracker(layer, name=table, optimizer=optimizer)
        if side_of(table) == "items":  # the side that negatives are taken from
            trackers[table].observe(in_batch_negatives=loss.in_batch_negatives, sampling_correction=loss.logq)
    return trackers


def _treating(
    config: DictConfig, data: Data, model: MatrixFactorization, loss: Loss, optimizer: torch.optim.Optimizer
) -> Watch:
    """Make the watch that treats, and tell it what is known before training: the labels of each row."""
    variance = float(data.train.ratings.var()) if loss.of_ratings else None
    treating = watch(model, optimizer, target_variance=variance, on_finding="apply")
    users, items, ratings = (t.numpy() for t in (data.train.users, data.train.items, data.train.ratings))
    for table in config.tracker.tables if loss.of_ratings else ():
        rows, others = (users, items) if side_of(table) == "users" else (items, users)
        treating.tables[table].observe_labels(rows, others, ratings)
    return treating


def _tables(model: MatrixFactorization) -> list[str]:
    return sorted(name for name, _ in model.named_children() if side_of(name))


def _observe_examples(
    trackers: dict[str, EmbeddingTracker], model: MatrixFactorization, data: Data, loss: Loss
) -> None:
    """Give trackers the residuals, which mean something where the loss is the error of a rating."""
    if not loss.of_ratings:
        return
    with torch.no_grad():
        residuals = (data.train.ratings - model(data.train.users, data.train.items)).numpy()
    users, items, ratings = (t.numpy() for t in (data.train.users, data.train.items, data.train.ratings))
    for table, tracker in trackers.items():
        if side := side_of(table):
            rows, others = (users, items) if side == "users" else (items, users)
            tracker.observe_residuals(rows, residuals, biases=model.user_bias is not None)
            tracker.observe_labels(rows, others, ratings)
