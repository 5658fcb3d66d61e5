"""How often each row was looked up."""

from __future__ import annotations

import torch


class LookupCounter:
    """Counts lookups by row, as they come: ids are not kept, for a loop may write its next batch over them."""

    def __init__(self, rows: int, device: torch.device) -> None:
        # Written to here, so that the system hands out the memory now and not page by page while training runs.
        self.counts = torch.empty(rows, dtype=torch.int32, device=device).zero_()
        """Lookups of each row, shape (rows,)."""
        self.total = 0
        """Lookups so far."""
        self._ones = self.counts.new_ones(0)

    def add(self, ids: torch.Tensor) -> None:
        """Note lookups of `ids`, int64 of shape (n,)."""
        count = ids.numel()
        self.total += count
        if self.total > 2**31 - 1 and self.counts.dtype == torch.int32:
            self.counts = self.counts.long()  # one row may have had them all
        if count != self._ones.numel() or self._ones.dtype != self.counts.dtype:
            self._ones = self.counts.new_ones(count)
        self.counts.scatter_add_(0, ids, self._ones)

    def load(self, counts: torch.Tensor, total: int) -> None:
        """Go on from these counts."""
        self.counts = counts.to(self.counts.device, copy=True)
        self.total = total
