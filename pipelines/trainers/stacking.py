"""Trains models of one kind and several seeds together, each as it would be trained alone."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from flowgrad import exits
from flowgrad.trackers import TrainingTracker
from pipelines.config.targets import target
from pipelines.trainers.early_stopping import EarlyStopping
from pipelines.trainers.optimizers import bare_step
from pipelines.trainers.stacked import place_of, stacked
from pipelines.trainers.trainer import Trained

_ELEMENTWISE = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad, torch.optim.SparseAdam)
"""Optimizers that move each parameter by its own gradients alone, so that one may move those of many models."""
_MOST_SEEDS = 16
_MOST_VALUES = 2**19
"""Parameters of a stack. Larger ones leave the processor's cache, and cost more than they save."""


def seeds_of_a_stack(config: DictConfig, values: int) -> int:
    """Number of models of so many values that are best trained together; 1 where the optimizer cannot, or where
    findings change each training by itself.
    """
    settings = config.optimizer
    elementwise = target(config, "optimizer") in _ELEMENTWISE and not (settings.sparse_gradients and settings.momentum)
    if config.training.treat or not elementwise:
        return 1
    return max(1, min(_MOST_SEEDS, _MOST_VALUES // values))


def says_stackable(made: type) -> bool:
    """Whether the class itself says that it works on stacks: one that inherits it may compute something else."""
    return bool(vars(made).get("stackable", False))


class Hook(Protocol):
    """Interface of what changes a training, or each of a stack, at every step."""

    def before_step(self) -> None:
        """Act once the gradients are there."""

    def after_step(self) -> None:
        """Act once the optimizer has stepped."""


class Stack:
    """Models as one, with the optimizer of all."""

    def __init__(
        self,
        models: Sequence[nn.Module],
        optimizer_of: Callable[[nn.Module], torch.optim.Optimizer],
        hooks_of: Callable[[Any], Sequence[Hook]] = lambda model: (),
    ) -> None:
        """Stack the models.

        Args:
            models: of one class and the same sizes; they learn what the stack learns.
            optimizer_of: makes the optimizer of the stack.
            hooks_of: makes the hooks of the stack.
        """
        self.model: Any = stacked(models)
        self._models, self._optimizer_of, self._hooks_of = models, optimizer_of, hooks_of
        self._hooks = hooks_of(self.model)
        self._parameters = list(self.model.parameters())
        self._optimizer = optimizer_of(self.model)
        self._take_step = bare_step(self._optimizer)

    def step(self, losses: Tensor) -> None:
        """Take a step on the loss of each model, shape (models,)."""
        losses.sum().backward()
        self.follow_gradients()
        for parameter in self._parameters:
            parameter.grad = None

    def follow_gradients(self) -> None:
        """Take a step by the gradients that the parameters hold."""
        for hook in self._hooks:
            hook.before_step()
        self._take_step()
        for hook in self._hooks:
            hook.after_step()

    def only(self, places: Sequence[int]) -> Stack:
        """Make the stack of some of the models, whose optimizer goes on from where theirs was."""
        fewer = Stack([self._models[place] for place in places], self._optimizer_of, self._hooks_of)
        for name, new in fewer.model.named_parameters():
            place = place_of(fewer.model, name)
            if place is None:
                fewer._optimizer.state[new] = self._state(self.model.get_parameter(name), places)
            else:
                old = self.model.get_parameter(f"{name.rpartition('.')[0]}.{places[place]}")
                fewer._optimizer.state[new] = self._optimizer.state[old]
        return fewer

    def _state(self, parameter: nn.Parameter, places: Sequence[int]) -> dict[str, Any]:
        """The optimizer's state of a parameter, of some of the models that it holds."""
        found = {}
        for name, held in self._optimizer.state[parameter].items():
            parts = (
                held.chunk(len(self._models)) if isinstance(held, Tensor) and held.shape == parameter.shape else None
            )
            found[name] = held if parts is None else torch.cat([parts[place] for place in places])
        return found


class _Run:
    """One model of a stack."""

    def __init__(self, model: nn.Module, settings: DictConfig, sooner: Sequence[DictConfig]) -> None:
        self._model, self._course, self._steps = model, TrainingTracker(), 0
        self._ending, self._sooner = _Ending(model, settings), [_Ending(model, one) for one in sooner]

    @property
    def ended(self) -> bool:
        """Whether it trains no more."""
        return self._ending.reached

    def end_epoch(self, steps: int, train_loss: float, validation_loss: float) -> None:
        """Note an epoch of so many steps; end where it would alone."""
        self._steps += steps
        self._course.end_epoch(train_loss, validation_loss)
        for ending in self._sooner:
            if not ending.reached and ending.ends(train_loss, validation_loss):
                ending.result = self._result(copy.deepcopy(self._model), ending)
        self._ending.ends(train_loss, validation_loss)

    def trained(self) -> Trained:
        """Go back to the best weights, and make the result."""
        made = self._result(self._model, self._ending)
        return replace(made, sooner=tuple(ending.result for ending in self._sooner))

    def _result(self, model: nn.Module, ending: _Ending) -> Trained:
        ending.stopping.restore(model)
        return Trained(model, self._course.train_losses, self._course.validation_losses, self._steps)


class _Ending:
    """A way for a run to end."""

    def __init__(self, model: nn.Module, settings: DictConfig) -> None:
        self._epochs_left, self.stopping = settings.epochs, EarlyStopping(settings, model)
        self.reached = False
        self.result: Trained | None = None
        """The run that ended so, where the model was trained on."""

    def ends(self, train_loss: float, validation_loss: float) -> bool:
        """Take the losses after an epoch; return whether it was the last."""
        self._epochs_left -= 1
        stops = not math.isfinite(train_loss) or self.stopping.ends(validation_loss)
        self.reached = stops or self._epochs_left == 0
        return self.reached


def train_together(
    models: Sequence[nn.Module],
    settings: DictConfig,
    optimizer_of: Callable[[nn.Module], torch.optim.Optimizer],
    epoch: Callable[[Stack, Sequence[int]], tuple[Tensor, int]],
    held_out: Callable[[int], float],
    hooks_of: Callable[[Any], Sequence[Hook]] = lambda model: (),
    sooner: Sequence[DictConfig] = (),
) -> list[Trained]:
    """Train models in epochs; each stops early, and goes back to its best weights, where the settings say so.

    Args:
        models: of one class and the same sizes, trained in place.
        settings: the config's `training`.
        optimizer_of: makes the optimizer of a stack.
        epoch: trains a stack of the models of these places for an epoch; returns the mean training loss of each, shape
            (models,), and the number of steps.
        held_out: validation loss of the model of a place.
        hooks_of: makes the hooks of a stack.
        sooner: settings with other endings; runs that end so on the way are results too, with models of their own.

    Returns:
        The run of each model, without an optimizer.
    """
    runs = [_Run(model, settings, sooner) for model in models]
    stack, places = Stack(models, optimizer_of, hooks_of), list(range(len(models)))
    while places:
        exits.raise_again()
        losses, steps = epoch(stack, places)
        for place, loss in zip(places, losses.tolist(), strict=True):
            runs[place].end_epoch(steps, loss, held_out(place))
        left = [at for at, place in enumerate(places) if not runs[place].ended]
        if 0 < len(left) < len(places):  # one that has ended costs no more
            stack = stack.only(left)
        places = [places[at] for at in left]
    return [run.trained() for run in runs]
