"""Holds tables of features and targets in one form, and their splits."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas import DataFrame

from flowgrad.errors import FlowGradError

TRAIN, VALIDATION, TEST = 0, 1, 2
"""Values of `Table.parts`."""


@dataclass(frozen=True, eq=False)
class Table:
    """Features and targets, split.

    Raises:
        FlowGradError: lengths differ, a column's name occurs twice, a column is no number, a target is not finite, a
            category has no value for a code, or a part is empty.
    """

    name: str
    """Short name of the data set, e.g. "ml-100k-table"."""
    source: str
    """Origin of this copy, for people to read."""
    features: DataFrame
    """Features, float64, one row an example; NaN where a value is not known."""
    targets: Mapping[str, NDArray[np.float64]]
    """Targets that may be predicted, by name: numbers, or 0 and 1 for classes."""
    parts: NDArray[np.int8]
    """`TRAIN`, `VALIDATION` or `TEST` of each row."""
    groups: NDArray[np.int64] | None
    """Group of each row, such as its user, where rows of one group are alike; None where rows are independent."""
    sha256: str
    """SHA-256 by `content_sha256`."""
    categories: Mapping[str, NDArray[np.object_]] = field(default_factory=dict)
    """Values of each column of categories, by code: its numbers are codes from 0. Columns that are not here are
    amounts.
    """

    def __post_init__(self) -> None:
        lengths = {len(self.features), len(self.parts), *(len(target) for target in self.targets.values())}
        if self.groups is not None:
            lengths.add(len(self.groups))
        if len(lengths) != 1:
            raise FlowGradError(f"table {self.name!r}: features, targets, parts and groups differ in length: {lengths}")
        if not self.features.columns.is_unique:
            twice = self.features.columns[self.features.columns.duplicated()][0]
            raise FlowGradError(f"table {self.name!r}: two columns are named {twice!r}")
        for name, kind in self.features.dtypes.items():
            if kind != np.float64:
                raise FlowGradError(f"table {self.name!r}: column {name!r} is {kind}; expected float64")
        for name, target in self.targets.items():
            if not np.isfinite(target).all():
                raise FlowGradError(f"table {self.name!r}: target {name!r} holds NaN or inf; expected numbers")
        for name, values in self.categories.items():
            codes = self.features[name].to_numpy() if name in self.features else np.array([np.nan])
            if not np.isin(codes, np.arange(len(values))).all():
                raise FlowGradError(
                    f"table {self.name!r}: categories of {name!r}: expected a column of codes from 0 to "
                    f"{len(values) - 1}"
                )
        for part, name in enumerate(("train", "validation", "test")):
            if not (self.parts == part).any():
                raise FlowGradError(f"table {self.name!r}: no row is left to {name}; it has {len(self.parts)} rows")


def content_sha256(
    features: DataFrame,
    targets: Mapping[str, NDArray[np.float64]],
    categories: Mapping[str, NDArray[np.object_]] | None = None,
) -> str:
    """SHA-256 of names and values, these to 9 decimals: other machines' sums may differ in the last digits."""
    content = hashlib.sha256()
    for name, values in [*features.items(), *targets.items()]:
        content.update(f"{name}\n".encode())
        column = np.round(np.asarray(values, dtype=np.float64), 9) + 0.0  # no negative zero
        content.update(column.astype("<f8").tobytes())
    for name, texts in (categories or {}).items():
        content.update("\0".join([name, *texts, ""]).encode())
    return content.hexdigest()


def by_time(time: NDArray, validation_share: float, test_share: float) -> NDArray[np.int8]:
    """Make parts by time: the last `test_share` of the rows to test, those before to validate, the rest to train. Rows
    of one time stay together, in the earlier part.

    >>> by_time(np.array([1, 2, 3, 4, 4, 5, 6, 7, 8, 9]), 0.2, 0.4).tolist()
    [0, 0, 0, 0, 0, 1, 2, 2, 2, 2]
    """
    ordered = np.sort(time, kind="stable")
    n = len(ordered)
    last_train = ordered[max(0, round(n * (1 - validation_share - test_share)) - 1)]
    last_validation = ordered[max(0, round(n * (1 - test_share)) - 1)]
    return np.where(time <= last_train, TRAIN, np.where(time <= last_validation, VALIDATION, TEST)).astype(np.int8)


def at_random(
    n: int, validation_share: float, test_share: float, seed: int, classes: NDArray | None = None
) -> NDArray[np.int8]:
    """Make parts at random, of each class its share where `classes` are given."""
    parts = np.zeros(n, dtype=np.int8)
    random = np.random.default_rng(seed)
    kinds = np.zeros(n) if classes is None else classes
    for kind in pd.unique(kinds):
        rows = random.permutation(np.flatnonzero(kinds == kind))
        tests, validations = round(len(rows) * test_share), round(len(rows) * validation_share)
        parts[rows[:tests]], parts[rows[tests : tests + validations]] = TEST, VALIDATION
    return parts
