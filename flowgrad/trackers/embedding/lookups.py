"""Counts how often each row was looked up, and how high the ids of each column go."""

from __future__ import annotations

import math
from typing import Any
from weakref import WeakValueDictionary

import torch

_ones: WeakValueDictionary[tuple[torch.device, torch.dtype], torch.Tensor] = WeakValueDictionary()
"""Ones by device and type, which the counters share: an expanded one takes the slow way through `scatter_add_`."""


MOST_FIELDS = 64
"""Number of ids in a row up to which each is taken for a column of its own; more are a sequence."""


class FieldBounds:
    """Keeps the highest id of each column of some batches, where every lookup is of as many columns."""

    def __init__(self) -> None:
        self.highest: torch.Tensor | None = None
        """Highest id of each column, int64 of shape (columns,); None where none was seen, or they come otherwise."""
        self.otherwise = False
        """Whether lookups came in another shape."""

    def note(self, ids: torch.Tensor) -> None:
        """Note the ids of a batch, of any shape."""
        if self.otherwise or not ids.numel():
            return
        if ids.dim() != 2 or not 2 <= ids.size(1) <= MOST_FIELDS or not self._fits(ids):
            self.highest, self.otherwise = None, True
            return
        top = ids.amax(0).long()
        self.highest = top if self.highest is None else torch.maximum(self.highest, top)

    def _fits(self, ids: torch.Tensor) -> bool:
        return self.highest is None or (len(self.highest), self.highest.device) == (ids.size(1), ids.device)

    def rows(self) -> float:
        """Number of rows that the columns would have, each counted from 0 to its highest id, side by side; NaN where
        that is not known.
        """
        return math.nan if self.highest is None else float((self.highest + 1).sum())

    def state_dict(self) -> dict[str, Any]:
        """State of everything noted."""
        return {"highest": None if self.highest is None else self.highest.clone(), "otherwise": self.otherwise}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from a state."""
        self.otherwise = state["otherwise"]
        self.highest = None if state["highest"] is None else state["highest"].to(device, copy=True)


class LookupCounter:
    """Counts lookups by row."""

    def __init__(self, rows: int, device: torch.device) -> None:
        self.device = device
        # Written to here, so that the system hands out the memory now and not page by page while training runs.
        self.counts = torch.empty(rows, dtype=torch.int32, device=device).zero_()
        """Number of lookups of each row, shape (rows,). The counter goes on writing to it."""
        self.total = 0
        """Number of lookups so far."""
        self._ones = self._shared = self.counts.new_ones(0)

    def add(self, ids: torch.Tensor) -> None:
        """Count lookups of `ids`, int64 of shape (n,)."""
        size = ids.numel()
        self.total += size
        if self.total > 2**31 - 1 and self.counts.dtype == torch.int32:
            self.counts = self.counts.long()  # one row may have had them all
        ones = self._ones
        if len(ones) != size or ones.dtype != self.counts.dtype:
            ones = self._ones = self._some_ones(size)
        self.counts.scatter_add_(0, ids, ones)

    def _some_ones(self, size: int) -> torch.Tensor:
        kind = self.counts.device, self.counts.dtype
        known = _ones.get(kind)
        if known is None or len(known) < size:
            known = _ones[kind] = self.counts.new_ones(size)
        self._shared = known  # which lives as long as a counter has it
        return known if len(known) == size else known[:size]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_ones": None, "_shared": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._ones = self._shared = self.counts.new_ones(0)

    def load(self, counts: torch.Tensor, total: int) -> None:
        """Go on from these counts."""
        self.counts = counts.to(self.device, copy=True)
        self.total = total
