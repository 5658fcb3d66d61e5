"""A uniform sample of the distinct rows that went through a loop, with how often each came.

Rows are hashed bit by bit, and those with the smallest hashes are kept: a sample of the distinct rows, whatever the
order and however often each is repeated, that two loops over the same rows draw alike (bottom-k sampling; Cohen & Kaplan
2007, PODC; the estimate of distinct rows is that of Bar-Yossef et al. 2002, RANDOM). So a row of the validation set that
training saw is in both samples or in neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

SAMPLE = 2048
"""Distinct rows that are kept, unless told otherwise."""
WIDEST = 1024
"""Numbers of a row that are kept with it, evenly spaced; the hash is of all."""
_TOP = 2**62
_SEED = 20240229


class Hash:
    """Hashes of rows: equal where rows are equal bit by bit, else alike with a probability of 1 in 2^62."""

    def __init__(self) -> None:
        self._weights: dict[int, Tensor] = {}

    def __call__(self, columns: Mapping[str, Tensor]) -> Tensor:
        """Hashes below 2^62, int64 of shape (rows,), on the CPU. NaN hash alike where their bits are."""
        found: Tensor | int = 0
        for place, values in enumerate(columns.values()):
            bits = _bits(values.detach()).flatten(1)
            found = found + (bits * self._of(bits.shape[1], place, bits.device)).sum(1) * (2 * place + 1)
        assert isinstance(found, Tensor)
        return _mixed(found).cpu()

    def _of(self, width: int, place: int, device: torch.device) -> Tensor:
        key = hash((width, place, str(device)))
        if key not in self._weights:
            generator = torch.Generator().manual_seed(_SEED + place)
            drawn = torch.randint(-(2**62), 2**62, (width,), generator=generator) * 2 + 1
            self._weights[key] = drawn.to(device)
        return self._weights[key]


def _bits(values: Tensor) -> Tensor:
    """Numbers as int64 of the same shape, at least two-dimensional; 0 and -0 are one number."""
    values = values.reshape(len(values), -1)
    if values.is_complex():
        values = torch.view_as_real(values).flatten(1)
    if values.is_floating_point():
        return (values.double() + 0.0).view(torch.int64)
    return values.long()


def _mixed(keys: Tensor) -> Tensor:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014, OOPSLA), cut to 62 bits."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        keys = (keys ^ ((keys >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return (keys ^ ((keys >> 31) & ((1 << 33) - 1))) & (_TOP - 1)


class RowSample:
    """Distinct rows with the smallest hashes, their values, their targets, and how often each came."""

    def __init__(self, size: int = SAMPLE) -> None:
        self.size = size
        self.seen = 0
        """Rows that came, repeated ones too."""
        self.keys = torch.empty(0, dtype=torch.int64)
        """Hashes of the rows that are kept, in order."""
        self.times = torch.empty(0, dtype=torch.int64)
        """How often each came."""
        self.lately = torch.empty(0, dtype=torch.int64)
        """How often each came since `turn`."""
        self.values: Tensor | None = None
        """Rows kept, float64 of shape (kept, width)."""
        self.targets: Tensor | None = None
        """Their targets, float64 of shape (kept, width)."""
        self.full = False
        """Whether rows were let go."""

    @property
    def below(self) -> int:
        """Hash below which every distinct row is kept."""
        return int(self.keys[-1]) if self.full else _TOP

    @property
    def distinct(self) -> float:
        """Distinct rows that came; an estimate, within some 5 % at 2,048 rows kept, where more came than are kept."""
        return (len(self.keys) - 1) / max(self.below / _TOP, 1e-12) if self.full else float(len(self.keys))

    def see(self, keys: Tensor, columns: Mapping[str, Tensor], targets: Tensor | None) -> None:
        """Take a batch.

        Args:
            keys: hashes of its rows, shape (rows,).
            columns: its inputs, each of shape (rows, ...).
            targets: of shape (rows, ...); None where they are not known.
        """
        self.seen += len(keys)
        chosen = torch.nonzero(keys < self.below).flatten() if self.full else torch.arange(len(keys))
        if len(chosen):
            self._take(keys, chosen, columns, targets)

    def _take(self, keys: Tensor, chosen: Tensor, columns: Mapping[str, Tensor], targets: Tensor | None) -> None:
        own, codes, counts = torch.unique(keys[chosen], return_inverse=True, return_counts=True)
        first = torch.full((len(own),), len(chosen), dtype=torch.int64)
        first = first.scatter_reduce(0, codes, torch.arange(len(chosen)), "amin")
        places = torch.searchsorted(self.keys, own)
        known = torch.zeros(len(own), dtype=torch.bool)
        inside = places < len(self.keys)
        known[inside] = self.keys[places[inside]] == own[inside]
        self.times[places[known]] += counts[known]
        self.lately[places[known]] += counts[known]
        new = ~known
        if not bool(new.any()):
            return
        rows = chosen[first[new]]
        order = torch.argsort(torch.cat([self.keys, own[new]]))
        self.full = self.full or len(order) > self.size
        order = order[: self.size]
        kept = len(self.keys)
        self.values = _joined(self.values, kept, _numbers(columns, rows), order)
        self.targets = _joined(self.targets, kept, None if targets is None else _numbers({"": targets}, rows), order)
        self.keys = torch.cat([self.keys, own[new]])[order]
        self.times = torch.cat([self.times, counts[new]])[order]
        self.lately = torch.cat([self.lately, counts[new]])[order]
    def turn(self) -> None:
        """Begin to count anew how often each row comes."""
        self.lately = torch.zeros_like(self.lately)

    def state(self) -> dict[str, Any]:
        """All of it, as plain numbers and tensors."""
        return dict(vars(self))

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        for name in vars(self):
            value = state[name]
            setattr(self, name, value.clone() if isinstance(value, Tensor) else value)


def _joined(old: Tensor | None, kept: int, new: Tensor | None, order: Tensor) -> Tensor | None:
    """What is known of the rows kept, with that of new ones; None where some are of another width or unknown."""
    if new is None or (kept and (old is None or old.shape[1] != new.shape[1])):
        return None
    return (new if old is None else torch.cat([old, new]))[order]


def _numbers(columns: Mapping[str, Tensor], rows: Tensor) -> Tensor:
    """Some rows as float64, evenly spaced columns of at most `WIDEST`."""
    parts = [values.detach()[rows.to(values.device)].reshape(len(rows), -1).double().cpu() for values in columns.values()]
    whole = torch.cat(parts, 1)
    if whole.shape[1] > WIDEST:
        whole = whole[:, torch.linspace(0, whole.shape[1] - 1, WIDEST).round().long()]
    return whole
