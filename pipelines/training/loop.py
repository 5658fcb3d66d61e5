"""One training run of the factorisation, watched or not."""

from __future__ import annotations

import copy
import inspect
import math
from dataclasses import dataclass

import numpy as np
import torch
from omegaconf import DictConfig

from flowgrad.errors import FlowGradError
from flowgrad.measurements import Measurements
from flowgrad.trackers import TrainingTracker
from flowgrad.trackers.embedding import EmbeddingTracker
from pipelines.data import Data
from pipelines.models.factorization import MatrixFactorization
from pipelines.targets import target
from pipelines.training.losses import Loss

_SIDES = {"user_emb": "users", "item_emb": "items"}


@dataclass(frozen=True)
class Trained:
    """What one run leaves."""

    model: MatrixFactorization
    train_losses: tuple[float, ...]
    """Mean data loss of each epoch."""
    validation_losses: tuple[float, ...]
    """After each epoch."""
    steps: int
    measurements: tuple[Measurements, ...] = ()
    """What the trackers saw; empty for a run that was not watched."""


def train(config: DictConfig, data: Data, seed: int, *, watched: bool = False) -> Trained:
    """Train by the config, from `seed` alone: initial weights and order of the examples draw on streams of their own,
    so that two configs of one seed share what they can.
    """
    torch.set_num_threads(config.training.threads)
    init, order = (
        torch.Generator().manual_seed(int(s.generate_state(1)[0])) for s in np.random.SeedSequence(seed).spawn(2)
    )
    model = build_model(config, data, init)
    loss: Loss = target(config, "loss")(data.train, data.n_items, l2=config.loss.l2, logq=config.loss.logq)
    trackers = _attach(config, model, loss) if watched else {}
    course = TrainingTracker(
        target_variance=None if loss.in_batch_negatives else float(data.train.ratings.var()), l2_penalty=loss.l2
    )
    steps = _epochs(config, data, model, loss, order, trackers, course)
    _observe_residuals(trackers, model, data, loss)
    for tracker in trackers.values():
        tracker.detach()
    seen = tuple(t.measurements() for t in (course, *trackers.values())) if watched else ()
    return Trained(model, course.train_losses, course.validation_losses, steps, seen)


def build_model(config: DictConfig, data: Data, generator: torch.Generator) -> MatrixFactorization:
    """The model that the `model` node names, untrained."""
    return target(config, "model")(
        data.n_users,
        data.n_items,
        float(data.train.ratings.mean()),
        dim=config.model.dim,
        biases=config.model.biases,
        init_std=config.model.init_std,
        sparse=config.optimizer.sparse_gradients,
        generator=generator,
    )


def build_optimizer(config: DictConfig, model: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimizer that the `optimizer` node names.

    Raises:
        FlowGradError: a setting other than its default that the optimizer's class does not have.
    """
    cls = target(config, "optimizer")
    accepted = inspect.signature(cls).parameters
    settings = {"weight_decay": config.optimizer.weight_decay, "momentum": config.optimizer.momentum}
    for name, value in settings.items():
        if value and name not in accepted:
            raise FlowGradError(f"optimizer.{name}={value}: {cls.__name__} has no {name}; set it to 0")
    takes_sparse = cls in (torch.optim.SparseAdam, torch.optim.SGD, torch.optim.Adagrad)
    if config.optimizer.sparse_gradients and not takes_sparse:
        raise FlowGradError(
            f"optimizer.sparse_gradients=true: {cls.__name__} takes dense gradients only; set it to false"
        )
    if cls is torch.optim.SparseAdam and not config.optimizer.sparse_gradients:
        raise FlowGradError("optimizer.sparse_gradients=false: SparseAdam takes sparse gradients only; set it to true")
    given = {name: value for name, value in settings.items() if name in accepted}
    if "fused" in accepted and not config.optimizer.sparse_gradients:
        given["fused"] = True  # one kernel a step instead of a dozen a parameter
    return cls(model.parameters(), lr=config.optimizer.lr, **given)


def _epochs(
    config: DictConfig,
    data: Data,
    model: MatrixFactorization,
    loss: Loss,
    order: torch.Generator,
    trackers: dict[str, EmbeddingTracker],
    course: TrainingTracker,
) -> int:
    """All epochs, with early stopping where asked for; gives the number of steps taken."""
    optimizer = build_optimizer(config, model)
    batches = target(config, "sampler")
    settings, steps = config.training, 0
    best, best_weights, bad_epochs = math.inf, None, 0
    for _ in range(settings.epochs):
        total = 0.0
        for batch in batches(data.train, settings.batch_size, order):
            data_loss, penalty = loss.terms(model, batch)
            optimizer.zero_grad()
            (data_loss + penalty).backward()
            optimizer.step()
            steps += 1
            total += float(data_loss.detach()) * len(batch)
            for tracker in trackers.values():
                tracker.step()
        for tracker in trackers.values():
            tracker.end_epoch()
        validation = loss.held_out(model, data.validation)
        course.end_epoch(total / len(data.train), validation, steps=-(-len(data.train) // settings.batch_size))
        if not math.isfinite(total):
            break  # weights that are not finite never become so again
        if validation < best:
            best, bad_epochs = validation, 0
            best_weights = copy.deepcopy(model.state_dict()) if settings.early_stopping else None
        else:
            bad_epochs += 1
        if settings.early_stopping and bad_epochs >= settings.patience:
            break
    if settings.early_stopping and best_weights is not None:
        model.load_state_dict(best_weights)
    return steps


def _attach(config: DictConfig, model: MatrixFactorization, loss: Loss) -> dict[str, EmbeddingTracker]:
    trackers = {}
    for table in config.tracker.tables:
        layer = getattr(model, table, None)
        if layer is None:
            raise FlowGradError(f"tracker.tables names {table!r}; the model's tables are {sorted(_SIDES)}")
        trackers[table] = EmbeddingTracker(layer, name=table)
        if _SIDES.get(table) == "items":  # the side that negatives are taken from
            trackers[table].observe(in_batch_negatives=loss.in_batch_negatives, sampling_correction=loss.logq)
    return trackers


def _observe_residuals(
    trackers: dict[str, EmbeddingTracker], model: MatrixFactorization, data: Data, loss: Loss
) -> None:
    """Residuals mean something where the loss is the error of a rating."""
    if loss.in_batch_negatives:
        return
    with torch.no_grad():
        residuals = (data.train.ratings - model(data.train.users, data.train.items)).numpy()
    for table, tracker in trackers.items():
        if table in _SIDES:
            tracker.observe_residuals(
                getattr(data.train, _SIDES[table]).numpy(), residuals, biases=model.user_bias is not None
            )
