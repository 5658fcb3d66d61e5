"""Turns counts of hits and misses into precision, recall and F1, with intervals."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

RESAMPLES = 2000


@dataclass(frozen=True)
class Score:
    """Counts of named and true things, and their precision and recall."""

    hits: int
    """Number of things that are both named and true."""
    found: int
    true: int

    @property
    def precision(self) -> float:
        """Share of the named things that are true, in [0, 1]; NaN where none was named."""
        return self.hits / self.found if self.found else float("nan")

    @property
    def recall(self) -> float:
        """Share of the true things that were named, in [0, 1]."""
        return self.hits / self.true if self.true else float("nan")

    @property
    def f1(self) -> float:
        """F1 score in [0, 1], 2 hits / (found + true), the harmonic mean of the two (0 where nothing right was
        named).
        """
        return 2 * self.hits / (self.found + self.true) if self.found + self.true else float("nan")


def row_score(named: Collection[Hashable], truth: Collection[Hashable]) -> Score:
    """Score rows named against the rows that have the fault."""
    return Score(len(set(named) & set(truth)), len(set(named)), len(set(truth)))


def pooled(parts: pd.DataFrame) -> Score:
    """Sum counts; columns `hits`, `found`, `true`."""
    return Score(*(int(parts[name].sum()) for name in ("hits", "found", "true")))


def f1_interval(parts: pd.DataFrame, by: str = "seed", level: float = 0.95) -> tuple[float, float]:
    """Compute the percentile bootstrap interval of the pooled F1, whole groups of `by` drawn with replacement (Efron
    1979).

    Runs of one seed share the rows that were drawn, so the seed is what is drawn. NaN with fewer than 2 groups.
    """
    groups = [group[["hits", "found", "true"]].sum().to_numpy() for _, group in parts.groupby(by)]
    if len(groups) < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(0)
    counts = np.array(groups)[rng.integers(len(groups), size=(RESAMPLES, len(groups)))].sum(axis=1)
    with np.errstate(invalid="ignore"):
        f1 = 2 * counts[:, 0] / (counts[:, 1] + counts[:, 2])
    low, high = np.nanquantile(f1, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def share_interval(hits: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Compute Wilson's interval of a share (Brown, Cai & DasGupta 2001); NaN without trials."""
    if not trials:
        return float("nan"), float("nan")
    low, high = proportion_confint(hits, trials, alpha=1 - level, method="wilson")
    # Exact ends, where rounding leaves 7e-18.
    return (float(low) if hits else 0.0), (float(high) if hits < trials else 1.0)
