"""Finds pairs of columns that explain together what no column explains alone, by the partial F of every pair's product,
vectorised.

F is that of OLS of the target on the curves of all columns (`additive`) and the product, against the same without the
product (Frisch & Waugh 1933; Lovell 1963): with r and u what the curves leave of target and product,
F = (u'r)^2 / u'u over the residual variance. All u'r come of one matrix product. The u'u are first taken with respect
to the pair's own lines and squares, which bounds F from below, and then exactly for the pairs that lead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowgrad.features.screening.additive import AdditiveModel, Floats
from flowgrad.lazy import LazyModule

special = LazyModule("scipy.special")

BUDGET = 1024
"""Number of pairs whose exact denominators are computed: those with the largest lower bounds, and more where more are
asked for.
"""
MOST_VIF = 10.0
"""Variance inflation above which a product adds little to the columns (Kutner et al. 2004, ch. 10)."""
LEAST_OWN = 1e-4
"""Share of a term's variance that the curves must leave, so that rounding cannot decide."""


@dataclass(frozen=True)
class Screened:
    """Pairs by falling F; shape (pairs,) each."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    f: Floats
    p: Floats
    """P-value of one pair alone; nothing is adjusted, and pairs were selected by it."""
    vif: Floats
    """Variance of the product over what the columns themselves leave of it, as in a linear model of both; 1 or more."""
    df: int
    """Residual degrees of freedom of F."""
    complete: bool
    """True where every pair was computed exactly; false where only the `BUDGET` that lead by the lower bound were."""

    def __len__(self) -> int:
        return len(self.f)


def partial_f(model: AdditiveModel, top: int) -> Screened:
    """Find the `top` pairs with the largest partial F of their product, of those whose VIF is 10 or less.

    Memory is some columns^2 numbers and a chunk of rows, besides the data.

    Args:
        model: of columns and target; with a row at least for each of its terms and one more.
        top: how many; fewer where there are not as many.
    """
    n, columns = model.X.shape
    first, second = np.triu_indices(columns, k=1)
    moments = _moments(model)
    numerator = moments.residual[first, second] ** 2
    spread = moments.squares[first, second] - moments.products[first, second] ** 2 / n
    own = moments.own_rest(first, second, n)
    lead = np.argsort(-numerator / np.maximum(own, _tiny(spread, n)), kind="stable")[: max(BUDGET, top)]
    complete = len(lead) == len(first)
    first, second, numerator, spread = first[lead], second[lead], numerator[lead], spread[lead]
    explained, by_lines = _explained(model, first, second)
    rest = moments.squares[first, second] - moments.products[first, second] ** 2 / n - explained
    beside_lines = spread - by_lines
    fitting = np.flatnonzero(
        (beside_lines * MOST_VIF >= spread) & (rest > np.maximum(LEAST_OWN * spread, _tiny(spread, n)))
    )
    gain = numerator[fitting] / rest[fitting]
    best = np.argsort(-gain, kind="stable")[:top]
    chosen, gain = fitting[best], gain[best]
    df = n - model.rank - 1
    f = f_of(gain, model.rss, df)
    return Screened(first[chosen], second[chosen], f, p_of(f, df), spread[chosen] / beside_lines[chosen], df, complete)


def leading(pairs: Screened, columns: int) -> NDArray[np.intp]:
    """Places of the `columns` columns that come first in the pairs.

    >>> leading(Screened(np.array([2, 0]), np.array([3, 2]), *(np.ones(2),) * 3, 1, True), 3).tolist()
    [2, 3, 0]
    """
    order = np.column_stack([pairs.first, pairs.second]).ravel()
    _, first = np.unique(order, return_index=True)
    return order[np.sort(first)][:columns]


def f_of(gain: Floats, rss: float, df: int) -> Floats:
    """F of one further term that takes `gain` off the residual sum of squares."""
    with np.errstate(divide="ignore"):
        return gain / (np.maximum(rss - gain, 0.0) / df)


def p_of(f: Floats, df: int | Floats) -> Floats:
    """P-value, the upper tail of F with 1 and `df` degrees of freedom."""
    return special.fdtrc(1, df, np.maximum(f, 0))


def _tiny(spread: Floats, n: int) -> Floats:
    return 1e-10 * np.maximum(spread, 1e-10 * n)


@dataclass(frozen=True)
class _Moments:
    """Sums over rows for all pairs, of standardised columns z; shape (columns, columns) each."""

    residual: Floats
    """Sum of z_i z_j r."""
    products: Floats
    """Sum of z_i z_j."""
    squares: Floats
    """Sum of z_i^2 z_j^2."""
    skew: Floats
    """Sum of z_i^2 z_j."""
    tail: Floats
    """Sum of z_i^3 z_j."""

    def own_rest(self, first: NDArray[np.intp], second: NDArray[np.intp], n: int) -> Floats:
        """Sum of squares that the two columns, their squares and a constant leave of the product, shape (pairs,)."""
        i, j = first, second
        one = np.full(len(i), float(n))
        zero = np.zeros(len(i))
        terms = {
            (0, 0): one, (0, 1): zero, (0, 2): zero, (0, 3): one, (0, 4): one,
            (1, 1): one, (1, 2): self.products[i, j], (1, 3): self.skew[i, i], (1, 4): self.skew[j, i],
            (2, 2): one, (2, 3): self.skew[i, j], (2, 4): self.skew[j, j],
            (3, 3): self.squares[i, i], (3, 4): self.squares[i, j], (4, 4): self.squares[j, j],
        }  # fmt: skip
        gram = np.empty((len(i), 5, 5))
        for (a, b), values in terms.items():
            gram[:, a, b] = gram[:, b, a] = values
        # A column of two values has a square that says the same: the ridge keeps that solvable.
        gram[:, range(5), range(5)] += 1e-8 * n
        right = np.stack(
            [self.products[i, j], self.skew[i, j], self.skew[j, i], self.tail[i, j], self.tail[j, i]], axis=1
        )
        solved = np.linalg.solve(gram, right[:, :, None])[:, :, 0]
        return self.squares[i, j] - (right * solved).sum(axis=1)


def _moments(model: AdditiveModel) -> _Moments:
    columns = model.X.shape[1]
    sums = [np.zeros((columns, columns)) for _ in range(5)]
    for z, _, left in model.chunks():
        square = z * z
        parts = (z * left[:, None], z), (z, z), (square, square), (square, z), (square * z, z)
        for total, (a, b) in zip(sums, parts, strict=True):
            total += a.T @ b
    return _Moments(*sums)


def _explained(model: AdditiveModel, first: NDArray[np.intp], second: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Share of each product's sum of squares about the mean that the curves explain, and that the columns do."""
    whole, lines = np.zeros(len(first)), np.zeros(len(first))
    for start in range(0, len(first), BUDGET):
        own = slice(start, start + BUDGET)
        i, j = first[own], second[own]

        def products(_: Floats, z: Floats, i: NDArray[np.intp] = i, j: NDArray[np.intp] = j) -> Floats:
            return z[:, i] * z[:, j]

        _, _, lines[own], whole[own] = model.explain(products)
    return whole, lines
