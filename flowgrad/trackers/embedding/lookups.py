"""Counts how often each row was looked up."""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

import torch

MOST_BATCHES = 64
"""Number of batches that are kept at most."""
KEPT = 32_768
"""Number of lookups that are kept before they are counted, at most. A count is one write at a random place of memory,
and the training has driven what lay there out of the cache; counted together, the rows looked up often are fetched
once. Where one batch has more lookups than the table has rows, nothing is won by waiting.
"""
_KEPT_ONE_IN, _KEPT_AT_LEAST = 16, 4_096
"""Number of rows of a table for each of which one lookup may be kept, and number that may be in any case: what waits is
not to take much of the table's memory.
"""
_ones: WeakValueDictionary[tuple[torch.device, torch.dtype], torch.Tensor] = WeakValueDictionary()
"""Ones by device and type, which the counters share: an expanded one takes the slow way through `scatter_add_`."""


class LookupCounter:
    """Counts lookups by row. Ids are copied as they come, for a loop may write its next batch over them."""

    def __init__(self, rows: int, device: torch.device) -> None:
        self.device = device
        # Written to here, so that the system hands out the memory now and not page by page while training runs.
        self._counts = torch.empty(rows, dtype=torch.int32, device=device).zero_()
        self.total = 0
        """Number of lookups so far."""
        self._kept = torch.empty(0, dtype=torch.int64, device=device)
        self._size = -1
        """Number of lookups of each batch that is kept: all have as many."""
        self._places: list[torch.Tensor] = []
        """Tensors that such batches are copied to."""
        self._filled = 0
        """Number of these tensors that hold a batch."""
        self._ones = self._counts.new_ones(0)

    @property
    def counts(self) -> torch.Tensor:
        """Number of lookups of each row, shape (rows,). The counter goes on writing to it."""
        self._count()
        return self._counts

    def add(self, ids: torch.Tensor) -> None:
        """Note lookups of `ids`, int64 of shape (n,)."""
        size = ids.numel()
        self.total += size
        if size != self._size:
            self._make_places(size)
        if not self._places:
            self._write(ids)
            return
        self._places[self._filled].copy_(ids)
        self._filled += 1
        if self._filled == len(self._places):
            self._count()

    def _make_places(self, size: int) -> None:
        self._count()
        self._size = size
        rows = len(self._counts)
        most = min(KEPT, max(rows // _KEPT_ONE_IN, _KEPT_AT_LEAST))
        waits = 0 < size <= min(most, rows)
        batches = min(most // size, MOST_BATCHES) if waits else 0
        if waits and not len(self._kept):
            self._kept = torch.empty(most, dtype=torch.int64, device=self.device).zero_()
        self._places = list(self._kept[: batches * size].split(size)) if waits else []

    def _count(self) -> None:
        if self._filled:
            self._write(self._kept[: self._filled * self._size])
            self._filled = 0

    def _write(self, ids: torch.Tensor) -> None:
        if self.total > 2**31 - 1 and self._counts.dtype == torch.int32:
            self._counts = self._counts.long()  # one row may have had them all
        self._counts.scatter_add_(0, ids, self._some_ones(ids.numel()))

    def _some_ones(self, size: int) -> torch.Tensor:
        ones, counts = self._ones, self._counts
        if len(ones) < size or ones.dtype != counts.dtype:
            kind = counts.device, counts.dtype
            known = _ones.get(kind)
            if known is None or len(known) < size:
                known = _ones[kind] = counts.new_ones(size)
            ones = self._ones = known
        return ones if len(ones) == size else ones[:size]

    def __getstate__(self) -> dict[str, Any]:
        self._count()  # each kept tensor is a view of one buffer, and would be written with the whole of it
        dropped: dict[str, Any] = {"_kept": None, "_places": [], "_ones": None, "_size": -1}
        return self.__dict__ | dropped

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._kept = torch.empty(0, dtype=torch.int64, device=self.device)
        self._ones = self._counts.new_ones(0)

    def load(self, counts: torch.Tensor, total: int) -> None:
        """Go on from these counts."""
        self._filled = 0
        self._counts = counts.to(self.device, copy=True)
        self.total = total
