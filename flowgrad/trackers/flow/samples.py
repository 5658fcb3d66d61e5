"""Compares gradients over time, by samples of their entries."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import torch

SAMPLE = 1024
"""Number of entries of a gradient that are compared over time, at most; evenly spaced in the tensor."""
_KEYS = ("last", "total", "total_before")


class GradientSamples:
    """Samples of the gradients of a device's tensors: one at a time, and their sums. Only tensors that had a gradient
    to sample take memory.
    """

    def __init__(self, count: int, device: torch.device) -> None:
        """Start with none of `count` tensors sampled."""
        self._count, self._device = count, device
        self._places: dict[int, int] = {}
        """Row of each tensor that was ever sampled."""
        self._now, self._last, self._total, self._total_before = (
            torch.zeros(0, SAMPLE, device=device) for _ in range(4)
        )

    def begin(self) -> None:
        """Begin a look: no tensor has a gradient yet."""
        self._now = torch.zeros_like(self._last)

    def take(self, gradients: Mapping[int, torch.Tensor], scale: torch.Tensor | None) -> None:
        """Take samples of gradients, by tensor; `scale` is the factor that they are still multiplied by."""
        if not gradients:
            return
        if fresh := [i for i in gradients if i not in self._places]:
            self._make_places(fresh)
        parts = [sampled(gradient) for gradient in gradients.values()]
        rows = [self._now[self._places[i]] for i in gradients]
        torch._foreach_copy_([row[: len(part)] for row, part in zip(rows, parts, strict=True)], parts)
        if scale is not None:
            for row in rows:
                row.div_(scale)

    def _make_places(self, fresh: list[int]) -> None:
        self._places.update(zip(fresh, range(len(self._places), self._count), strict=False))
        more = torch.zeros(len(fresh), SAMPLE, device=self._device)
        self._now, self._last, self._total, self._total_before = (
            torch.cat([rows, more]) for rows in (self._now, self._last, self._total, self._total_before)
        )

    def end(self) -> tuple[list[int], torch.Tensor]:
        """End the look: add the samples to those before.

        Returns:
            The tensors that were ever sampled; and inner products of their samples with those of the look before, and
            with themselves, shape (2 * tensors,).
        """
        self._total.add_(self._now)
        products = torch.cat([torch.linalg.vecdot(self._now, self._last), torch.linalg.vecdot(self._now, self._now)])
        self._last = self._now
        return list(self._places), products

    def turn(self) -> None:
        """Begin a new block of looks."""
        self._total, self._total_before = self._total_before.zero_(), self._total

    def norms(self) -> torch.Tensor:
        """Norms of the sums over this block of looks and over the one before, shape (2, tensors)."""
        found = torch.zeros(2, self._count, device=self._device)
        found[:, list(self._places)] = torch.stack([self._total.norm(dim=1), self._total_before.norm(dim=1)])
        return found

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint: the sums over looks, of every tensor, shape (tensors, SAMPLE)."""
        rows = dict(zip(_KEYS, (self._last, self._total, self._total_before), strict=True))
        state = {key: torch.zeros(self._count, SAMPLE, device=self._device) for key in _KEYS}
        for key, own in rows.items():
            state[key][list(self._places)] = own
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        given = [state[key].to(self._device) for key in _KEYS]
        self._places = {}
        self._now, self._last, self._total, self._total_before = (self._total[:0] for _ in range(4))
        known = torch.stack([rows.any(1) for rows in given]).any(0).nonzero().flatten()
        self._make_places(known.tolist())
        self._last, self._total, self._total_before = (rows[known] for rows in given)
        self._now = self._last


def sampled(values: torch.Tensor) -> torch.Tensor:
    """Evenly spaced entries of a dense tensor, at most `SAMPLE`; a view wherever its memory allows, shape (n,)."""
    count = values.numel()
    flat = values.view(-1) if values.is_contiguous() else values.reshape(-1)
    if count <= SAMPLE:
        return flat
    return flat[:: _stride(count)]


@functools.cache
def _stride(count: int) -> int:
    """Distance between the entries taken of so many."""
    stride = -(-count // SAMPLE)
    # A stride that divides the rows would see a few of the columns only.
    while math.gcd(stride, count) > 1:
        stride += 1
    return stride
