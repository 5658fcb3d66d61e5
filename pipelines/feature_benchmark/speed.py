"""What screening a large table costs: seconds, and memory beside the data, in a process of its own."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass

import torch

from datasets.null_tables import make_null
from datasets.planted import synthetic_features
from flowgrad.analyzers import FeatureAnalyzer
from pipelines.feature_benchmark.peer import columns_looked_at
from pipelines.overhead.memory import peak_bytes, reset_peak


@dataclass(frozen=True)
class Size:
    """Of a table; it is sent to the process that measures."""

    rows: int
    columns: int
    top: int
    """Pairs asked for."""
    seed: int


@dataclass(frozen=True)
class Cost:
    """Of `FeatureAnalyzer(X, y).interactions()`."""

    seconds: float
    peak_bytes: int | None
    """How far the most memory in use exceeded that before, the analyzer's copy of the table included; None where the
    system does not tell."""
    data_bytes: int
    """Of the table."""


def cost(size: Size) -> Cost:
    """Measure it in this process, with as many threads as the environment allows."""
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
    """Columns of such a table that the peer's permutation search looks at. It reads 1,000 rows whatever there are, so
    that as many say it.
    """
    rows = min(size.rows, 1000)
    return columns_looked_at(make_null(synthetic_features(rows, size.columns, size.seed), "curved", size.seed))
