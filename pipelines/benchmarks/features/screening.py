"""Runs one method on one table whose interactions are known."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from datasets.planted import Planted
from flowgrad.features import FeatureAnalyzer
from pipelines.benchmarks.features.cases import PlantedCase, RealTables
from pipelines.benchmarks.features.methods import METHODS, Pairs

PROVE = "prove"
"""Name of the method that names no fixed number of pairs but those that hold on rows which did not suggest them."""


@dataclass(frozen=True)
class Screening:
    """Work of one process: the table of a seed, and the method."""

    case: PlantedCase
    seed: int
    method: str
    """Name of the method, a key of `METHODS`, or `PROVE`."""


@dataclass(frozen=True)
class Screened:
    """Outcome of a screening."""

    truth: tuple[str, ...]
    """Interactions of the table, each as `first & second: shape`."""
    found: tuple[bool, ...]
    """Flags of each of them: whether it is among as many pairs as twice the interactions; of `PROVE`, among the
    proven.
    """
    named: int
    """Number of pairs that precision is a share of: as many as there are interactions; of `PROVE`, those proven."""
    right: int
    """Number of those pairs that interact."""
    seconds: float
    """Seconds that the method alone took."""


def screen(run: Screening, tables: RealTables) -> Screened:
    """Run the screening."""
    table = run.case.make(tables, run.seed)
    truth, k = [one.pair for one in table.truth], len(table.truth)
    start = time.perf_counter()
    if run.method == PROVE:
        looked_at = first = _proven(table, run.seed)
    else:
        looked_at = METHODS[run.method].pairs(table, 2 * k, run.seed)
        first = looked_at[:k]
    seconds = time.perf_counter() - start
    return Screened(
        truth=tuple(f"{one.first} & {one.second}: {one.shape}" for one in table.truth),
        found=tuple(pair in looked_at for pair in truth),
        named=len(first) if run.method == PROVE else k,
        right=_count(truth, first),
        seconds=seconds,
    )


def _proven(table: Planted, seed: int) -> Pairs:
    proven = FeatureAnalyzer(table.features, table.target).prove(seed=seed).proven
    return list(dict.fromkeys(frozenset((one.first, one.second or one.first)) for one in proven))


def _count(truth: Sequence[frozenset[str]], named: Pairs) -> int:
    return len(set(truth) & set(named))
