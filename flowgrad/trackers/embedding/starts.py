"""Says whether anything but the optimizer writes to the rows, between the end of an epoch and the next lookup."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional

_NUMBERS = ("compared", "rewritten", "repeated", "_cosines")


class EpochStarts:
    """Compares rows at the end of an epoch with the same rows when the next one begins."""

    def __init__(self) -> None:
        self.compared = 0
        """Number of epochs whose start was compared with the end of the one before."""
        self.rewritten = 0
        """Number of epochs among these that began with other weights."""
        self.repeated = 0
        """Number of epochs among those that began with the very weights that an epoch before began with."""
        self._cosines = 0.0
        self._ended: tuple[torch.Tensor, torch.Tensor] | None = None
        """Ids and weights of some rows at the end of the last epoch, until the next lookup."""
        self._began: torch.Tensor | None = None
        """Weights of the same rows when the last epoch began."""

    @property
    def waiting(self) -> bool:
        """Whether an epoch has ended since the last lookup."""
        return self._ended is not None

    @property
    def cosine(self) -> float:
        """Mean cosine, in [-1, 1], of the rows rewritten with their former values; NaN where none were."""
        return self._cosines / self.rewritten if self.rewritten else math.nan

    def ended(self, weight: torch.Tensor, rows: torch.Tensor) -> None:
        """Note `rows` of the table, ids of shape (n,), at the end of an epoch."""
        self._ended = rows, weight.detach().index_select(0, rows)

    def begins(self, weight: torch.Tensor) -> None:
        """Compare with the table at the first lookup after that."""
        if self._ended is None:
            return
        rows, before = self._ended
        self._ended = None
        now = weight.detach().index_select(0, rows)
        self.compared += 1
        if not torch.equal(now, before):
            self.rewritten += 1
            self._cosines += float(functional.cosine_similarity(now.double(), before.double(), dim=1).mean())
            self.repeated += self._began is not None and torch.equal(now, self._began)
        self._began = now

    def state_dict(self) -> dict[str, Any]:
        """State of everything, as numbers and tensors (copies)."""
        rows, weights = self._ended or (None, None)
        tensors = {"rows": rows, "weights": weights, "began": self._began}
        copied = {name: None if tensor is None else tensor.clone() for name, tensor in tensors.items()}
        return copied | {name: getattr(self, name) for name in _NUMBERS}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from a state that `state_dict` gave."""
        for name in _NUMBERS:
            setattr(self, name, state[name])
        rows, weights, self._began = (
            None if state[name] is None else state[name].to(device, copy=True) for name in ("rows", "weights", "began")
        )
        self._ended = None if rows is None or weights is None else (rows, weights)
