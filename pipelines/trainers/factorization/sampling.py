"""Draws the order of training examples."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from pipelines.data.ratings import Examples


def shuffled_batches(examples: Examples, batch_size: int, generator: torch.Generator) -> Iterator[Examples]:
    """Yield one epoch: every example once, in random order, in batches of `batch_size` (the last is smaller)."""
    # Shuffled as a whole, so that a batch is a view and costs nothing.
    shuffled = examples[torch.randperm(len(examples), generator=generator)]
    for start in range(0, len(examples), batch_size):
        yield shuffled[slice(start, start + batch_size)]
