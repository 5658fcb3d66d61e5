"""Keeps the second moment of gradients, for optimizers that keep none."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from flowgrad.trackers import schedules
from flowgrad.trackers.flow.look import apart
from flowgrad.trackers.watching import OPTIMIZER, Watching

_EVERY = 10


class SquaredGradients(Watching):
    """Running means of the gradient and of its square, of every tensor that an optimizer without them trains.

    Adam and its like keep both; SGD does not, and compression by them needs them from somewhere::

        squares = SquaredGradients(optimizer)     # before training
        ...
        SaliencyAnalyzer(tracker, squares=squares)

    Gradients are read right before the optimizer steps, as it is going to use them. Sampling every tenth step with a
    decay of .99 is a window of a thousand steps, that of Adam's defaults. It takes two numbers a weight on its device,
    and at a sampled step two passes over the gradients. Training is not disturbed: an error at a step is warned of
    once, and the steps from there on are not seen.
    """

    name = "squared gradients"

    def __init__(
        self, optimizer: Optimizer, *, decay: float = 0.99, schedule: schedules.Schedule | None = None
    ) -> None:
        """Attach to `optimizer`.

        Args:
            optimizer: any of `torch.optim`, or of that interface.
            decay: of the running means, between two sampled steps.
            schedule: number of a step (from 1) -> whether it is sampled; None: every tenth.

        Raises:
            TypeError: `optimizer` has no step hooks.
            ValueError: `decay` outside [0, 1).
        """
        if not hasattr(optimizer, "register_step_pre_hook"):
            raise TypeError(f"optimizer is {type(optimizer).__name__}, which has no step hooks as torch.optim's have")
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay}: must be 0 or more, and below 1")
        self.decay = decay
        self._schedule = schedules.every(_EVERY) if schedule is None else schedule
        self._steps = 0
        self._state: dict[nn.Parameter, dict[str, Any]] = {}
        self._handle = optimizer.register_step_pre_hook(self._before_step)

    def _count(self) -> int:
        return self._steps

    def _before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._halt is not None:
            return
        try:
            self._look(optimizer)
        except Exception as error:
            self._failed(OPTIMIZER, error)

    @apart
    def _look(self, optimizer: Optimizer) -> None:
        self._steps += 1
        if not self._schedule(self._steps):
            return
        scale = getattr(optimizer, "grad_scale", None)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._add(parameter, parameter.grad, scale if isinstance(scale, torch.Tensor) else None)

    def _add(self, parameter: nn.Parameter, gradient: torch.Tensor, scale: torch.Tensor | None) -> None:
        kept = self._state.get(parameter)
        if kept is None:
            zeros = torch.zeros_like(parameter, dtype=torch.float32, requires_grad=False)
            kept = self._state[parameter] = {"first": zeros, "second": zeros.clone(), "looks": 0}
        kept["looks"] += 1
        fresh = 1 - self.decay
        if gradient.layout == torch.strided:
            plain = gradient.float() if scale is None else gradient.float() / scale
            kept["first"].lerp_(plain, fresh)
            kept["second"].mul_(self.decay).addcmul_(plain, plain, value=fresh)
            return
        rows = gradient.coalesce()
        ids, values = rows.indices()[0], rows.values().float()
        values = values if scale is None else values / scale
        kept["first"].mul_(self.decay).index_add_(0, ids, values, alpha=fresh)
        kept["second"].mul_(self.decay).index_add_(0, ids, values * values, alpha=fresh)

    def of(self, parameter: nn.Parameter) -> tuple[torch.Tensor, torch.Tensor, int] | None:
        """Mean gradient, mean squared gradient (both float32, without the bias of their start at 0) and the number of
        sampled steps that they rest on; None where the parameter had no gradient at one.
        """
        kept = self._state.get(parameter)
        if kept is None:
            return None
        correction = 1 - self.decay ** kept["looks"]
        return kept["first"] / correction, kept["second"] / correction, int(kept["looks"])

    def detach(self) -> None:
        """Take the hook off the optimizer. The moments stay readable."""
        self._take_off((self._handle,))
