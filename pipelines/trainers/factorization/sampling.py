"""Draws the order of training examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pipelines.data.ratings import Examples


def shuffled_batches(examples: Examples, batch_size: int, generator: torch.Generator) -> Iterator[Examples]:
    """Yield one epoch: every example once, in random order, in batches of `batch_size` (the last is smaller)."""
    return _batches(examples, torch.randperm(len(examples), generator=generator), batch_size)


def shuffled_stack(examples: Examples, batch_size: int, generators: Sequence[torch.Generator]) -> Iterator[Examples]:
    """Yield one epoch of several models: batches of shape (models, n), in which each has those that `shuffled_batches`
    yields by its generator.
    """
    orders = torch.stack([torch.randperm(len(examples), generator=generator) for generator in generators])
    return _batches(examples, orders, batch_size)


def _batches(examples: Examples, order: Tensor, batch_size: int) -> Iterator[Examples]:
    # Shuffled as a whole, so that a batch is a view and costs nothing.
    shuffled = Examples(*(held.expand_as(order).gather(-1, order) for held in vars(examples).values()))
    for start in range(0, order.shape[-1], batch_size):
        yield shuffled[..., start : start + batch_size]
