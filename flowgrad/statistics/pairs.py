"""Pairs observations, one line each: every seed stands once in either arm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowgrad.errors import StatisticsError
from flowgrad.gate import DOWNGRADED, Objection

LEAST_PAIRS = 3
"""Number of pairs below which nothing is proven: of two an interval says nothing."""


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
    of_metric = _where(observations["metric"], metric)
    units, values = pd.Index(observations[unit]), observations[value].to_numpy(dtype=float, na_value=np.nan)
    arms = {}
    for name in (baseline, treated):
        (own,) = np.nonzero(of_metric & _where(observations[arm], name))
        if not len(own):
            raise StatisticsError(f"{metric}: there is no observation of {arm} {name!r}")
        if (twice := units[own].duplicated()).any():
            unit_twice = units[own][twice][0]
            raise StatisticsError(f"{metric}: {unit} {unit_twice} stands twice in {arm} {name!r}; keep one of the two")
        own = own[units[own].argsort()]
        arms[name] = units[own], values[own]
    (of_one, one), (of_other, other) = arms[baseline], arms[treated]
    if alone := sorted(set(of_one) ^ set(of_other)):
        where = baseline if alone[0] in of_one else treated
        raise StatisticsError(
            f"{metric}: {unit} {alone[0]} stands in {arm} {where!r} only; pairs need every {unit} in both"
        )
    return Pairs(of_one.to_numpy(), one, other)


def _where(column: pd.Series, name: str) -> NDArray[np.bool_]:
    """Mask of the lines that hold the name; a line that holds nothing does not."""
    return (column == name).to_numpy(dtype=bool, na_value=False)


def too_few(n: int) -> Objection | None:
    """Objection to so many pairs; None where they are `LEAST_PAIRS` or more. Of fewer than two no test can be made,
    and tests refuse them.
    """
    if not 1 < n < LEAST_PAIRS:
        return None
    return Objection(
        "few pairs", DOWNGRADED, f"{n} pairs are too few for a verdict", f"give {LEAST_PAIRS} or more", n, n
    )
