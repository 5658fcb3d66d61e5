"""Trains the seeds of one config together, as a stack of models."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from omegaconf import DictConfig
from torch import Tensor

from pipelines.config.targets import target
from pipelines.data.ratings import Data, Examples
from pipelines.trainers.factorization.faults import inject
from pipelines.trainers.factorization.gradients import Gradients, formula_of
from pipelines.trainers.factorization.loop import build_model, generators, hooks_of, loss_of, without_quarantined
from pipelines.trainers.factorization.losses import Loss
from pipelines.trainers.factorization.sampling import shuffled_batches, shuffled_stack
from pipelines.trainers.optimizers import build_optimizer
from pipelines.trainers.stacking import Stack, says_stackable, seeds_of_a_stack, train_together
from pipelines.trainers.trainer import Trained


def stack_size(config: DictConfig, data: Data) -> int:
    """Number of seeds that are best trained together; 1 where a stack would not be the same training, or would take as
    long as one model after the other.
    """
    model, formula = target(config, "model"), formula_of(config)
    if not (
        says_stackable(model)
        and (formula or says_stackable(target(config, "loss")))
        and target(config, "sampler") is shuffled_batches
    ):
        return 1
    most = seeds_of_a_stack(config, (data.n_users + data.n_items) * model.columns(config.model))
    return min(most, formula.most or most) if formula else most


def train_stack(
    config: DictConfig, data: Data, seeds: Sequence[int], sooner: Sequence[DictConfig] = ()
) -> list[Trained]:
    """Train by the config from each seed, as `pipelines.trainers.factorization.loop.train` does unwatched.

    Args:
        config: of which `stack_size` is above 1.
        data: ratings, of which `train` and `validation` are read.
        seeds: of the models.
        sooner: configs with other endings, `Trainer.train_stack`.
    """
    torch.set_num_threads(config.training.threads)
    injected = inject(config, data)
    data = without_quarantined(config, injected.data)
    inits, orders, negatives = zip(*(generators(seed, 3) for seed in seeds), strict=True)
    alone = loss_of(config, data)

    formula, rows = formula_of(config), config.training.batch_size

    def epoch(stack: Stack, places: Sequence[int]) -> tuple[Tensor, int]:
        if formula is None:
            step = _by_autograd(loss_of(config, data, [negatives[place] for place in places]), stack)
        else:
            step = _by_formula(formula(stack.model, alone), stack)
        total, steps = torch.zeros(len(places), dtype=torch.float64), 0
        for batch in shuffled_stack(data.train, rows, [orders[place] for place in places]):
            total += step(batch).double() * batch.users.shape[-1]
            steps += 1
        return total / len(data.train), steps

    models = [build_model(config, data, init) for init in inits]
    return train_together(
        models,
        config.training,
        lambda model: build_optimizer(config, model.parameters()),
        epoch,
        lambda place: alone.held_out(models[place], data.validation),
        lambda model: hooks_of(config, data, injected, model),
        [one.training for one in sooner],
    )


def _by_autograd(loss: Loss, stack: Stack) -> Callable[[Examples], Tensor]:
    """Make a call that takes a step on a batch, and returns the data loss of each model, shape (models,)."""

    def step(batch: Examples) -> Tensor:
        data_loss, penalty = loss.terms(stack.model, batch)
        stack.step(data_loss + penalty)
        return data_loss.detach()

    return step


def _by_formula(gradients: Gradients, stack: Stack) -> Callable[[Examples], Tensor]:
    """Make the same call where the gradients have a formula."""

    def step(batch: Examples) -> Tensor:
        losses = gradients.set(batch)
        stack.follow_gradients()
        return losses

    return step
