"""Tests selected pairs in several ways, on a table without interactions: each rejection is a false alarm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from datasets.planted import Planted, random_of
from flowgrad.features import FeatureAnalyzer, Suggestion
from pipelines.benchmarks.features.cases import NullCase, RealTables

PROTOCOLS = ("prove", "prove, any term", "top pairs, other half", "top pairs, same rows", "random pairs")
"""Ways to test a table.

- `prove`: pairs that pass a false discovery rate on one half are tested together on the other
- `prove, any term`: the same one by one, the smallest p by Holm
- `top pairs, other half`: the leading pairs of one half, whether they pass or not, are tested on the other
- `top pairs, same rows`: all rows select and all rows test, which one must not do
- `random pairs`: pairs are not selected
"""
PROMISED = tuple(protocol for protocol in PROTOCOLS if protocol != "top pairs, same rows")
"""Protocols that promise to reject at their level and no more often."""


@dataclass(frozen=True)
class NullRun:
    """The table of a seed, tested in every way of `PROTOCOLS`."""

    case: NullCase
    seed: int
    top: int
    """Number of pairs selected, at most."""


def tested(run: NullRun, tables: RealTables) -> dict[str, float]:
    """P-value of the selected pairs by each protocol; NaN where it had nothing to test, which is no rejection."""
    table = run.case.make(tables, run.seed)
    one, other = _halves(table, run.seed)
    proof = _analyzer(table).prove(top=run.top, draws=1, seed=run.seed)
    found = (
        proof.p,
        float(proof.each["p_adjusted"].min()),
        _p(other, _selected(one, run.top)),
        _p(table, _selected(table, run.top)),
        _p(table, _random_pairs(table, run.top, run.seed)),
    )
    return dict(zip(PROTOCOLS, found, strict=True))


def _random_pairs(table: Planted, top: int, seed: int) -> list[Suggestion]:
    pairs = list(combinations(map(str, table.features.columns), 2))
    chosen = random_of(seed, 5).choice(len(pairs), min(top, len(pairs)), replace=False)
    return [Suggestion("product", *pairs[place]) for place in chosen]


def _selected(table: Planted, top: int) -> list[Suggestion]:
    found = _analyzer(table).interactions(top=top)
    return [Suggestion("product", first, second) for first, second in zip(found["first"], found["second"], strict=True)]


def _p(table: Planted, suggestions: Sequence[Suggestion]) -> float:
    return _analyzer(table).prove(suggestions, draws=0).p


def _halves(table: Planted, seed: int) -> tuple[Planted, Planted]:
    order = random_of(seed, 6).permutation(len(table.target))
    parts = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    one, other = (Planted(table.features.iloc[rows], table.target[rows]) for rows in parts)
    return one, other


def _analyzer(table: Planted) -> FeatureAnalyzer:
    return FeatureAnalyzer(table.features, table.target)
