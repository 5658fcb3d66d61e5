"""How often each row was looked up."""

from __future__ import annotations

import torch

BUFFERED = 65_536
"""Lookups that wait until they are counted: an operation a step costs more than its share of one on many."""
FIRST = 16
"""Batches at the start that are counted at once, to see whether the loop fills the same memory again."""


class LookupCounter:
    """Counts lookups by row. Ids are kept by reference and counted in bulk.

    A loop that fills one tensor, or a ring of them, with its next batch is recognised by the addresses: what is kept
    here cannot be given to another tensor, so an address that comes again is memory in use again. From then on ids
    are counted as they come. Only a ring of more than 16 tensors escapes, with one batch counted wrongly.
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        # Written to here, so that the system hands out the memory now and not page by page while training runs.
        self._counts = torch.empty(rows, dtype=torch.int32, device=device).zero_()
        self._ones = self._counts.new_ones(0)
        self._kept: list[torch.Tensor] = []
        self._addresses: set[int] = set()
        self._waiting = 0
        self._batches = 0
        self._at_once = True
        self._memory_comes_again = False
        self.total = 0
        """Lookups so far."""

    def add(self, ids: torch.Tensor) -> None:
        """Note lookups of `ids`, int64 of shape (n,)."""
        count = len(ids)
        if not count:
            return
        self.total += count
        if self._memory_comes_again:
            self._count(ids)
            return
        address = ids.data_ptr()
        if address in self._addresses:
            self._memory_comes_again = True
            self._flush()
            self._count(ids)
            return
        self._addresses.add(address)
        self._kept.append(ids)
        self._batches += 1
        if self._at_once:
            self._count(ids)
            if self._batches > FIRST:
                self._at_once = False
                self._kept.clear()
                self._addresses.clear()
            return
        self._waiting += count
        if self._waiting >= BUFFERED:
            self._flush()

    def counts(self) -> torch.Tensor:
        """Lookups of each row, shape (rows,). Not a copy."""
        self._flush()
        return self._counts

    def load(self, counts: torch.Tensor, total: int) -> None:
        """Go on from these counts."""
        self.__init__(len(self._counts), self._counts.device)  # type: ignore[misc]
        self._counts = counts.to(self._counts.device, copy=True)
        self.total = total

    def _flush(self) -> None:
        if self._at_once:
            if self._memory_comes_again:
                self._kept.clear()
            return
        for ids in self._kept:
            self._count(ids)
        self._kept.clear()
        self._addresses.clear()
        self._waiting = 0

    def _count(self, ids: torch.Tensor) -> None:
        if self.total > 2**31 - 1 and self._counts.dtype == torch.int32:
            self._counts = self._counts.long()  # one row may have had them all
        if len(ids) != len(self._ones) or self._ones.dtype != self._counts.dtype:
            self._ones = self._counts.new_ones(len(ids))
        self._counts.scatter_add_(0, ids, self._ones)
