"""Loads the hosts' data: digits and small tables of scikit-learn, and MovieLens-100K where a host asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from pandas import DataFrame
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor

from datasets.movielens import load_movielens_100k
from datasets.movielens_table import GENRES, LIKED, OCCUPATIONS, load_movielens_table

Rows = dict[str, Tensor]
"""Type of columns of equal length, by name."""


@dataclass(frozen=True)
class Table:
    """A real table for boosters and perceptrons, in order of time where it has one."""

    features: DataFrame
    targets: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class FieldData:
    """Everything that some host may be trained on; one copy goes to each worker."""

    images: Tensor
    """Images, float32, shape (1797, 64): pixels in 0..16."""
    digits: Tensor
    """Digit of each image, int64, shape (1797,)."""
    diabetes: Table
    ratings: Rows
    """MovieLens-100K in order of time: `user`, `item`, `rating`, `age`, `male`, `occupation`, `genre`; empty where no
    host needs it."""
    movies: Table | None
    """MovieLens as a table; None where no host needs it."""
    source: str
    """Origin of the ratings; empty without them."""
    sha256: str
    """Checksum of the ratings; empty without them."""


def load(*, movielens: bool, path: str | None = None, cache: str | None = None) -> FieldData:
    """Load the data that are asked for.

    Args:
        movielens: whether MovieLens-100K is needed, which may have to be fetched.
        path: a copy of it at hand; None: the cache, or a source on the network.
        cache: folder of verified copies; None: the user's.

    Raises:
        FlowGradError: MovieLens is needed and no source can be reached.
    """
    images, digits = load_digits(return_X_y=True)
    columns, progression = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    diabetes = Table(columns.astype(float), {"progression": progression.to_numpy(dtype=float)})
    found: tuple[Rows, Table | None, str, str] = ({}, None, "", "")
    if movielens:
        found = _movielens(path, cache)
    return FieldData(torch.tensor(images, dtype=torch.float32), torch.tensor(digits), diabetes, *found)


def _movielens(path: str | None, cache: str | None) -> tuple[Rows, Table, str, str]:
    table = load_movielens_table(path, cache)
    features = table.features
    ratings = load_movielens_100k(path, cache)
    frame = ratings.frame.sort_values("timestamp", kind="stable").reset_index(drop=True)
    rows = {name: torch.tensor(frame[name].to_numpy()) for name in ("user", "item")}
    rows["rating"] = torch.tensor(frame["rating"].to_numpy(), dtype=torch.float32)
    rows["click"] = (rows["rating"] >= LIKED).float()
    rows["age"] = torch.tensor(np.minimum(features["age"].to_numpy() // 10, 7).astype(np.int64))
    rows["male"] = torch.tensor(features["male"].to_numpy().astype(np.int64))
    rows["occupation"] = torch.tensor(_first(features, [f"occupation_{name}" for name in OCCUPATIONS]))
    rows["genre"] = torch.tensor(_first(features, [f"genre_{name}" for name in GENRES]))
    return rows, Table(features, dict(table.targets)), ratings.source, ratings.sha256


def _first(features: DataFrame, flags: list[str]) -> np.ndarray:
    """Index of the first flag that is set, or that of none."""
    values = features[flags].to_numpy()
    return np.where(values.any(axis=1), values.argmax(axis=1), len(flags)).astype(np.int64)


def take(rows: Rows, index: Tensor) -> Rows:
    """Select some of the rows."""
    return {name: column[index] for name, column in rows.items()}


def length(rows: Rows) -> int:
    """Number of rows."""
    return len(next(iter(rows.values())))


def split(rows: Rows, seed: int, shares: tuple[float, float, float] = (0.7, 0.15, 0.15)) -> tuple[Rows, Rows, Rows]:
    """Divide rows into those to train, to validate and to test on, drawn by the seed. Shares may leave rows over."""
    count = length(rows)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed + 1000))
    first, second, third = (round(share * count) for share in shares)
    ends = (first, first + second, first + second + third)
    return take(rows, order[: ends[0]]), take(rows, order[ends[0] : ends[1]]), take(rows, order[ends[1] : ends[2]])
