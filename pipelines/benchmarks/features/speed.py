"""Measures the cost of screening a large table: seconds, and memory besides the data, in a process of its own."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass

import torch

from datasets.null_tables import make_null
from datasets.planted import synthetic_features
from flowgrad.features import FeatureAnalyzer
from pipelines.benchmarks.features.peer import columns_looked_at
from pipelines.benchmarks.overhead.memory import peak_bytes, reset_peak


@dataclass(frozen=True)
class Size:
    """Size of a table; it is sent to the process that measures."""

    rows: int
    columns: int
    top: int
    """Number of pairs asked for."""
    seed: int


@dataclass(frozen=True)
class Cost:
    """Cost of `FeatureAnalyzer(X, y).interactions()`."""

    seconds: float
    peak_bytes: int | None
    """Bytes by which the most memory in use exceeded that before, the analyzer's copy of the table included; None where
    the system does not say.
    """
    data_bytes: int
    """Size of the table, in bytes."""


def cost(size: Size) -> Cost:
    """Measure the cost in this process, with as many threads as the environment allows."""
    table = make_null(synthetic_features(size.rows, size.columns, size.seed), "curved", size.seed)
    X, y = table.features.to_numpy(), table.target
    del table
    gc.collect()
    cpu = torch.device("cpu")
    known = reset_peak(cpu)
    before = peak_bytes(cpu) if known else 0
    start = time.perf_counter()
    FeatureAnalyzer(X, y).interactions(top=size.top)
    seconds = time.perf_counter() - start
    return Cost(seconds, peak_bytes(cpu) - before if known else None, X.nbytes + y.nbytes)


def peer_columns(size: Size) -> int:
    """Number of columns of such a table that the peer's permutation search covers. It reads 1,000 rows whatever there
    are, so that as many suffice.
    """
    rows = min(size.rows, 1000)
    return columns_looked_at(make_null(synthetic_features(rows, size.columns, size.seed), "curved", size.seed))
