"""Turns rows of a log of clicks into row numbers of tables, and amounts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor

from pipelines.data.tables import Part
from pipelines.trainers.networks.data import Preparation

SHARED = 0
"""Row of every table that values share which training does not have, or has seldom."""
_GOLDEN = 2_654_435_761
"""Knuth's multiplier for hashing whole numbers (The Art of Computer Programming, volume 3, section 6.4)."""


@dataclass(frozen=True)
class Clicks:
    """Impressions of one part."""

    ids: Tensor
    """Row of each column's table, int64, shape (rows, columns of categories)."""
    amounts: Tensor
    """Amounts, float32, shape (rows, columns of amounts)."""
    target: Tensor
    """1 where clicked, else 0; float32, shape (rows,)."""

    @property
    def inputs(self) -> tuple[Tensor, Tensor]:
        """Inputs of a `ClickModel`."""
        return self.ids, self.amounts

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, index: Tensor | slice) -> Clicks:
        return Clicks(self.ids[index], self.amounts[index], self.target[index])


@dataclass(frozen=True)
class Vocabulary:
    """Rows of one column's table, learned on the training rows."""

    rows: NDArray[np.int64]
    """Row of each code of the data set; `SHARED` for those that training does not have."""
    size: int
    """Number of rows of the table, `SHARED` among them."""

    @classmethod
    def of(cls, codes: NDArray[np.int64], known: int, *, min_count: int, buckets: int | None) -> Vocabulary:
        """Give each value a row.

        Args:
            codes: of the training rows.
            known: number of codes of the data set.
            min_count: values with fewer training rows share `SHARED`.
            buckets: number of rows that all values are hashed into; None: each has its own.
        """
        counts = np.bincount(codes, minlength=known)
        kept = np.flatnonzero(counts >= max(min_count, 1))
        rows = np.full(known, SHARED, dtype=np.int64)
        if buckets is None:
            rows[kept] = 1 + np.arange(len(kept))
            return cls(rows, 1 + len(kept))
        rows[kept] = 1 + (kept * _GOLDEN % 2**32) % buckets
        return cls(rows, 1 + buckets)


@dataclass(frozen=True)
class ClickPreparation:
    """Preparation of every row before a click model sees it, learned on the training rows."""

    vocabularies: Mapping[str, Vocabulary]
    """Rows of the table of each column of categories."""
    amounts: Preparation
    columns: tuple[str, ...]
    """Columns of amounts."""

    @classmethod
    def of(cls, train: Part, known: Mapping[str, int], settings: DictConfig) -> ClickPreparation:
        """Learn from the training rows.

        Args:
            train: training rows.
            known: number of codes of each column of categories; the other columns are amounts.
            settings: `ClickModelSettings`.
        """
        vocabularies = {
            name: Vocabulary.of(codes_of(train, name), count, min_count=settings.min_count, buckets=settings.buckets)
            for name, count in known.items()
        }
        columns = tuple(name for name in train.features.columns if name not in known)
        return cls(vocabularies, _amounts(train, columns, settings), columns)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of rows of each table, by column."""
        return {name: vocabulary.size for name, vocabulary in self.vocabularies.items()}

    def rows(self, part: Part) -> Clicks:
        """Turn the part into tensors."""
        ids = [vocabulary.rows[codes_of(part, name)] for name, vocabulary in self.vocabularies.items()]
        rows = self.amounts.rows(Part(part.features[list(self.columns)], part.target))
        return Clicks(torch.tensor(np.stack(ids, axis=1)), rows.inputs, rows.target)


def codes_of(part: Part, name: str) -> NDArray[np.int64]:
    """Codes of a column of categories, shape (rows,)."""
    return part.features[name].to_numpy().astype(np.int64)


def _amounts(train: Part, columns: tuple[str, ...], settings: DictConfig) -> Preparation:
    part = Part(train.features[list(columns)], train.target)
    return Preparation.of(part, standardise=settings.standardise, classes=False)
