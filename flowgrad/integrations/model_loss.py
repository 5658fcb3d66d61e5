"""Reads the loss that a model puts out itself, where backward runs on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from flowgrad.trackers.hooks import TAKEN_OFF


class ModelLoss:
    """Forward hook of a model: keeps the loss of each pass, once backward has reached it.

    A loss that the loop does not train on, as where it computes one of its own from the outputs, is not kept. Copies of
    the model have a hook that does nothing.
    """

    def __init__(self) -> None:
        self._active = False
        self._means: list[torch.Tensor] = []
        """Losses of the batches of a step, each a mean over its own."""
        self._parts: list[torch.Tensor] = []
        """Losses of the batches of a step, each a part of the mean over all of them."""
        self._handle: Any = None

    def attach(self, model: nn.Module) -> None:
        """Put the hook on a model."""
        self._active = True
        self._handle = model.register_forward_hook(self, with_kwargs=True)

    def detach(self) -> None:
        """Take the hook off."""
        self._active = False
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def take(self, parts: float = 1.0) -> torch.Tensor | None:
        """Return the loss of the step that is about to be taken, and forget it; None where backward reached none.

        Args:
            parts: number of processes that a loss which is a part of the mean is one of.
        """
        means, self._means = self._means, []
        shares, self._parts = self._parts, []
        if shares:
            return torch.stack(shares).sum() * parts
        return torch.stack(means).mean() if means else None

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any = TAKEN_OFF
    ) -> None:
        """Note a pass in training; `num_items_in_batch` says that losses of a step add up to its mean."""
        if torch.compiler.is_compiling() or not self._active or not module.training or outputs is TAKEN_OFF:
            return
        loss = _loss_in(outputs)
        if loss is None or not loss.requires_grad:
            return
        kept = self._means if kwargs.get("num_items_in_batch") is None else self._parts
        loss.register_hook(_Reached(kept, loss.detach().reshape(()).clone()))  # a loop may write to the loss

    def __reduce__(self) -> tuple[Callable[[], ModelLoss], tuple[()]]:
        return ModelLoss, ()


class _Reached:
    """Hook of a loss: backward has reached it."""

    def __init__(self, kept: list[torch.Tensor], value: torch.Tensor) -> None:
        self._kept, self._value = kept, value

    def __call__(self, gradient: torch.Tensor) -> None:
        self._kept.append(self._value)


def _loss_in(outputs: Any) -> torch.Tensor | None:
    if isinstance(outputs, Mapping):
        found = outputs.get("loss")
    elif isinstance(outputs, tuple) and outputs:
        found = outputs[0]
    else:
        found = getattr(outputs, "loss", None)
    return found if isinstance(found, torch.Tensor) and found.numel() == 1 else None
