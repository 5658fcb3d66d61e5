"""Tells whether the losses of a training are one series: several optimizers share a loss, or each has its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowgrad.running.models import parameters_of

_REPLACED = 128
"""Number of losses in a row after which a further optimizer is taken to have replaced the one before."""


class OneLoss:
    """Lets losses through as long as they are one series.

    A generator and a discriminator have a loss of their own each, and no figure can rest on both together. Where an
    optimizer takes losses again after another one with other tensors did, they step in turns, and none is let through
    from then on. Those of the other are held back until then.
    """

    def __init__(self) -> None:
        self._taker: Any = None
        self._held: list[Any] = []
        self.separate = False
        """Whether optimizers have losses of their own."""

    def take(self, optimizer: Any, losses: Sequence[Any]) -> Sequence[Any]:
        """Return what is to be noted, of the losses that backward ran on before a step of an optimizer."""
        if not losses or self.separate:
            return ()
        if self._taker is optimizer:
            self.separate = bool(self._held)
            return () if self.separate else losses
        if self._taker is not None and parameters_of([self._taker]).isdisjoint(parameters_of([optimizer])):
            self._held += losses
            if len(self._held) <= _REPLACED:
                return ()
            losses = self.rest()
        self._taker = optimizer
        return losses

    def rest(self) -> Sequence[Any]:
        """Return what was held back, at the end of the training."""
        held, self._held = self._held, []
        return () if self.separate else held
