"""Knows gradients that lay there before a training began: those of a teacher from its own, for example."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import ref

import torch


class Leftovers:
    """The gradients that tensors had when tracking began, as long as nothing is written to them."""

    def __init__(self, parameters: Sequence[torch.Tensor]) -> None:
        self._parameters = parameters
        self._marks = {i: (ref(g), g._version) for i, p in enumerate(parameters) if (g := p.grad) is not None}

    def still(self) -> list[int]:
        """Places of the tensors whose gradient is as it was then."""
        for i in [i for i, mark in self._marks.items() if not self._is(i, *mark)]:
            del self._marks[i]
        return list(self._marks)

    def _is(self, i: int, gradient: ref[torch.Tensor], version: int) -> bool:
        there = self._parameters[i].grad
        return there is not None and there is gradient() and there._version == version
