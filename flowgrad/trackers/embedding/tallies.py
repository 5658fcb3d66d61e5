"""Keeps counts and sums of the rows that were probed, in a space that grows with these and not with the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

DENSE = 1 << 14
"""Number of rows up to which every row of a table has its place; of larger ones, those that were probed."""
MOST_ONE_IN, LEAST = 64, 1 << 12
"""Number of rows of a larger table of which one may have a place, and number of rows that may have one in any case.
Rows that are probed for the first time when all places are taken are passed over.
"""
_WAITING = 1 << 12
"""Number of lookups that wait to be sorted in, at least."""
COLUMNS: dict[str, torch.dtype] = {
    "looks": torch.int32,
    "moves": torch.int32,
    "path": torch.float32,
    "left": torch.int32,
    "early": torch.int32,
}
"""Type of each column."""


class RowTallies:
    """Sums by row of what is added for single lookups."""

    def __init__(self, rows: int, device: torch.device, followed: int = 0) -> None:
        """Start with nothing.

        Args:
            rows: of the table.
            device: that it lies on.
            followed: number of rows whose weights are followed; as many may have a place.
        """
        self.rows, self.device = rows, device
        self.dense = rows <= DENSE
        """Whether every row has its place."""
        count = rows if self.dense else 0
        # Written to here, so that the system hands out the memory now and not page by page while training runs.
        self._sums = {name: torch.empty(count, dtype=kind, device=device).zero_() for name, kind in COLUMNS.items()}
        self._ids = torch.empty(0, dtype=torch.int64, device=device)
        """Rows that have a place, ascending; not used where every row has one."""
        self._most = max(rows // MOST_ONE_IN, followed, LEAST)
        self._waiting: list[tuple[torch.Tensor, dict[str, torch.Tensor]]] = []
        self._count = 0
        """Number of lookups that wait."""

    def add(self, ids: torch.Tensor, **values: torch.Tensor) -> None:
        """Add the values of lookups to the sums of their rows.

        Args:
            ids: row of each lookup, int64 of shape (n,).
            **values: by column, of shape (n,), or shorter: then they are those of the first lookups.
        """
        if self.dense:
            self._add_to(self._sums, ids, values)
            return
        # Flags wait as they are, which is a quarter of what numbers would take.
        kept = {name: one if one.dtype == torch.bool else one.to(COLUMNS[name]) for name, one in values.items()}
        self._waiting.append((ids, kept))
        self._count += len(ids)
        if self._count > max(_WAITING, len(self._ids) // 4):
            self._settle()

    def _add_to(
        self, sums: Mapping[str, torch.Tensor], places: torch.Tensor, values: Mapping[str, torch.Tensor]
    ) -> None:
        for name, column in values.items():
            sums[name].scatter_add_(0, places[: len(column)], column.to(COLUMNS[name]))

    def _settle(self) -> None:
        """Give the rows that wait their place."""
        if not self._waiting:
            return
        waiting, self._waiting, self._count = self._waiting, [], 0
        self._make_room([ids for ids, _ in waiting])
        if not len(self._ids):
            return
        for ids, values in waiting:
            places, known = self._places(ids)
            if not known.all():
                places = places[known]
                values = {name: column[known[: len(column)]] for name, column in values.items()}
            self._add_to(self._sums, places, values)

    def _make_room(self, waiting: Sequence[torch.Tensor]) -> None:
        """Give rows a place that have none: those of the first lookups, then as many as there are places left."""
        room, begun = self._most - len(self._ids), len(self._ids) > 0
        if begun and room <= 0:
            return
        if begun:
            waiting = [ids[~self._places(ids)[1]] for ids in waiting]
        fresh = torch.cat(list(waiting)).unique()
        if begun and len(fresh) > room:
            fresh = fresh[:: -(-len(fresh) // room)]
        if not len(fresh):
            return
        ids = torch.cat([self._ids, fresh]).sort().values
        sums = {name: torch.zeros(len(ids), dtype=kind, device=self.device) for name, kind in COLUMNS.items()}
        before = torch.searchsorted(ids, self._ids)
        for name, column in self._sums.items():
            sums[name][before] = column
        self._ids, self._sums = ids, sums

    def _places(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Place of each row, and whether it has one; there is a place at least."""
        places = torch.searchsorted(self._ids, rows).clamp_(max=len(self._ids) - 1)
        return places, self._ids.index_select(0, places) == rows

    def of(self, name: str, rows: torch.Tensor | slice) -> torch.Tensor:
        """Sums of a column for some rows, shape (rows,)."""
        if self.dense:
            return self._sums[name][rows]
        if isinstance(rows, slice):
            return self.whole(name)[rows]
        self._settle()
        if not len(self._ids):
            return torch.zeros(len(rows), dtype=COLUMNS[name], device=self.device)
        places, known = self._places(rows)
        return self._sums[name][places].masked_fill(~known, 0)

    def whole(self, name: str) -> torch.Tensor:
        """Sums of a column for every row of the table, shape (rows,); not a copy where each has its place."""
        if self.dense:
            return self._sums[name]
        self._settle()
        found = torch.zeros(self.rows, dtype=COLUMNS[name], device=self.device)
        found[self._ids] = self._sums[name]
        return found

    def load(self, columns: Mapping[str, torch.Tensor]) -> None:
        """Go on from sums of every row, by column."""
        self._waiting, self._count = [], 0
        if self.dense:
            self._sums = {name: columns[name].to(self.device, copy=True) for name in COLUMNS}
            return
        given = {name: columns[name].to(self.device) for name in COLUMNS}
        self._ids = (given["looks"] > 0).nonzero().flatten()
        self._sums = {name: column[self._ids] for name, column in given.items()}

    def __getstate__(self) -> dict[str, Any]:
        self._settle()
        return self.__dict__
