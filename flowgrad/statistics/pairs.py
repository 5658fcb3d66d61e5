"""Pairs observations, one line each: every seed stands once in either arm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowgrad.errors import StatisticsError


@dataclass(frozen=True, eq=False)
class Pairs:
    """Values of one metric in two arms, paired by place."""

    units: NDArray[np.object_]
    """Units that pair the values (seeds), ascending, shape (n,)."""
    baseline: NDArray[np.float64]
    """Values of the baseline arm, shape (n,)."""
    treated: NDArray[np.float64]
    """Values of the treated arm, shape (n,)."""


def pair(
    observations: pd.DataFrame,
    baseline: str,
    treated: str,
    metric: str,
    *,
    arm: str = "arm",
    unit: str = "seed",
    value: str = "value",
) -> Pairs:
    """Pair the two arms' values of `metric` by `unit`.

    Args:
        observations: one line an arm, unit and metric; columns `arm`, `unit`, `metric` and `value`.
        baseline: name of the one arm.
        treated: name of the other.
        metric: which of the metrics.
        arm: column of the arm's name.
        unit: column of the unit that pairs the values.
        value: column of the values.

    Raises:
        StatisticsError: a column or an arm is missing, or a unit stands in one arm only or twice in one.
    """
    for column in (arm, unit, "metric", value):
        if column not in observations:
            raise StatisticsError(
                f"the observations have no column {column!r}; they have {', '.join(map(str, observations))}"
            )
    series = {}
    for name in (baseline, treated):
        own = observations[(observations[arm] == name) & (observations["metric"] == metric)]
        if own.empty:
            raise StatisticsError(f"{metric}: there is no observation of {arm} {name!r}")
        if own[unit].duplicated().any():
            twice = own[unit][own[unit].duplicated()].iloc[0]
            raise StatisticsError(f"{metric}: {unit} {twice} stands twice in {arm} {name!r}; keep one of the two")
        series[name] = own.set_index(unit)[value].sort_index()
    one, other = series[baseline], series[treated]
    if alone := sorted(set(one.index) ^ set(other.index)):
        where = baseline if alone[0] in one.index else treated
        raise StatisticsError(
            f"{metric}: {unit} {alone[0]} stands in {arm} {where!r} only; pairs need every {unit} in both"
        )
    return Pairs(one.index.to_numpy(), one.to_numpy(dtype=float), other.to_numpy(dtype=float))
