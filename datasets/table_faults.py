"""Injects known faults of columns into a table; a diagnosis is scored against them.

Each function adds columns to a table and says which. In the test rows a column holds its values in use: one that leaks
is not known there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame, concat

from datasets.tables import TEST, TRAIN, VALIDATION, Table, content_sha256

_Column = NDArray[np.float64]


@dataclass(frozen=True)
class Faulted:
    """A table with the fault in it."""

    table: Table
    columns: tuple[str, ...]
    """Names of the columns that have it: the truth."""


def leak(table: Table, target: str, rng: np.random.Generator, noise: float) -> Faulted:
    """Add a column that was written down after the target: the target with noise.

    Args:
        table: table to add it to.
        target: name of the target.
        rng: of the noise.
        noise: its standard deviation, over the target's. R² is 1 / (1 + noise²).
    """
    return _added(table, [_unknown_in_use(table, _noisy(table.targets[target], rng, noise), rng)])


def leak_proxy(table: Table, target: str, rng: np.random.Generator, noise: float) -> Faulted:
    """Add a column as `leak` does, bent: the exponential of the noisy target in standard deviations."""
    y = table.targets[target]
    bent = np.exp(_noisy((y - y.mean()) / y.std(), rng, noise))
    return _added(table, [_unknown_in_use(table, bent, rng)])


def target_encoding(table: Table, target: str, rng: np.random.Generator, rows: float, prior: float = 0.0) -> Faulted:
    """Add the mean target of the training rows of a group, each of them counted in its own.

    Groups are drawn at random and so carry nothing: in training the column reveals the row's own target.

    Args:
        table: table to add it to.
        target: name of the target.
        rng: of the groups.
        rows: training rows a group, on average.
        prior: rows of the overall mean that are added to each group's (Micci-Barreca 2001).
    """
    y, train = table.targets[target], table.parts == TRAIN
    groups = max(2, round(train.sum() / rows))
    group = rng.integers(groups, size=len(y))
    count = np.bincount(group[train], minlength=groups)
    total = np.bincount(group[train], weights=y[train], minlength=groups)
    overall = y[train].mean()
    known = count + prior
    mean = np.divide(total + prior * overall, known, out=np.full(groups, overall), where=known > 0)
    return _added(table, [mean[group]])


def ids_in_order(table: Table, target: str, rng: np.random.Generator, noise: float) -> Faulted:
    """Add a number for each row. Training rows were numbered in order of the noisy target, as files sorted by outcome
    are; later rows go on counting.
    """
    train = table.parts == TRAIN
    n, known = len(train), int(train.sum())
    numbers = np.empty(n)
    order = np.argsort(_noisy(table.targets[target][train], rng, noise), kind="stable")
    numbers[np.flatnonzero(train)[order]] = np.arange(known)
    numbers[~train] = known + rng.permutation(n - known)
    return _added(table, [numbers])


def batch_codes(table: Table, target: str, rng: np.random.Generator, rows: float, noise: float) -> Faulted:
    """Add a code for each batch of rows, in no order. Training rows of a batch have like targets (of the noisy target);
    elsewhere codes carry nothing.

    Args:
        table: table to add it to.
        target: name of the target.
        rng: of noise and codes.
        rows: training rows a batch.
        noise: as in `leak`.
    """
    train = table.parts == TRAIN
    known = int(train.sum())
    batches = max(2, round(known / rows))
    names = rng.permutation(10 * batches)[:batches].astype(float)
    order = np.argsort(_noisy(table.targets[target][train], rng, noise), kind="stable")
    batch = rng.integers(batches, size=len(train))
    batch[np.flatnonzero(train)[order]] = np.arange(known) * batches // known
    return _added(table, [names[batch]])


def dominant_column(table: Table, target: str, rng: np.random.Generator, times: float) -> Faulted:
    """Add an honest column, known in use, that explains `times` as much of the target as the best of the others (.9 at
    most), by squared correlation on the training or on the validation rows.
    """
    y, parts = table.targets[target], [table.parts == part for part in (TRAIN, VALIDATION)]
    best = max(_squared_correlation(column[rows], y[rows]) for column in table.features.to_numpy().T for rows in parts)
    r2 = min(times * best, 0.9)
    return _added(table, [_noisy(y, rng, np.sqrt(1 / r2 - 1))])


def copied_columns(table: Table, rng: np.random.Generator, count: int, noise: float) -> Faulted:
    """Add columns in other units, measured again: a·x + b with noise of `noise` standard deviations of x."""
    values = table.features.to_numpy()
    able = np.flatnonzero(table.features[table.parts == TRAIN].std() > 0)
    copies = []
    for place in rng.permutation(able)[:count]:
        column = values[:, place]
        spread = np.nanstd(column)
        copies.append(_noisy(column, rng, noise) * rng.choice([-1, 1]) * rng.uniform(0.5, 20) + spread * rng.normal())
    return _added(table, copies)


def constant_columns(table: Table) -> Faulted:
    """Add one column of a single value, and one without any."""
    n = len(table.parts)
    return _added(table, [np.full(n, 7.0), np.full(n, np.nan)])


def noise_columns(table: Table, rng: np.random.Generator, count: int) -> Faulted:
    """Add columns that are independent of everything: in turns normal, and whole numbers from 0 to 99."""
    n = len(table.parts)
    draws = [rng.normal(size=n) if i % 2 == 0 else rng.integers(100, size=n).astype(float) for i in range(count)]
    return _added(table, draws)


def _added(table: Table, columns: list[_Column]) -> Faulted:
    names: list[str] = []
    number = 0
    while len(names) < len(columns):
        number += 1
        if (name := f"added_{number}") not in table.features:
            names.append(name)
    more = DataFrame(dict(zip(names, columns, strict=True)), dtype=np.float64)
    sha256 = hashlib.sha256(f"{table.sha256} {content_sha256(more, {})}".encode()).hexdigest()
    features = concat([table.features, more.set_index(table.features.index)], axis=1)
    return Faulted(replace(table, features=features, sha256=sha256), tuple(names))


def _noisy(values: _Column, rng: np.random.Generator, noise: float) -> _Column:
    return values + noise * np.nanstd(values) * rng.normal(size=len(values))


def _unknown_in_use(table: Table, column: _Column, rng: np.random.Generator) -> _Column:
    """Give test rows values of training rows at random: the column keeps its distribution, and carries nothing."""
    column = column.copy()
    tested = table.parts == TEST
    column[tested] = rng.choice(column[table.parts == TRAIN], size=int(tested.sum()))
    return column


def _squared_correlation(x: _Column, y: _Column) -> float:
    known = ~np.isnan(x)
    if known.sum() < 2 or not x[known].std() or not y[known].std():
        return 0.0
    return float(np.corrcoef(x[known], y[known])[0, 1] ** 2)
