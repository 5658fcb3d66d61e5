"""Tests nested linear models: do further columns explain more than chance would?

Columns that were chosen because they fit must be tested on rows that did not choose them (`halves`), and next to
columns that nobody chose (`random_products`): selecting and testing on the same rows finds an effect in pure noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from flowgrad.errors import StatisticsError
from flowgrad.gate import Objection, refuse, serial_objection, table_objection
from flowgrad.lazy import LazyModule

_linear = LazyModule("statsmodels.regression.linear_model")
_tools = LazyModule("statsmodels.tools.tools")


@dataclass(frozen=True)
class NestedResult:
    """F-test of an OLS model against one that lacks some of its columns."""

    n: int
    """Number of rows."""
    df_diff: int
    """Number of columns that the larger model has more."""
    df_resid: int
    """Residual degrees of freedom of the larger model."""
    f: float
    p: float
    r2_adjusted_smaller: float
    r2_adjusted_larger: float
    partial_eta2: float
    """Share, in [0, 1], of the smaller model's residual sum of squares that the added columns explain."""
    cohen_f2: float
    """Effect size partial_eta2 / (1 - partial_eta2), 0 or more (Cohen 1988, ch. 9)."""
    verdict: str
    """Verdict: `confirmed` (p < alpha) or `inconclusive`."""
    objection: Objection | None = None
    """Objection of the gate to the rows or their order (see `flowgrad.gate`); where it blocks, the verdict is
    `inconclusive`.
    """


def nested_f(
    data: pd.DataFrame, target: str, smaller: Sequence[str], added: Sequence[str], alpha: float = 0.05
) -> NestedResult:
    """Make the F-test of `target ~ smaller + added` against `target ~ smaller`, both with an intercept.

    Args:
        data: one line an observation; the columns named must be numbers.
        target: column that is explained.
        smaller: columns of the smaller model; may be empty.
        added: columns that the larger one has besides.
        alpha: level.

    Raises:
        StatisticsError: a column that is missing, named twice, no number, not finite or a combination of the others;
            nothing added; too few rows. A `GateError`: rows that are copies of each other.
    """
    columns = [*smaller, *added]
    _check_columns(data, target, columns, added)
    y = data[target].to_numpy(dtype=float)
    x = _tools.add_constant(_standardised(data[columns].to_numpy(dtype=float)), has_constant="add")
    if len(y) < x.shape[1] + 1:
        raise StatisticsError(f"{len(y)} rows are too few for a model of {len(columns)} columns and an intercept")
    if np.ptp(y) == 0:
        raise StatisticsError(f"{target!r} is {y[0]:g} in every row; there is nothing to explain")
    _check_rank(x, columns)
    larger_fit = _linear.OLS(y, x).fit()
    smaller_fit = _linear.OLS(y, x[:, : len(smaller) + 1]).fit()
    if larger_fit.ssr <= 1e-20 * smaller_fit.centered_tss:
        raise StatisticsError(f"the larger model explains {target!r} without a rest; F is infinite. Is it in a column?")
    objection = refuse(table_objection(data[columns], y))
    if objection is None or not objection.blocks:
        own = x[:, len(smaller) + 1 :]
        rest = own - smaller_fit.model.exog @ np.linalg.lstsq(smaller_fit.model.exog, own, rcond=None)[0]
        objection = serial_objection(smaller_fit.resid, rest) or objection
    blocked = objection is not None and objection.blocks
    f, p, df_diff = larger_fit.compare_f_test(smaller_fit)
    explained = 1 - larger_fit.ssr / smaller_fit.ssr
    return NestedResult(
        n=len(y),
        df_diff=int(df_diff),
        df_resid=int(larger_fit.df_resid),
        f=float(f),
        p=float(p),
        r2_adjusted_smaller=float(smaller_fit.rsquared_adj),
        r2_adjusted_larger=float(larger_fit.rsquared_adj),
        partial_eta2=float(explained),
        cohen_f2=float(explained / (1 - explained)),
        verdict="confirmed" if p < alpha and not blocked else "inconclusive",
        objection=objection,
    )


def halves(data: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Divide the rows into two random halves: one to select columns on, one to test them on.

    Raises:
        StatisticsError: fewer than two rows.
    """
    if len(data) < 2:
        raise StatisticsError(f"{len(data)} row(s) cannot be halved")
    order = np.random.default_rng(seed).permutation(len(data))
    middle = len(data) // 2
    return data.iloc[np.sort(order[:middle])], data.iloc[np.sort(order[middle:])]


def random_products(
    data: pd.DataFrame, target: str, columns: Sequence[str], count: int, draws: int, seed: int
) -> Iterator[NestedResult]:
    """Make the control: the same test for products of pairs of `columns` that were drawn and not selected.

    Args:
        data: as for `nested_f`; the half to test on.
        target: column that is explained.
        columns: columns of the smaller model, and what the pairs are drawn from.
        count: pairs in each draw, as many as were selected.
        draws: how often.
        seed: of the draws.

    Raises:
        StatisticsError: as `nested_f`; fewer pairs than `count`.
    """
    pairs = list(combinations(columns, 2))
    if not 1 <= count <= len(pairs):
        raise StatisticsError(f"count={count}: {len(columns)} columns have {len(pairs)} pairs")
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        chosen = [pairs[i] for i in rng.choice(len(pairs), count, replace=False)]
        products = {f"{a} x {b}": data[a] * data[b] for a, b in chosen}
        yield nested_f(data.assign(**products), target, columns, list(products))


def _check_columns(data: pd.DataFrame, target: str, columns: Sequence[str], added: Sequence[str]) -> None:
    if not added:
        raise StatisticsError("no column is added (df_diff = 0); name at least one that the smaller model lacks")
    for place, name in enumerate(columns):
        if name == target or name in columns[:place]:
            raise StatisticsError(f"column {name!r} is named twice")
    for name in (target, *columns):
        if name not in data:
            raise StatisticsError(f"there is no column {name!r}; the data have {', '.join(map(str, data))}")
        if not pd.api.types.is_numeric_dtype(data[name]):
            raise StatisticsError(f"column {name!r} holds {data[name].dtype}; encode it as numbers first")
        bad = np.flatnonzero(~np.isfinite(data[name].to_numpy(dtype=float)))
        if len(bad):
            raise StatisticsError(f"column {name!r} is {data[name].iloc[bad[0]]} at row {data.index[bad[0]]}; drop it")


def _standardised(x: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and deviation 1 (0 where constant): F does not depend on their units, rounding does."""
    centred = x - x.mean(axis=0)
    deviation = centred.std(axis=0)
    constant = deviation <= 1e-12 * np.abs(x).max(axis=0, initial=0)
    return np.where(constant, 0.0, centred / np.where(constant, 1.0, deviation))


def _check_rank(x: np.ndarray, columns: Sequence[str]) -> None:
    """Refuse the first column that depends on the intercept and those before it."""
    if np.linalg.matrix_rank(x) == x.shape[1]:
        return
    for place in range(1, x.shape[1]):
        if np.linalg.matrix_rank(x[:, : place + 1]) <= place:
            raise StatisticsError(
                f"column {columns[place - 1]!r} is a combination of the intercept and the columns before it "
                "(the design is singular); leave it out"
            )
