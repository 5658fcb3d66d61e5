"""Finds tensors outside of the watched model that the loss leads to, and says whether they stand still."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any
from weakref import ref

import torch
from torch import nn

from flowgrad.trackers.flow.freshness import freshness
from flowgrad.trackers.flow.look import apart
from flowgrad.trackers.flow.parameters import Watched
from flowgrad.trackers.graph import leaves, node_of

LOOKS = (1, 16, 128, 1024, 8192)
"""Numbers of the losses told, since tracking began, whose graph is walked."""
_MOST = 256
"""Number of tensors that are followed."""
_ENTRIES = 64
"""Number of entries of each that are compared, evenly spaced."""


class Outside:
    """Tensors that ask for a gradient, take part in the loss, and are no parameters of the watched model.

    Most are those of another module that is trained beside it (a discriminator, an agent's critic); one that no
    optimizer moves is told. A tensor that the graphs of two losses lead to counts, so that inputs, which are made anew
    each time, do not.
    """

    def __init__(self, own: Collection[int]) -> None:
        """Start with nothing seen.

        Args:
            own: identities of the tensors that are watched, or are told of elsewhere.
        """
        self._own = own
        self._told = 0
        """Number of losses with a graph that were told since tracking began."""
        self._met: dict[int, tuple[ref[torch.Tensor], torch.Tensor, int]] = {}
        """Tensors by identity, with some entries at their first look and the number of looks that met them."""
        self._known: dict[str, float] = {}
        """Figures of before a checkpoint, as long as no later look has made others."""

    def due(self, loss: Any) -> bool:
        """Note that a loss was told; returns whether its graph is to be walked. One without a graph says nothing."""
        if node_of(loss) is None:
            return False
        self._told += 1
        return self._told in LOOKS

    def see(self, loss: Any, held: Collection[int]) -> None:
        """Walk the graph of a loss.

        Args:
            loss: as it was told.
            held: identities of the tensors of the optimizers that are known, which move them.
        """
        for leaf in leaves(node_of(loss)):
            if id(leaf) in self._own or id(leaf) in held or not _readable(leaf):
                continue
            known = self._met.get(id(leaf))
            if known is not None and known[0]() is leaf:
                self._met[id(leaf)] = (*known[:2], known[2] + 1)
            elif len(self._met) < _MOST:
                self._met[id(leaf)] = (ref(leaf), _some(leaf), 1)

    def figures(self) -> dict[str, float]:
        """Figures of `OUTSIDE`; NaN where the graphs of less than two losses were seen."""
        if self._told < LOOKS[1]:
            return self._known or dict.fromkeys(_NAMES, math.nan)
        met = [(there, first) for one, first, count in self._met.values() if count > 1 and (there := one()) is not None]
        still = [leaf for leaf, first in met if _alike(_some(leaf), first)]
        trained = sum(flag == 0 for flag in _fresh(still))
        self._known = dict(zip(_NAMES, (float(len(met)), float(len(still)), float(trained)), strict=True))
        return self._known

    def __getstate__(self) -> dict[str, Any]:
        """State of a copy or a pickle, which keeps the figures and follows no tensor."""
        return {**self.__dict__, "_known": self.figures(), "_told": 0, "_met": {}}

    def state_dict(self) -> dict[str, float]:
        """Figures so far."""
        return self.figures()

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a state: its figures stand until later looks make others."""
        self._told, self._met, self._known = 0, {}, dict(state)


_NAMES = ("outside_tensors", "outside_still", "outside_still_trained")


def _readable(leaf: torch.Tensor) -> bool:
    """Whether a tensor asks for a gradient and holds numbers, not a part of them as one that is sharded does."""
    plain = type(leaf) in (torch.Tensor, nn.Parameter) and leaf.layout == torch.strided
    return plain and leaf.requires_grad and leaf.numel() > 0 and leaf.device.type != "meta"


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether entries are the same; those that were converted or moved to another device since are not."""
    return (one.dtype, one.device, one.shape) == (other.dtype, other.device, other.shape) and torch.equal(one, other)


@apart
def _some(tensor: torch.Tensor) -> torch.Tensor:
    """Copy some entries, evenly spaced; a NaN, which equals nothing, counts as 0."""
    values = (torch.view_as_real(tensor) if tensor.is_complex() else tensor).detach().reshape(-1)
    return values[:: -(-len(values) // _ENTRIES)].nan_to_num().clone()


def _fresh(tensors: Sequence[torch.Tensor]) -> list[float]:
    """Flags of tensors that are as initialisers leave them; NaN where it cannot be told."""
    owner = nn.Module()
    shaped = [Watched(f"{i}.weight", nn.Parameter(one), owner) for i, one in enumerate(tensors) if one.dim() > 1]
    return freshness(shaped).tolist() if shaped else []
