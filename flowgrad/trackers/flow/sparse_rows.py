"""Reads rows of sparse gradients, those of many tables together: a call a table would cost more than the rows do."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch

LOOKUPS = 128
"""Number of lookups of a table whose rows are read, about; of one with few lookups, all are."""
_HASH, _HASH_SHIFT = 0x9E3779B1, 20
"""Multiplier and shift that draw these rows from their ids (Knuth, The Art of Computer Programming 3, section 6.4)."""
_TABLE_SHIFT = 40
"""Number of bits that are left for the id where it stands behind the number of its table."""


class SparseRows(NamedTuple):
    """Rows of a sparse gradient."""

    ids: torch.Tensor
    """Their ids, ascending, shape (rows,)."""
    sums: torch.Tensor
    """Values of each row's lookups summed, shape (rows, dim)."""
    one_in: int
    """Number of rows of which one was read; 1: all were."""


def rows_of(gradients: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> list[SparseRows]:
    """Read the rows of gradients that are not coalesced.

    Args:
        gradients: of each the ids, int64 of shape (lookups,), and the values, shape (lookups, dim).
    """
    alike: dict[tuple[torch.Size, torch.dtype, torch.device], list[int]] = {}
    for k, (_, values) in enumerate(gradients):
        alike.setdefault((values.shape, values.dtype, values.device), []).append(k)
    found: dict[int, SparseRows] = {}
    for group in alike.values():
        found.update(zip(group, _together([gradients[k] for k in group]), strict=True))
    return [found[k] for k in range(len(gradients))]


def every_nth(ids: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Ids of the rows of a coalesced gradient that are read, and the number of rows of which one is.

    Args:
        ids: all of them, ascending, shape (rows,).
    """
    one_in = max(ids.shape[0] // LOOKUPS, 1)
    return ids[one_in // 2 :: one_in], one_in


def _together(gradients: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> list[SparseRows]:
    """Read the rows of gradients of the same shape."""
    keys = torch.stack([ids for ids, _ in gradients])
    tables, count = keys.shape
    one_in = 1 << max(count // LOOKUPS, 1).bit_length() - 1  # a power of two: a remainder costs a division
    firsts = _firsts(tables, keys.device)
    keys = keys.add_(firsts[:-1, None]).view(-1)
    counts, values = [count] * tables, [own for _, own in gradients]
    if one_in > 1:
        # Ids are often sorted by frequency, and then every n-th would always be the hottest row.
        bits = (one_in - 1) << _HASH_SHIFT
        drawn = (keys * _HASH).bitwise_and_(bits) == bits
        chosen, counts = _places(drawn, tables)
        if 0 in counts:
            drawn.view(tables, count)[[k for k, read in enumerate(counts) if not read]] = True
            chosen, counts = _places(drawn, tables)
        keys = keys.index_select(0, chosen)
        parts = chosen.remainder_(count).split(counts)
        values = [own.index_select(0, part) for own, part in zip(values, parts, strict=True)]
    keys, places = keys.unique(return_inverse=True)
    summed = torch.cat(values)
    sums = summed.new_zeros((len(keys), *summed.shape[1:])).index_add_(0, places, summed)
    ends = torch.searchsorted(keys, firsts).tolist()
    keys &= (1 << _TABLE_SHIFT) - 1
    return [
        SparseRows(keys[begin:end], sums[begin:end], one_in if read < count else 1)
        for begin, end, read in zip(ends[:-1], ends[1:], counts, strict=True)
    ]


def _places(drawn: torch.Tensor, tables: int) -> tuple[torch.Tensor, list[int]]:
    """Places of the lookups that were drawn, and their number in each table.

    Args:
        drawn: flags, those of a table behind those of another.
        tables: number of tables.
    """
    chosen = drawn.nonzero().view(-1)
    ends = torch.searchsorted(chosen, _ends(tables, len(drawn), drawn.device)).tolist()
    return chosen, [end - begin for begin, end in pairwise([0, *ends])]


@functools.cache
def _ends(tables: int, count: int, device: torch.device) -> torch.Tensor:
    """Place behind the last lookup of each of so many tables with `count` lookups together, shape (tables,)."""
    return torch.arange(1, tables + 1, device=device) * (count // tables)


@functools.cache
def _firsts(tables: int, device: torch.device) -> torch.Tensor:
    """First key of each of so many tables, and of one more, shape (tables + 1,)."""
    return torch.arange(tables + 1, device=device) << _TABLE_SHIFT
