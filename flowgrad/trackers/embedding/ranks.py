"""Counts the ranks of a distributed run and sums over them; without such a run there is one rank."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import distributed


def world_size(group: distributed.ProcessGroup | None = None) -> int:
    """Number of ranks of `group`, of all that there are if None."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 1
    return distributed.get_world_size(group)


def total(tensor: torch.Tensor, group: distributed.ProcessGroup | None = None) -> torch.Tensor:
    """Sum of the ranks' tensors, all of one shape. It is a new tensor on every rank."""
    summed = tensor.clone()
    distributed.all_reduce(summed, op=distributed.ReduceOp.SUM, group=group)
    return summed


def highest(tensor: torch.Tensor, group: distributed.ProcessGroup | None = None) -> torch.Tensor:
    """Largest of the ranks' entries at each place, all of one shape. It is a new tensor on every rank."""
    found = tensor.clone()
    distributed.all_reduce(found, op=distributed.ReduceOp.MAX, group=group)
    return found


def agree(numbers: Sequence[int], device: torch.device, group: distributed.ProcessGroup | None = None) -> bool:
    """Whether all ranks hold the same numbers, as many on each. The answer is the same everywhere."""
    own = torch.tensor([*numbers, *(-number for number in numbers)], device=device)
    most = highest(own, group)
    return bool((most[: len(numbers)] == -most[len(numbers) :]).all())
