"""Chooses the rows of a large table that are tracked closely."""

from __future__ import annotations

import math

import torch

GOLDEN = (math.sqrt(5) - 1) / 2


def even_rows(rows: int, size: int, device: torch.device) -> torch.Tensor:
    """Ids of `size` of so many rows, ascending and evenly spread over them, the first and the last among them."""
    # `linspace` is not used: the float32 that it computes in merges neighbours among more than 2^24 rows.
    return torch.arange(size, device=device) * (rows - 1) // max(1, size - 1)


def stratified_rows(lookups: torch.Tensor, size: int) -> torch.Tensor:
    """Ids of `size` rows, ascending: half the most looked up so far, half spread evenly over the ids of the rest.

    The first half sees to it that the head of a skewed catalogue is watched whole, the second that the tail is
    watched at all. No random numbers: the second half is a golden-ratio sequence, whatever order the ids stand in.

    Args:
        lookups: how often each row was looked up so far, shape (rows,), rows at least `size`.
        size: rows to choose.
    """
    device, rows = lookups.device, len(lookups)
    seen = (lookups > 0).nonzero().flatten()  # few of many: to order them all would take half a second in ten million
    head = seen[lookups[seen].topk(min(size // 2, len(seen))).indices]
    # Twice as many as needed: some stand in the head, and rounding may name one row twice.
    spread = (torch.arange(2 * size, dtype=torch.float64, device=device) * GOLDEN % 1 * rows).long().unique()
    rest = spread[~torch.isin(spread, head)]
    wanted = size - len(head)
    if len(rest) > wanted:
        rest = rest[even_rows(len(rest), wanted, device)]
    return torch.cat([head, rest]).sort().values
