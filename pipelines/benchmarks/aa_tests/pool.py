"""Divides runs of one configuration into arms between which nothing but the seeds differs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from flowgrad.errors import StatisticsError
from flowgrad.statistics import Comparison, user_significance, variance_ratio
from flowgrad.statistics.rows import RowTestValidity
from pipelines.trainers.evaluation import higher_is_better


@dataclass(frozen=True)
class Arms:
    """Arms of one A/A test: the values of each seed."""

    metrics: Mapping[str, np.ndarray]
    """Values of each tested metric, the primary one first, shape (arms, pairs)."""
    users: np.ndarray
    """The evaluation's first metric by user, shape (arms, pairs, users)."""
    spread: float
    """Standard deviation of the primary metric over seeds, of the whole pool."""

    @property
    def primary(self) -> str:
        """Name of the metric that is tested first."""
        return next(iter(self.metrics))

    @cached_property
    def user_lines(self) -> pd.DataFrame:
        """Lines on users of a run's significance table."""
        return user_significance(
            {"baseline": self.users[0], "treated": self.users[1]},
            [Comparison("treated_vs_baseline", "baseline", "treated", "a/a")],
            experiment="calibration",
            metric=self.primary,
            higher_is_better=higher_is_better(self.primary),
        )


@dataclass(frozen=True)
class Pool:
    """Runs of one configuration, each with a seed of its own."""

    metrics: Mapping[str, np.ndarray]
    """Values of each tested metric, the primary one first, shape (runs,)."""
    users: np.ndarray
    """The evaluation's first metric by user, shape (runs, users)."""

    @property
    def primary(self) -> str:
        """Name of the metric that is tested first."""
        return next(iter(self.metrics))

    def dealt(self, pairs: int, arms: int = 2, order: Iterable[int] | None = None) -> list[Arms]:
        """Divide the runs into as many A/A tests as they suffice for; no two share a run.

        Args:
            pairs: seeds an arm.
            arms: of each test.
            order: in which the runs are taken; by default that of their seeds.
        """
        spread = float(self.metrics[self.primary].std(ddof=1))
        runs = np.arange(len(self.users)) if order is None else np.fromiter(order, dtype=int)
        blocks = runs[: len(runs) // (arms * pairs) * arms * pairs].reshape(-1, arms, pairs)
        return [
            Arms({name: values[block] for name, values in self.metrics.items()}, self.users[block], spread)
            for block in blocks
        ]

    def row_validity(self, alpha: float) -> RowTestValidity | None:
        """Worth of a test over the users of one seed, from every run; None where users do not vary."""
        half = len(self.users) // 2
        try:
            return variance_ratio(self.users[half : 2 * half] - self.users[:half], alpha)
        except StatisticsError:
            return None
