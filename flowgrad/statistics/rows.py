"""Treats rows of a test set and seeds together: when a test over rows is valid, and what to do where it is not.

Both functions take the differences between two arms as a table, one line a seed, one column a row of the test set (or
a user, by the mean over his rows).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from flowgrad.errors import StatisticsError
from flowgrad.gate import refuse, seeds_objection
from flowgrad.lazy import LazyModule

stats = LazyModule("scipy.stats")


@dataclass(frozen=True)
class RowTestValidity:
    """Worth of a test over the rows of one seed."""

    v: float
    """Ratio of the mean difference's variance between seeds to its estimate from the rows of one seed."""
    false_alarm_rate: float
    """Probability that such a test would reject a true null, at its nominal level."""
    valid: bool
    """Whether V is 1 at most: the test would reject no more often than its level."""


@dataclass(frozen=True)
class CrossedResult:
    """Test of the mean difference for new seeds and new users alike."""

    seeds: int
    users: int
    difference: float
    ci_low: float
    ci_high: float
    seed_variance: float
    """Variance component of the seeds; 0 where its estimate is negative."""
    user_variance: float
    residual_variance: float
    statistic: float
    df: float
    """Degrees of freedom after Satterthwaite."""
    p: float
    """P-value, two-sided."""


def variance_ratio(differences: ArrayLike, alpha: float = 0.05) -> RowTestValidity:
    """Compute the V ratio: does a test over the rows of one seed take the seed's own effect for a fact about the arms?

    Such a test estimates the variance of the mean difference by s²_rows / n. Where the seed moves all rows together,
    that variance is V times as large, and the test rejects a true null with probability 2 Phi(-z / sqrt(V)).

    Args:
        differences: shape (seeds, rows).
        alpha: nominal level of the test over rows.

    Raises:
        StatisticsError: fewer than two seeds or rows, values that are not finite, or rows that do not differ.
    """
    table = _checked(differences)
    within = table.var(axis=1, ddof=1).mean() / table.shape[1]
    if within == 0:
        raise StatisticsError("the differences do not vary between rows; there is no test over rows to judge")
    v = float(table.mean(axis=1).var(ddof=1) / within)
    z = stats.norm.isf(alpha / 2)
    rate = 2 * stats.norm.sf(z / math.sqrt(v)) if v > 0 else 0.0
    return RowTestValidity(v, float(rate), v <= 1)


def crossed_t(differences: ArrayLike, alpha: float = 0.05) -> CrossedResult:
    """Test the mean difference in a crossed design, seeds x users, both random and one value a cell (Searle, Casella &
    McCulloch 1992, Variance Components, ch. 4): for a claim about users that the test set does not hold.

    The variance of the mean is (MS_seeds + MS_users - MS_residual) / (seeds users), with Satterthwaite's degrees of
    freedom; never less than the larger of the two main terms alone would give.

    Args:
        differences: shape (seeds, users).
        alpha: level of the interval.

    Raises:
        StatisticsError: fewer than two seeds or users, values that are not finite, or no variance at all.
    """
    table = _checked(differences)
    seeds, users = table.shape
    mean, by_seed, by_user = table.mean(), table.mean(axis=1), table.mean(axis=0)
    ms_seed = users * by_seed.var(ddof=1)
    ms_user = seeds * by_user.var(ddof=1)
    residual = table - by_seed[:, None] - by_user + mean
    residual_df = (seeds - 1) * (users - 1)
    ms_residual = (residual**2).sum() / residual_df
    if max(ms_seed, ms_user) == 0:
        raise StatisticsError(f"every seed and user differs by {mean:.6g}; there is no variance to test with")
    terms = [(ms_seed, seeds - 1), (ms_user, users - 1), (-ms_residual, residual_df)]
    total = sum(term for term, _ in terms)
    if total < max(ms_seed, ms_user):  # a component's estimate is negative: it is taken for zero
        terms = [max(terms[:2])]
        total = terms[0][0]
    error = math.sqrt(total / (seeds * users))
    df = total**2 / sum(term**2 / freedom for term, freedom in terms)
    statistic = mean / error
    half = stats.t.ppf(1 - alpha / 2, df) * error
    return CrossedResult(
        seeds=seeds,
        users=users,
        difference=float(mean),
        ci_low=float(mean - half),
        ci_high=float(mean + half),
        seed_variance=float(max(0.0, (ms_seed - ms_residual) / users)),
        user_variance=float(max(0.0, (ms_user - ms_residual) / seeds)),
        residual_variance=float(ms_residual),
        statistic=float(statistic),
        df=float(df),
        p=float(2 * stats.t.sf(abs(statistic), df)),
    )


def _checked(differences: ArrayLike) -> np.ndarray:
    table = np.asarray(differences, dtype=float)
    if table.ndim != 2 or min(table.shape) < 2:
        raise StatisticsError(f"differences have shape {table.shape}; at least two seeds and two rows are needed")
    if not np.isfinite(table).all():
        seed, row = (int(i) for i in np.argwhere(~np.isfinite(table))[0])
        raise StatisticsError(f"the difference of seed number {seed} at row {row} is {table[seed, row]}; drop that run")
    refuse(seeds_objection(table))
    return table
