"""Says whether the id that fills up sequences stands in the middle of them, too, as an id of a thing would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

_LEAST_LENGTH = 4
"""Number of places of a sequence from which on it is read."""
_RUN, _PART = 2, 8
"""Number of places at an end that are all padding where a sequence is filled up, at least, and as a part of its length.
"""
_COUNTS = ("read", "before", "behind", "within")


class PaddingPlaces:
    """Counts, over lookups of sequences, where the id stands that is the table's padding."""

    def __init__(self, padding: int | None, *, bags: bool = False) -> None:
        """Start with no sequence.

        Args:
            padding: the id, None where there is none.
            bags: whether the layer takes bags of ids, which may stand in one dimension.
        """
        self._padding = padding
        self._several = bags
        """Whether an example was seen to look up several ids: single ones need nothing that fills them up."""
        self.read = 0
        """Number of sequences with another id than the padding."""
        self.before = 0
        """Sequences among them that begin with a run of padding."""
        self.behind = 0
        """Sequences that end with one."""
        self.within = 0
        """Sequences with padding between other ids."""

    def note(self, ids: torch.Tensor) -> None:
        """Note the ids of a lookup, of any shape; those of sequences have shape (sequences, places)."""
        self._several = self._several or (ids.dim() > 1 and ids.size(-1) > 1)
        if self._padding is None or ids.dim() != 2 or ids.size(1) < _LEAST_LENGTH:
            return
        other = ids != self._padding
        running = other.cumsum(1)
        whole = running[:, -1:]
        inner = ~other & (running > 0) & (running < whole)
        some, run = whole[:, 0] > 0, max(_RUN, ids.size(1) // _PART)
        flags = [
            some,
            some & ~other[:, :run].any(1),
            some & ~other[:, -run:].any(1),
            inner.any(1),
        ]
        found = torch.stack([flag.sum() for flag in flags]).tolist()
        for name, count in zip(_COUNTS, found, strict=True):
            setattr(self, name, getattr(self, name) + count)

    def figures(self) -> dict[str, float]:
        """Figures of `flowgrad.measures.embedding`; shares are NaN without a sequence or a padding id."""
        read = self.read or float("nan")
        return {
            "lookups_of_several": float(self._several),
            "padded_sequences": float(self.read),
            "padded_share": max(self.before, self.behind) / read,
            "padded_other_side": min(self.before, self.behind) / read,
            "padded_within": self.within / read,
        }

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {"several": self._several, **{name: getattr(self, name) for name in _COUNTS}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        for name in _COUNTS:
            setattr(self, name, state[name])
        self._several = state.get("several", self._several)
