"""Samples the distinct rows of a loop uniformly, with how often each came.

Rows are hashed bit by bit, and those with the smallest hashes are kept: a sample of the distinct rows, whatever the
order and however often each is repeated, that two loops over the same rows draw alike (bottom-k sampling; Cohen &
Kaplan 2007, PODC; the estimate of distinct rows is that of Bar-Yossef et al. 2002, RANDOM). So a row of the validation
set that training saw is in both samples or in neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

SAMPLE = 2048
"""Number of distinct rows that are kept by default."""
MOST_COLUMNS = 64
"""Number of whole numbers in a row up to which each is a column of ids; more are a sequence."""
HASHED, WIDEST = 4096, 1024
"""Number of values of each input that a row's hash is made of, and number of values that are kept of a row; evenly
spaced.
"""
_TOP = 2**62
_SEED = 20240229


def are_columns(values: Tensor) -> bool:
    """Whether an input holds whole numbers of which each is a column of its own."""
    whole = not values.is_floating_point() and not values.is_complex() and values.dtype != torch.bool
    return whole and (values.ndim == 1 or (values.ndim == 2 and values.shape[1] <= MOST_COLUMNS))


class Hash:
    """Hashes rows: equal where rows are equal bit by bit, else alike by a chance of 1 in 2^62 where they differ in a
    number that is read.
    """

    def __init__(self) -> None:
        self._weights: dict[int, Tensor] = {}

    def __call__(self, columns: Mapping[str, Tensor]) -> Tensor:
        """Hashes below 2^62, int64 of shape (rows,), on the CPU. NaNs hash alike where their bits are."""
        return self.joined(self.of_parts(columns))

    def of_parts(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Hashes of each input's rows, int64 of shape (rows, k), where it is: k is the number of its columns where they
        are whole numbers, at most `MOST_COLUMNS`, else 1.
        """
        found = {}
        for place, (name, values) in enumerate(columns.items()):
            bits = _bits(values.detach())
            hashed = mixed(bits) * self._of(bits.shape[1], place, bits.device)
            found[name] = hashed if are_columns(values) else hashed.sum(1, keepdim=True)
        return found

    @staticmethod
    def joined(parts: Mapping[str, Tensor]) -> Tensor:
        """Hashes of whole rows from those of their parts, as calling gives them."""
        found: Tensor | int = 0
        for hashed in parts.values():
            found = found + hashed.sum(1)
        assert isinstance(found, Tensor)
        return mixed(found).cpu()

    def _of(self, width: int, place: int, device: torch.device) -> Tensor:
        key = hash((width, place, str(device)))
        if key not in self._weights:
            generator = torch.Generator().manual_seed(_SEED + place)
            drawn = torch.randint(-(2**62), 2**62, (width,), generator=generator) * 2 + 1
            self._weights[key] = drawn.to(device)
        return self._weights[key]


def _bits(values: Tensor) -> Tensor:
    """Evenly spaced numbers of each row as int64, shape (rows, numbers); 0 and -0 are one number."""
    values = values.reshape(len(values), -1)
    if values.is_complex():
        values = torch.view_as_real(values).flatten(1)
    values = spaced(values, HASHED)
    return number_bits(values)


def number_bits(values: Tensor) -> Tensor:
    """Real numbers as int64 of their shape, equal where they are equal as float64; 0 and -0 are one number."""
    if values.is_floating_point():
        return (values.double() + 0.0).view(torch.int64)
    return values.long()


def mixed(keys: Tensor) -> Tensor:
    """Keys mixed by the finaliser of SplitMix64 (Steele, Lea & Flood 2014, OOPSLA), cut to 62 bits."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        keys = (keys ^ ((keys >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return (keys ^ ((keys >> 31) & ((1 << 33) - 1))) & (_TOP - 1)


class RowSample:
    """Distinct rows with the smallest hashes, their values, their targets, and how often each came."""

    def __init__(self, size: int = SAMPLE) -> None:
        self.size = size
        self.seen = 0
        """Number of rows that came, repeated ones too."""
        self.keys = torch.empty(0, dtype=torch.int64)
        """Hashes of the rows that are kept, in order."""
        self.times = torch.empty(0, dtype=torch.int64)
        """Number of times each row came."""
        self.lately = torch.empty(0, dtype=torch.int64)
        """Number of times each row came since `turn`."""
        self.places = torch.empty(0, dtype=torch.int64)
        """Index of each row in what is kept of its values."""
        self.full = False
        """Whether rows were dropped."""
        self.kept: dict[str, Tensor | None] = {}
        """`values` and `targets`: float64 of shape (size, width), or None where rows differ in width or have none."""

    @property
    def below(self) -> int:
        """Hash, below 2^62, below which every distinct row is kept."""
        return int(self.keys[-1]) if self.full else _TOP

    @property
    def distinct(self) -> float:
        """Number of distinct rows that came; an estimate, within some 5 % at 2,048 rows kept, where more came than are
        kept.
        """
        return (len(self.keys) - 1) / max(self.below / _TOP, 1e-12) if self.full else float(len(self.keys))

    def rows(self, name: str) -> Tensor | None:
        """`values` or `targets` of the rows kept, in the order of `keys`, shape (rows, width); None: not known."""
        whole = self.kept.get(name)
        return None if whole is None else whole[self.places]

    def see(self, keys: Tensor, columns: Mapping[str, Tensor], targets: Tensor | None) -> None:
        """Take a batch.

        Args:
            keys: hashes of its rows, shape (rows,).
            columns: its inputs, each of shape (rows, ...).
            targets: of shape (rows, ...); None where they are not known.
        """
        self.seen += len(keys)
        chosen = torch.nonzero(keys < self.below).flatten() if self.full else torch.arange(len(keys))
        if not len(chosen):
            return
        own, codes, counts = torch.unique(keys[chosen], return_inverse=True, return_counts=True)
        known = member(own, self.keys)
        at = torch.searchsorted(self.keys, own[known])
        self.times[at] += counts[known]
        self.lately[at] += counts[known]
        if not bool(known.all()):
            first = torch.full((len(own),), len(chosen)).scatter_reduce(0, codes, torch.arange(len(chosen)), "amin")
            self._add(own[~known], counts[~known], chosen[first[~known]], columns, targets)

    def _add(
        self, keys: Tensor, counts: Tensor, rows: Tensor, columns: Mapping[str, Tensor], targets: Tensor | None
    ) -> None:
        """Take new rows, and drop those with the largest hashes."""
        before = len(self.keys)
        whole = torch.cat([self.keys, keys])
        order = torch.argsort(whole)
        self.full = self.full or len(order) > self.size
        order, gone = order[: self.size], order[self.size :]
        free = torch.cat([self.places[gone[gone < before]], torch.arange(before, min(self.size, len(whole)))])
        new = order[order >= before] - before
        places = torch.cat([self.places, torch.zeros_like(keys)])
        places[new + before] = free[: len(new)]
        for name, given in (("values", columns), ("targets", None if targets is None else {"": targets})):
            numbers = None if given is None else _numbers(given, rows[new])
            self._keep(name, numbers, places[new + before], before)
        self.keys, self.places = whole[order], places[order]
        self.times, self.lately = (torch.cat([old, counts])[order] for old in (self.times, self.lately))

    def _keep(self, name: str, numbers: Tensor | None, places: Tensor, before: int) -> None:
        store = self.kept.get(name)
        if numbers is None or (before and (store is None or store.shape[1] != numbers.shape[1])):
            self.kept[name] = None
            return
        if store is None:
            store = self.kept[name] = torch.zeros(self.size, numbers.shape[1], dtype=torch.float64)
        store[places] = numbers

    def turn(self) -> None:
        """Begin to count anew how often each row comes."""
        self.lately = torch.zeros_like(self.lately)

    def state(self) -> dict[str, Any]:
        """State of everything, as plain numbers and tensors of its own."""
        return {name: _copied(value) for name, value in vars(self).items()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        for name in vars(self):
            setattr(self, name, _copied(state[name]))


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _copied(one) for name, one in value.items()}
    return value.clone() if isinstance(value, Tensor) else value


def member(some: Tensor, ordered: Tensor) -> Tensor:
    """Flags of the numbers that stand among those in order, shape of `some`."""
    if not len(ordered):
        return torch.zeros(len(some), dtype=torch.bool)
    return ordered[torch.searchsorted(ordered, some).clamp(max=len(ordered) - 1)] == some


def _numbers(columns: Mapping[str, Tensor], rows: Tensor) -> Tensor:
    """Values of some rows as float64, evenly spaced columns of at most `WIDEST`."""
    parts = []
    for values in columns.values():
        own = values.detach()[rows.to(values.device)]
        parts.append(spaced(own.flatten(1) if own.ndim > 1 else own[:, None], WIDEST).double().cpu())
    return spaced(torch.cat(parts, 1), WIDEST)


def spaced(values: Tensor, most: int) -> Tensor:
    """Evenly spaced columns, at most so many."""
    width = values.shape[1]
    if width <= most:
        return values
    return values[:, torch.linspace(0, width - 1, most, device=values.device).round().long()]
