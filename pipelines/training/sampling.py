"""Order in which training examples are drawn."""

from __future__ import annotations

from collections.abc import Iterator

import torch


def shuffled_batches(count: int, batch_size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """One epoch: every index of 0..count-1 once, in random order, in batches of `batch_size` (the last is smaller)."""
    yield from torch.randperm(count, generator=generator).split(batch_size)
