"""Trains the seeds of one config together, as a stack of models; each seed's figures are those of a run of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from omegaconf import DictConfig
from torch import Tensor

from flowgrad import exits
from flowgrad.trackers import TrainingTracker
from pipelines.config.targets import target
from pipelines.data.ratings import Data
from pipelines.trainers.early_stopping import EarlyStopping
from pipelines.trainers.factorization.faults import OF_UPDATES, inject
from pipelines.trainers.factorization.loop import build_model, generators, loss_of, without_quarantined
from pipelines.trainers.factorization.sampling import shuffled_batches, shuffled_stack
from pipelines.trainers.optimizers import bare_step, build_optimizer
from pipelines.trainers.stacked import stacked
from pipelines.trainers.trainer import Trained

_ELEMENTWISE = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad, torch.optim.SparseAdam)
"""Optimizers that move each parameter by its own gradients alone, so that one may move those of many models."""
_MOST_SEEDS = 16
_MOST_VALUES = 2**19
"""Parameters of a stack. Larger ones leave the processor's cache, and cost more than they save."""


def stack_size(config: DictConfig, data: Data) -> int:
    """Number of seeds that are trained together, at most; 1 where a stack would not be the same training, or would take
    as long as one model after the other.
    """
    model, optimizer = target(config, "model"), target(config, "optimizer")
    if not (
        _says_so(model)
        and _says_so(target(config, "loss"))
        and target(config, "sampler") is shuffled_batches
        and optimizer in _ELEMENTWISE
        and not (config.optimizer.sparse_gradients and config.optimizer.momentum)
        and config.fault.kind not in OF_UPDATES
        and not any(config.training.capped_rows.values())
        and not config.training.treat
    ):
        return 1
    values = (data.n_users + data.n_items) * model.columns(config.model)
    return max(1, min(_MOST_SEEDS, _MOST_VALUES // values))


def _says_so(made: type) -> bool:
    """Whether the class itself says that it works on stacks: one that inherits it may compute something else."""
    return bool(vars(made).get("stackable", False))


def train_stack(config: DictConfig, data: Data, seeds: Sequence[int]) -> list[Trained]:
    """Train by the config from each seed, as `pipelines.trainers.factorization.loop.train` does unwatched.

    Args:
        config: of which `stack_size` is above 1.
        data: ratings, of which `train` and `validation` are read.
        seeds: of the models.

    Returns:
        The run of each seed, without its optimizer.
    """
    torch.set_num_threads(config.training.threads)
    data = without_quarantined(config, inject(config, data).data)
    runs = [_Run(config, data, seed) for seed in seeds]
    stack = _Stack(config, data, runs)
    for _ in range(config.training.epochs):
        exits.raise_again()
        stack.train_epoch()
        going_on = [place for place, run in enumerate(stack.runs) if not run.ended]
        if not going_on:
            break
        if len(going_on) < len(stack.runs):
            stack = stack.only(going_on)
    return [run.trained() for run in runs]


class _Run:
    """One seed of a stack."""

    def __init__(self, config: DictConfig, data: Data, seed: int) -> None:
        init, self.order, self.negatives = generators(seed, 3)
        self.model = build_model(config, data, init)
        self._stopping = EarlyStopping(config.training, self.model)
        self._course, self._steps = TrainingTracker(), 0
        self.ended = False
        """Whether it trains no more."""

    def end_epoch(self, steps: int, train_loss: float, validation_loss: float) -> None:
        """Note an epoch of so many steps; end where the single run does."""
        self._steps += steps
        self._course.end_epoch(train_loss, validation_loss)
        self.ended = not math.isfinite(train_loss) or self._stopping.ends(validation_loss)

    def trained(self) -> Trained:
        """Go back to the best weights, and make the result."""
        self._stopping.restore()
        return Trained(self.model, self._course.train_losses, self._course.validation_losses, self._steps)


class _Stack:
    """The models of some runs as one, with the optimizer of all."""

    def __init__(self, config: DictConfig, data: Data, runs: Sequence[_Run]) -> None:
        self._config, self._data = config, data
        self.runs = runs
        self._model = stacked([run.model for run in runs])
        self._loss = loss_of(config, data, [run.negatives for run in runs])
        self._parameters = list(self._model.parameters())
        self._optimizer = build_optimizer(config, self._parameters)
        self._step = bare_step(self._optimizer)

    def train_epoch(self) -> None:
        """Train every model for one epoch, and tell its run the losses."""
        train, steps = self._data.train, 0
        total = torch.zeros(len(self.runs), dtype=torch.float64)
        orders = [run.order for run in self.runs]
        for batch in shuffled_stack(train, self._config.training.batch_size, orders):
            data_loss, penalty = self._loss.terms(self._model, batch)
            (data_loss + penalty).sum().backward()
            self._step()
            for parameter in self._parameters:
                parameter.grad = None
            total += data_loss.detach().double() * batch.users.shape[-1]
            steps += 1
        for run, loss in zip(self.runs, (total / len(train)).tolist(), strict=True):
            run.end_epoch(steps, loss, self._loss.held_out(run.model, self._data.validation))

    def only(self, places: Sequence[int]) -> _Stack:
        """Make the stack of some of its runs, whose optimizer goes on from where theirs was."""
        fewer = _Stack(self._config, self._data, [self.runs[place] for place in places])
        for old, new in zip(self._parameters, fewer._parameters, strict=True):
            fewer._optimizer.state[new] = {
                name: self._part(held, places) if isinstance(held, Tensor) and held.shape == old.shape else held
                for name, held in self._optimizer.state[old].items()
            }
        return fewer

    def _part(self, held: Tensor, places: Sequence[int]) -> Tensor:
        parts = held.chunk(len(self.runs))
        return torch.cat([parts[place] for place in places])
