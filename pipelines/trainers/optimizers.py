"""Builds optimizers, as the config names them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import Any

import torch
from omegaconf import DictConfig

from flowgrad.errors import FlowGradError
from pipelines.config.targets import target


def build_optimizer(
    config: DictConfig, parameters: Iterable[torch.nn.Parameter] | list[dict[str, Any]]
) -> torch.optim.Optimizer:
    """Build the optimizer that the `optimizer` node names, over parameters or groups of them.

    Raises:
        FlowGradError: as `check_optimizer`; or the class refuses these parameters.
    """
    made, given = _checked(config)
    _leave_compiler_out(made)
    try:
        return made(parameters, lr=config.optimizer.lr, **given)
    except (TypeError, ValueError) as error:
        raise FlowGradError(
            f"optimizer._target_={config.optimizer._target_} cannot train this model: {error}"
        ) from error


def bare_step(optimizer: torch.optim.Optimizer) -> Callable[[], Any]:
    """Make a call that steps the optimizer without hooks and profiler, which take as long as the step of a small
    model; so does looking up the state of each parameter anew, which fused Adam is spared.
    """
    step = torch.no_grad()(partial(inspect.unwrap(type(optimizer).step), optimizer))
    fused = len(optimizer.param_groups) == 1 and optimizer.param_groups[0].get("fused")
    return _FusedAdam(optimizer, step) if fused and type(optimizer) in _FUSED_ADAMS else step


_FUSED_ADAMS = {torch.optim.Adam: torch._fused_adam_, torch.optim.AdamW: torch._fused_adamw_}
"""Functions that compute one step of all parameters, as torch's optimizers do."""


class _FusedAdam:
    """Step of a fused Adam by its kernel alone, from the second one on."""

    def __init__(self, optimizer: torch.optim.Optimizer, step: Callable[[], Any]) -> None:
        self._optimizer, self._step, self._kernel = optimizer, step, _FUSED_ADAMS[type(optimizer)]
        (self._group,) = optimizer.param_groups
        self._state: list[list[torch.Tensor]] = []

    def __call__(self) -> None:
        """Take a step by the gradients that the parameters hold."""
        group, parameters = self._group, self._group["params"]
        gradients = [parameter.grad for parameter in parameters]
        whole = all(gradient is not None for gradient in gradients)
        if not (whole and self._state):
            self._step()
            self._state = self._found() if whole else []
            return
        (first, second), (means, squares, steps) = group["betas"], self._state
        with torch.no_grad():
            torch._foreach_add_(steps, 1)
            self._kernel(
                parameters, gradients, means, squares, [], steps, lr=group["lr"], beta1=first, beta2=second,
                weight_decay=group["weight_decay"], eps=group["eps"], amsgrad=False, maximize=False,
            )  # fmt: skip

    def _found(self) -> list[list[torch.Tensor]]:
        """State that the optimizer holds of all parameters, by its kind."""
        held = [self._optimizer.state[parameter] for parameter in self._group["params"]]
        return [[one[name] for one in held] for name in ("exp_avg", "exp_avg_sq", "step")]


def _leave_compiler_out(kind: Any) -> None:
    """Keep torch from importing its compiler, which takes as long as a short run. Its optimizers ask the compiler to
    leave two methods alone when they are made, and to break its graph at each step; where nothing is compiled neither
    is of use.
    """
    if "torch._dynamo" in sys.modules or not kind.__module__.startswith("torch.optim."):
        return
    for method in (torch.optim.Optimizer.add_param_group, torch.optim.Optimizer.zero_grad):
        plain = getattr(method, "__wrapped__", None)
        if plain is not None:
            plain.__dynamo_disable = plain
    step = kind.step
    if not getattr(step, "hooked", False):  # by the first optimizer of the class, which puts hooks around this one
        kind.step = wraps(step)(torch.no_grad()(inspect.unwrap(step)))


def check_optimizer(config: DictConfig) -> None:
    """Refuse a class that is no optimizer, or that needs to be called in another way, and settings that it lacks.

    Raises:
        FlowGradError: names the key, the value and what would be right.
    """
    _checked(config)


def _checked(config: DictConfig) -> tuple[Callable[..., torch.optim.Optimizer], dict[str, Any]]:
    """Class of the optimizer, and its arguments besides parameters and learning rate."""
    cls = target(config, "optimizer")
    if not (isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer)):
        raise FlowGradError(f"optimizer._target_={config.optimizer._target_} is no optimizer; use optimizer=adam")
    if inspect.signature(cls.step).parameters["closure"].default is inspect.Parameter.empty:
        raise FlowGradError(
            f"optimizer._target_={config.optimizer._target_} computes the loss several times a step, which this loop "
            "does not; use optimizer=adam"
        )
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
    return cls, given
