"""Sums sparse gradients by row once, for a look and for the step of an optimizer that would do it itself."""

from __future__ import annotations

import torch
from torch.optim import Adagrad, SparseAdam
from torch.optim.optimizer import Optimizer


def sums_by_row(optimizer: Optimizer) -> bool:
    """Tell whether a step reads sparse gradients by `coalesce()` alone, and nothing but FlowGrad changes them between
    now, within a hook before it, and then.
    """
    if type(optimizer) not in (SparseAdam, Adagrad):
        return False
    return all(_own(hook) for hook in optimizer._optimizer_step_pre_hooks.values())


def _own(hook: object) -> bool:
    return str(getattr(hook, "__module__", "")).partition(".")[0] == __name__.partition(".")[0]


class SharedSums:
    """Puts coalesced gradients in the place of those that a step reads, from right before it to right after it. The
    step's own `coalesce()` returns these as they are, so that it computes what it would have, bit for bit.
    """

    def __init__(self) -> None:
        self._lent: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]] = []
        """Tensors, with their gradients, these coalesced, and the version of that then."""

    def lend(self, parameter: torch.Tensor) -> torch.Tensor:
        """Coalesce the gradient of a tensor until `take_back`, and return it."""
        gradient = parameter.grad
        assert gradient is not None
        coalesced = gradient.coalesce()
        if coalesced is not gradient:
            parameter.grad = coalesced
            self._lent.append((parameter, gradient, coalesced, coalesced._version))
        return coalesced

    def take_back(self) -> None:
        """Give each tensor its gradient back, unless somebody has replaced or changed it meanwhile."""
        for parameter, gradient, coalesced, version in self._lent:
            if parameter.grad is coalesced and coalesced._version == version:
                parameter.grad = gradient
        self._lent.clear()
