"""Holds a table in the form that a model gets: one target, and for each seed the rows that it keeps."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig
from pandas import DataFrame

from datasets.tables import TEST, TRAIN, VALIDATION, Table
from flowgrad.errors import FlowGradError
from pipelines.config.schema.data import TableSettings
from pipelines.config.targets import called

LEAST_ROWS = 10
"""Number of training rows that a seed keeps, at least."""


class Part(NamedTuple):
    """Rows of one part."""

    features: DataFrame
    """Features, float64, shape (rows, columns)."""
    target: NDArray[np.float64]
    """Target, shape (rows,)."""
    groups: NDArray[np.int64] | None = None
    """Group of each row, shape (rows,); None where rows are independent."""


@dataclass(frozen=True)
class TableData:
    """One table with one target."""

    table: Table
    target: str
    keep: float
    """Share of the rows, or of their groups, that each seed keeps."""
    tested: int = TEST
    """Part whose rows stand for the test rows."""

    @property
    def source(self) -> str:
        """Origin of this copy."""
        return self.table.source

    @property
    def sha256(self) -> str:
        """SHA-256 of the whole table."""
        return self.table.sha256

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the features."""
        return tuple(self.table.features.columns)

    def part(self, which: int, seed: int) -> Part:
        """Select the rows of a part (`datasets.tables.TRAIN`, ...) that this seed keeps."""
        rows = np.flatnonzero((self.table.parts == (self.tested if which == TEST else which)) & self._kept(seed))
        groups = None if self.table.groups is None else self.table.groups[rows]
        return Part(self.table.features.iloc[rows], self.table.targets[self.target][rows], groups)

    def parts(self, seed: int) -> tuple[Part, Part, Part]:
        """Select the training, validation and test rows that this seed keeps: of one draw, so that groups stay
        whole.
        """
        train, validation, test = (self.part(which, seed) for which in (TRAIN, VALIDATION, TEST))
        return train, validation, test

    def _kept(self, seed: int) -> NDArray[np.bool_]:
        n = len(self.table.parts)
        if self.keep == 1:
            return np.ones(n, dtype=bool)
        random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
        groups = self.table.groups
        if groups is None:
            kept = np.zeros(n, dtype=bool)
            for which in (TRAIN, VALIDATION, TEST):
                rows = random.permutation(np.flatnonzero(self.table.parts == which))
                kept[rows[: max(1, round(self.keep * len(rows)))]] = True
            return kept
        known = np.unique(groups)
        chosen = random.permutation(known)[: max(1, round(self.keep * len(known)))]
        return np.isin(groups, chosen)


def load_table(config: DictConfig) -> TableData:
    """Load the table that the `dataset` node of the config names.

    Raises:
        FlowGradError: the table lacks the task's target, or any error of the loader.
    """
    own = {field.name for field in fields(TableSettings)}
    settings = config.dataset
    table = called(config, "dataset", {key: value for key, value in settings.items() if key not in own})
    if not isinstance(table, Table):
        raise FlowGradError(
            f"dataset._target_={settings._target_} gives no table of features; use dataset=movielens_table"
        )
    if config.task.target not in table.targets:
        raise FlowGradError(f"task.target={config.task.target!r}: table {table.name!r} has {', '.join(table.targets)}")
    values = np.unique(table.targets[config.task.target])
    if config.task.kind == "binary" and not np.array_equal(values, [0, 1]):
        raise FlowGradError(f"task.kind=binary: target {config.task.target!r} holds more than 0 and 1")
    if config.task.kind == "multiclass" and not np.array_equal(values, np.arange(len(values))):
        raise FlowGradError(
            f"task.kind=multiclass: target {config.task.target!r} is no whole number from 0 for each class"
        )
    data = TableData(table, config.task.target, settings.keep)
    _check_kept(data)
    return data


def _check_kept(data: TableData) -> None:
    """Refuse a share of the rows that leaves too few to train, or to judge by."""
    for name, which, least in (("training", TRAIN, LEAST_ROWS), ("validation", VALIDATION, 2), ("test", TEST, 2)):
        kept = round(data.keep * int((data.table.parts == which).sum()))
        if kept < least:
            raise FlowGradError(
                f"dataset.keep={data.keep}: leaves {kept} {name} rows, and {least} are needed; keep more of them"
            )
