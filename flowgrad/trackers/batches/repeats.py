"""Follows parts of the inputs that come again in other batches while the rest differs, as draws by the same seed do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from flowgrad.measures.repeated_draws import DRAWN, FIXED, PLAIN, kind_of_ids, kind_of_numbers
from flowgrad.trackers.batches.rows import are_columns, spaced

REMEMBERED = 64
"""Number of batches of an epoch, from its first, that are looked at."""
MOST_PARTS = 128
"""Number of parts of a batch up to which it is looked at; one of more, as of many columns, is left out."""
_SHOWN_ROWS, _SHOWN_WIDTH = 1024, 64
"""Number of rows and columns, evenly spaced, by which noise is told."""
_ODD = 0x1E3779B97F4A7C15

Keys = dict[str, int]
Keyed = tuple[int, Keys]
"""Rows of a batch, and the key of each of its parts."""


@dataclass(frozen=True)
class _Part:
    """A column of ids, its rows of one of two targets, or a tensor of other numbers."""

    place: int
    """Place of its tensor among the inputs."""
    column: int
    width: int
    """Number of parts that its tensor falls into, of each side."""
    side: str
    """`low` or `high`: rows of the lower or the higher of two targets; `all`: of any."""
    name: str


@dataclass(frozen=True)
class _Batch:
    """A batch whose parts came again, as far as it is looked at."""

    tensors: list[Tensor]
    """Its inputs."""
    lower: Tensor | None
    """Flags of the rows of the lower of two targets; None where there are not two."""
    simple: bool
    """Whether its targets have at most two values, or there are none."""

    def values(self, part: _Part) -> Tensor:
        """Numbers of a part, shape (rows, ...)."""
        values = self.tensors[part.place].detach()
        if are_columns(values) and values.ndim == 2:
            values = values[:, part.column]
        if part.side == "all" or self.lower is None:
            return values
        return values[self.lower if part.side == "low" else ~self.lower]


class Repeats:
    """Compares the parts of each batch with those of the batch before, and of the same place of the epoch before.

    A part counts where it looks drawn and all else that repeats explains nothing: rows that are kept on purpose, as in
    full-batch training with fresh negatives, repeat in most of their parts.
    """

    def __init__(self) -> None:
        self.now: list[Keyed] = []
        self.before: list[Keyed] = []
        self.followed = 0
        """Number of batches looked at with one of as many rows before them in their epoch."""
        self.compared = 0
        """Number of batches with one of as many rows at their place of the epoch before."""
        self.same: dict[str, int] = {}
        """Number of batches in which a part held the numbers of the batch before; by part."""
        self.again: dict[str, int] = {}
        """Number of batches in which it held those of the same place of the epoch before; by part."""
        self.rows: dict[str, int] = {}
        """Rows of each part that was counted, in the last such batch."""
        self._kinds: dict[str, tuple[int, str]] = {}
        """Kind of each part that repeated, with the key that it was found by."""

    def see(self, hashed: Mapping[str, Tensor], columns: Mapping[str, Tensor], targets: Tensor | None) -> None:
        """Take a batch.

        Args:
            hashed: hashes of its inputs, as `Hash.of_parts` gives them.
            columns: its inputs, each of shape (rows, ...).
            targets: of shape (rows, ...); None where they are not known.
        """
        place = len(self.now)
        if place == REMEMBERED:
            return
        tensors = list(columns.values())
        parts, keys, batch = _read(list(hashed.values()), tensors, targets)
        rows, now = len(tensors[0]), {part.name: key for part, key in zip(parts, keys, strict=True)}
        if len(parts) > MOST_PARTS:
            rows, now = 0, {}  # is compared with none
        elif place and self.now[-1][0] == rows:
            self.followed += 1
            self._compare(parts, now, self.now[-1][1], batch, self.same)
        if place < len(self.before) and self.before[place][0] == rows > 0:
            self.compared += 1
            self._compare(parts, now, self.before[place][1], batch, self.again)
        self.now.append((rows, now))

    def end_epoch(self) -> None:
        """Close the epoch."""
        if self.now:
            self.before, self.now = self.now, []

    def _compare(self, parts: Sequence[_Part], keys: Keys, other: Keys, batch: _Batch, times: dict[str, int]) -> None:
        """Count the parts that came again and look drawn, where the rest of the batch does not say that rows are
        kept.
        """
        found = [part for part in parts if other.get(part.name) == keys[part.name]]
        if not found or len(found) == len(parts):
            return
        kinds = {part: self._kind(part, keys[part.name], batch) for part in found}
        changed = [part for part in parts if part not in kinds]
        if not _draws(kinds, changed, batch):
            return
        # A part that is one number in all rows, as the day of a panel, does not say that these are other rows.
        changed = [part for part in changed if not _is_constant(batch.values(part))]
        for part in _draws(kinds, changed, batch):
            times[part.name] = times.get(part.name, 0) + 1
            self.rows[part.name] = len(batch.values(part))

    def _kind(self, part: _Part, key: int, batch: _Batch) -> str:
        known, kind = self._kinds.get(part.name, (None, ""))
        if known != key:
            kind = _kind_of(batch.values(part))
            self._kinds[part.name] = key, kind
        return kind

    def figures(self) -> dict[str, float]:
        """Every figure of `DRAW_MEASURES`; NaN where it is not known."""
        shares = {
            "draws_repeat_share": (self.same, self.followed),
            "draws_epoch_share": (self.again, self.compared),
        }
        found = {
            name: max(times.values(), default=0) / whole if whole else math.nan
            for name, (times, whole) in shares.items()
        }
        both = [times for times, _ in shares.values() if times]
        most = max(both, key=lambda times: max(times.values()), default={})
        part = max(most, key=most.__getitem__, default="")
        return found | {
            "draws_repeat_batches": float(self.followed),
            "draws_epoch_batches": float(self.compared),
            "draws_column": float(part.split("/")[0]) if part else math.nan,
            "draws_rows": float(self.rows[part]) if part else math.nan,
        }

    def state(self) -> dict[str, Any]:
        """Everything noted so far, as numbers, lists and text."""
        batches = {"now": self.now, "before": self.before}
        return {
            **{name: [{"rows": rows, "keys": dict(keys)} for rows, keys in own] for name, own in batches.items()},
            **{name: dict(getattr(self, name)) for name in ("same", "again", "rows")},
            "followed": self.followed,
            "compared": self.compared,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state` gave."""
        self.now, self.before = (
            [(batch["rows"], dict(batch["keys"])) for batch in state[name]] for name in ("now", "before")
        )
        for name in ("same", "again", "rows"):
            setattr(self, name, dict(state[name]))
        self.followed, self.compared = state["followed"], state["compared"]
        self._kinds = {}


def _draws(kinds: Mapping[_Part, str], changed: Sequence[_Part], batch: _Batch) -> list[_Part]:
    """Parts that are taken for draws made anew by the same seed.

    Args:
        kinds: kind of each part that came again.
        changed: parts that did not.
        batch: the batch.
    """
    kept = [part for part, kind in kinds.items() if kind != PLAIN]
    drawn = [part for part in kept if kinds[part] == DRAWN]
    repeated, differing = _tensors(kept), _tensors(changed)
    noise = [part for part in drawn if not are_columns(batch.tensors[part.place])]
    if noise:
        return noise if repeated <= differing else []
    if not drawn or len(drawn) < len(kept) or repeated >= differing or not batch.simple:
        return []
    if all(part.side == "low" for part in drawn) or all(part.side == "high" for part in drawn):
        return drawn
    # Else it is one whole input. A column that is the same in all rows, as the first of a prompt, says that those
    # beside it are no draws; so do columns of it that changed.
    whole = len({part.place for part in drawn}) == 1 and len(drawn) == drawn[0].width
    return drawn if whole else []


def _tensors(parts: Sequence[_Part]) -> float:
    """Number of inputs that some parts are, each column counted as its share of its tensor."""
    return sum(1 / part.width for part in parts)


def _read(
    hashed: Sequence[Tensor], tensors: list[Tensor], targets: Tensor | None
) -> tuple[tuple[_Part, ...], list[int], _Batch]:
    """Find the parts of a batch and their keys. All is read from the device at once."""
    rows, device = len(tensors[0]), hashed[0].device
    sums = [own.sum(0) for own in hashed]
    widths = tuple(map(len, sums))
    simple, split, below = targets is None, False, 0
    lower = None
    if targets is not None and targets.ndim == 1 and not targets.is_complex():
        own = targets.detach().to(device)
        least, most = own.min(), own.max()
        lower = own == least
        two = (lower | (own == most)).all()
        facts = torch.stack([two.long(), (least != most).long(), lower.sum()])
        simple, split, below, *keys = torch.cat(
            [facts, *sums, *((one * lower[:, None]).sum(0) for one in hashed)]
        ).tolist()
        simple, split = simple == 1, simple == 1 and split == 1
    else:
        keys = torch.cat(sums).tolist()
    parts = _parts(widths, tuple(map(are_columns, tensors)), split)
    starts = [sum(widths[:place]) for place in range(len(widths))]
    found = []
    for part in parts:
        at = starts[part.place] + part.column
        low = keys[sum(widths) + at] if split else 0
        if part.side == "all":
            found.append(_key(keys[at], rows))
        elif part.side == "low":
            found.append(_key(low, below))
        else:
            found.append(_key(keys[at] - low, rows - below))
    return parts, found, _Batch(tensors, lower if split else None, simple)


@lru_cache(maxsize=64)
def _parts(widths: tuple[int, ...], columns: tuple[bool, ...], split: bool) -> tuple[_Part, ...]:
    """Parts of tensors of so many columns; those of columns of ids fall into two sides where `split`."""
    return tuple(
        _Part(place, column, width, side, f"{place}/{column}/{side}")
        for place, width in enumerate(widths)
        for column in range(width)
        for side in (("low", "high") if split and columns[place] else ("all",))
    )


def _key(total: int, rows: int) -> int:
    """Key of 63 bits of the sum of a part's hashes and its rows."""
    return (total + rows * _ODD) % 2**63


def _is_constant(values: Tensor) -> bool:
    return bool((values == values[:1]).all())


def _kind_of(values: Tensor) -> str:
    if _is_constant(values):
        return PLAIN
    if values.ndim == 1 and are_columns(values):
        return kind_of_ids(values.cpu().long().numpy())
    if not values.is_floating_point():
        return FIXED
    flat = spaced(values.reshape(len(values), -1), _SHOWN_WIDTH)
    return kind_of_numbers(spaced(flat.T, _SHOWN_ROWS).T.double().cpu().numpy())
