"""Collects the ids of batches: sums by id, a sample of rows, the make-up of batches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowgrad.trackers.batches.id_reading import Batches, Part, read
from flowgrad.trackers.batches.id_rows import RowSample, keys_of
from flowgrad.trackers.batches.id_sums import MOST_IDS, IdSums

TOTAL_IDS = 2**22
"""Number of ids of all columns together that are counted one by one."""
MOST_ROWS = {True: 2**22, False: 2**21}
"""Number of rows of training (True) and validation that are counted."""
MOST_BATCHES = 2**13
"""Number of training batches whose make-up is noted."""
HELD_ROWS, HELD_BATCHES = 2**14, 64
"""Number of rows and of batches that are held until they are counted together."""
_DENSE = 16
"""Number of places per row up to which batches by ids are counted in one array, which is faster than sorting."""
_NUMBERS: tuple[str, ...] = (
    "_rows",
    "_valid_rows",
    "_squares",
    "_valid_squares",
    "_shift",
    "_target",
    "_valid_target",
    "_low",
    "_high",
    "_closed",
    "_valid_closed",
    "_skipped",
)
_BATCHES = ("_sizes", "_distinct")

Numbers = NDArray[np.float64]


class Ids:
    """Collects statistics of the columns of ids that batches hold.

    Each distinct row should count about once, so the first epoch of training is counted and the first pass over the
    validation rows; `end_epoch` marks where they end. Where it is never called, all rows are counted up to `MOST_ROWS`,
    and `ids_repeats`, read off a sample of rows, says how often each was: statistics are made as if each had been met
    once.

    Example::

        watched = Ids(sizes={"user": 943, "item": 1682})
        for batch in loader:
            watched.see({"user": batch.user, "item": batch.item}, batch.rating, training=True)
        watched.end_epoch()
        print(watched.table())
    """

    def __init__(self, sizes: Mapping[str, int] | None = None) -> None:
        """Start with nothing seen.

        Args:
            sizes: number of rows of the table that a column indexes, by column; None where they are not known.
        """
        self._sizes_of: dict[str, int] = dict(sizes or {})
        self._names: tuple[str, ...] = ()
        self._columns: dict[str, IdSums] = {}
        self._sample = RowSample(0)
        self._held: dict[bool, list[tuple[NDArray[np.int64], Numbers | None]]] = {True: [], False: []}
        self._held_rows = 0
        self._rows = self._valid_rows = self._skipped = 0
        self._squares = self._valid_squares = 0.0
        self._shift = math.nan
        """Value near the targets, which is subtracted from them: variances of large numbers would lose precision."""
        self._target = self._valid_target = True
        self._low, self._high = math.inf, -math.inf
        self._closed = self._valid_closed = False
        self._equal: set[tuple[str, str]] = set()
        self._sizes: list[int] = []
        self._distinct: list[list[int]] = []
        self._known: tuple[dict[str, float], pd.DataFrame] | None = None

    def sizes(self, sizes: Mapping[str, int]) -> None:
        """Set the number of rows of a column's table, also after batches were seen."""
        self._sizes_of |= {name: int(size) for name, size in sizes.items()}
        self._known = None

    def see(self, columns: Mapping[str, Tensor], targets: Tensor | None = None, *, training: bool = True) -> None:
        """Note a batch. Costs a copy of it; it is counted later, together with others.

        The columns are those of the first batch; a later batch that lacks one of them is left out and counted in
        `skipped`. Rows whose target is not finite are left out too.

        Args:
            columns: ids, whole numbers of shape (n,), by the column's name.
            targets: shape (n,); None where there is none, as of positives only.
            training: whether it is a batch of training or of validation.

        Raises:
            ValueError: a column or the target is not of shape (n,), or a column does not hold whole numbers.
        """
        if not columns or self._full(training):
            return
        if not self._names:
            self._begin(columns)
        if any(name not in columns for name in self._names):
            self._skipped += 1
            return
        ids_of = np.stack([_whole(name, columns[name]) for name in self._names])  # a copy
        values = None if targets is None else _values(targets, ids_of.shape[1])
        if ids_of.shape[1] == 0:
            return
        self._held[training].append((ids_of, values))
        self._held_rows += ids_of.shape[1]
        self._known = None
        if self._held_rows >= HELD_ROWS or sum(map(len, self._held.values())) >= HELD_BATCHES:
            self._count()

    def end_epoch(self) -> None:
        """Close an epoch: training rows were all met once, and so were those of validation, if there were any."""
        self._count()
        self._known = None
        self._closed = self._closed or self._rows > 0
        self._valid_closed = self._valid_closed or self._valid_rows > 0

    @property
    def skipped(self) -> int:
        """Number of batches that lacked a column."""
        return self._skipped

    @property
    def folded(self) -> tuple[str, ...]:
        """Names of columns with ids beyond those counted one by one: their distinct ids are not known."""
        return tuple(name for name, column in self._columns.items() if column.folded)

    def _full(self, training: bool) -> bool:
        if training:
            return self._closed or self._rows >= MOST_ROWS[True]
        return self._valid_closed or self._valid_rows >= MOST_ROWS[False]

    def _begin(self, columns: Mapping[str, Tensor]) -> None:
        self._names = tuple(columns)
        self._columns = {name: IdSums() for name in self._names}
        self._sample = RowSample(len(self._names))
        self._equal = {(a, b) for i, a in enumerate(self._names) for b in self._names[i + 1 :]}

    def _count(self) -> None:
        """Count the rows that are held."""
        for training in (True, False):
            held, self._held[training] = self._held[training], []
            if held:
                self._count_part(held, training)
        self._held_rows = 0

    def _count_part(self, held: list[tuple[NDArray[np.int64], Numbers | None]], training: bool) -> None:
        if any(values is None for _, values in held):
            if training:
                self._target = False
            else:
                self._valid_target = False
        batches = [_finite(ids_of, values) for ids_of, values in held]
        rows = np.concatenate([ids_of for ids_of, _ in batches], axis=1)
        values = np.concatenate([values for _, values in batches])
        if not len(values):
            return
        if math.isnan(self._shift):
            self._shift = float(values.mean())
        shifted = values - self._shift
        keys = keys_of(rows)
        sizes = [ids_of.shape[1] for ids_of, _ in batches]
        distinct = []
        for name, ids_of in zip(self._names, rows, strict=True):
            column = self._columns[name]
            if not column.folded:
                others = sum(len(one.valid_counts) for one in self._columns.values()) - len(column.valid_counts)
                column.room = max(len(column.valid_counts), min(MOST_IDS, TOTAL_IDS - others))
            places = column.places(ids_of)
            column.add(places, shifted, training=training)
            distinct.append(_distinct(places, sizes) if training else [])
        self._sample.add(rows, keys, values, training=training)
        self._compare(rows)
        if training:
            self._rows += len(values)
            self._squares += float((shifted**2).sum())
            self._low, self._high = min(self._low, float(values.min())), max(self._high, float(values.max()))
            self._note(sizes, distinct)
        else:
            self._valid_rows += len(values)
            self._valid_squares += float((shifted**2).sum())

    def _compare(self, rows: NDArray[np.int64]) -> None:
        """Update which columns are equal in every row so far."""
        at = {name: place for place, name in enumerate(self._names)}
        self._equal = {(a, b) for a, b in self._equal if np.array_equal(rows[at[a]], rows[at[b]])}

    def _note(self, sizes: list[int], distinct: list[list[int]]) -> None:
        for place, size in enumerate(sizes):
            if size and len(self._sizes) < MOST_BATCHES:
                self._sizes.append(size)
                self._distinct.append([column[place] for column in distinct])

    def figures(self) -> dict[str, float]:
        """Every scalar of `ID_MEASURES`; NaN where it is not known."""
        return dict(self._read()[0])

    def table(self) -> pd.DataFrame:
        """Every per-row measure of `ID_MEASURES`, one line a column of ids."""
        return self._read()[1].copy()

    def _read(self) -> tuple[dict[str, float], pd.DataFrame]:
        self._count()
        if self._known is None:
            self._known = read(
                self._columns,
                self._sample,
                Part(
                    self._rows,
                    self._squares,
                    self._target and self._high > self._low,
                    self._closed,
                    self._low - self._shift,
                    self._high - self._shift,
                ),
                Part(self._valid_rows, self._valid_squares, self._valid_target),
                self._equal,
                self._sizes_of,
                Batches(*(np.array(getattr(self, name)) for name in _BATCHES)),
            )
        return self._known

    def state(self) -> dict[str, Any]:
        """Everything noted so far, as tensors, numbers and text."""
        self._count()
        return {
            "sizes_of": dict(self._sizes_of),
            "names": list(self._names),
            "columns": {name: column.state() for name, column in self._columns.items()},
            "sample": self._sample.state(),
            "equal": [list(pair) for pair in sorted(self._equal)],
            "numbers": {name: getattr(self, name) for name in _NUMBERS},
            "batches": {name: torch.tensor(getattr(self, name)) for name in _BATCHES},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state` gave."""
        self.__init__(state["sizes_of"])  # type: ignore[misc]
        self._names = tuple(state["names"])
        self._columns = {name: IdSums() for name in self._names}
        for name, column in self._columns.items():
            column.load(state["columns"][name])
        self._sample = RowSample(len(self._names))
        self._sample.load(state["sample"])
        self._equal = {(a, b) for a, b in state["equal"]}
        for name in _NUMBERS:
            setattr(self, name, state["numbers"][name])
        for name in _BATCHES:
            setattr(self, name, state["batches"][name].tolist())


def _whole(name: str, column: Tensor) -> NDArray[np.int64]:
    if column.dim() != 1 or column.is_floating_point() or column.is_complex():
        raise ValueError(
            f"column {name!r} is {column.dtype} of shape {tuple(column.shape)}; ids are whole numbers of shape (n,)"
        )
    return column.detach().to("cpu", torch.int64).numpy()


def _values(targets: Tensor, rows: int) -> Numbers:
    if tuple(targets.shape) != (rows,):
        raise ValueError(f"targets have shape {tuple(targets.shape)}; with {rows} ids a column, ({rows},) is asked for")
    return targets.detach().to("cpu", torch.float64, copy=True).numpy()


def _finite(ids_of: NDArray[np.int64], values: Numbers | None) -> tuple[NDArray[np.int64], Numbers]:
    if values is None:
        return ids_of, np.zeros(ids_of.shape[1])
    known = np.isfinite(values)
    return (ids_of, values) if known.all() else (ids_of[:, known], values[known])


def _distinct(places: NDArray[np.int64], sizes: list[int]) -> list[int]:
    """Number of distinct ids of each of some batches that stand one after the other."""
    batch = np.repeat(np.arange(len(sizes)), sizes)
    width = int(places.max(initial=0)) + 1
    both = batch * width + places
    if len(sizes) * width <= _DENSE * len(places):
        return (np.bincount(both, minlength=len(sizes) * width).reshape(len(sizes), width) > 0).sum(axis=1).tolist()
    met = np.sort(both)
    first = np.ones(len(met), dtype=bool)
    first[1:] = met[1:] != met[:-1]
    return np.bincount(met[first] // width, minlength=len(sizes)).tolist()
