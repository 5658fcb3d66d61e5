"""Keeps apart the ids of the several lookups that a step makes in one table: those of items and of their negatives."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import torch

from flowgrad.measures.lookups import lookups_apart

MOST_CALLS = 3
"""Number of lookups of a step that are kept apart; those after them are left out."""
MOST_ROWS = 1 << 20
"""Number of rows of a table beyond which nothing is kept."""


def _both(figures: dict[str, float]) -> float:
    """The smaller of the shares that are to be large where the lookups are of one kind of thing."""
    return min(figures["lookups_apart"], figures["lookups_among"])


class PairedLookups:
    """Counts by row of the first lookups of some steps, each by itself. One lookup a step costs nothing."""

    def __init__(self, rows: int, padding: int | None = None) -> None:
        """Start with nothing counted.

        Args:
            rows: of the table.
            padding: row that does not count; None: there is none.
        """
        self._rows, self._padding = rows, padding
        self._step, self._place = -1, 0
        self._first: torch.Tensor | None = None
        """Ids of the first lookup of this step, until there is a second one; kept from the first step with two on."""
        self._several = False
        """Whether a step has made two lookups."""
        self.counts: list[torch.Tensor] = []
        """Lookups of each row, int32 of shape (rows,), by place in the step."""
        self.lookups: list[int] = []
        """Number of lookups, by place in the step, those of padding too."""

    def note(self, ids: torch.Tensor, step: int) -> None:
        """Note the ids of one lookup of a step, int64 of shape (n,)."""
        if self._rows > MOST_ROWS:
            return
        if step != self._step:
            self._step, self._place, self._first = step, 0, ids if self._several else None
            return
        self._place += 1
        if self._place >= MOST_CALLS:
            return
        if self._place == 1:
            first, self._first, self._several = self._first, None, True
            if first is None:
                self._place = MOST_CALLS  # this step is not counted
                return
            self._add(0, first)
        self._add(self._place, ids)

    def _add(self, place: int, ids: torch.Tensor) -> None:
        if place == len(self.counts):
            self.counts.append(torch.zeros(self._rows, dtype=torch.int32, device=ids.device))
            self.lookups.append(0)
        ones = torch.ones(len(ids), dtype=torch.int32, device=ids.device)
        self.counts[place].scatter_add_(0, ids, ones)
        self.lookups[place] += len(ids)

    def figures(self) -> dict[str, float]:
        """Figures of two lookups of as many ids, those that are farthest apart; see `lookups_apart`."""
        counted = [column.cpu().numpy().copy() for column in self.counts]
        if self._padding is not None:
            for column in counted:
                column[self._padding] = 0
        pairs = [(one, other) for one, other in combinations(range(len(counted)), 2)]
        alike = [(one, other) for one, other in pairs if self.lookups[one] == self.lookups[other]]
        found = [lookups_apart(counted[one], counted[other]) for one, other in alike]
        known = [one for one in found if not math.isnan(one["lookups_apart"])]
        return max(known, key=_both, default=lookups_apart([], []))

    def state_dict(self) -> dict[str, Any]:
        """State of everything counted."""
        return {"counts": [column.clone() for column in self.counts], "lookups": list(self.lookups)}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from a state."""
        self.counts = [column.to(device, copy=True) for column in state["counts"]]
        self.lookups = list(state["lookups"])
        self._step, self._place, self._first = -1, 0, None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_first": None, "_step": -1}
