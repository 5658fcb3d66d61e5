"""Which products of two columns explain what the columns alone do not: partial F of every pair, vectorised.

For each pair, F is that of OLS of the target on the columns, their squares and the product, against the same without
the product (Frisch & Waugh 1933; Lovell 1963): with r and u what the former leave of target and product,
F = (u'r)^2 / u'u over the residual variance. All u'r come of one matrix product. The u'u are first taken with
respect to the pair's own columns alone, which bounds F from below, and then exactly for the pairs that lead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, stats

Floats = NDArray[np.float64]

CHUNK = 8192
"""Rows at a time."""
BATCH = 256
"""Pairs whose exact denominators are found at a time."""
BUDGET = 4096
"""Pairs at most whose exact denominators are found."""
MOST_VIF = 10.0
"""Variance inflation above which a product says little that the columns do not (Kutner et al. 2004, ch. 10)."""


@dataclass(frozen=True)
class Screened:
    """Pairs by falling F; shape (pairs,) each."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    f: Floats
    p: Floats
    """Of one pair alone; nothing is adjusted, and pairs were selected by it."""
    vif: Floats
    """Variance of the product over what columns and squares leave of it."""
    complete: bool
    """True where no other pair can have a larger F, false where only `BUDGET` leading pairs were looked at exactly."""


def partial_f(X: Floats, y: Floats, top: int) -> Screened:
    """The `top` pairs with the largest partial F of their product, of those whose VIF is 10 or less.

    Memory is some columns^2 numbers and a chunk of rows, beside the data.

    Args:
        X: shape (rows, columns), finite; a constant column is in no pair.
        y: shape (rows,), finite.
        top: how many; fewer where there are not as many.

    Raises:
        ValueError: fewer rows than terms of the model, or a target that the columns explain without a rest.
    """
    n, columns = X.shape
    mean, deviation = X.mean(axis=0), X.std(axis=0)
    varies = deviation > 1e-12 * np.abs(X).max(axis=0, initial=0.0)
    scale = np.where(varies, deviation, 1.0)
    base = _Base(X, y, mean, np.where(varies, 1 / scale, 0.0))
    if base.df < 1:
        raise ValueError(f"{n} rows are too few for {columns} columns, their squares and a product")
    if base.rss <= 1e-20 * n * float(y.var()):
        raise ValueError("the columns explain the target without a rest; is it among them?")
    first, second = np.triu_indices(columns, k=1)
    used = varies[first] & varies[second]
    first, second = first[used], second[used]
    moments = base.moments()
    numerator = moments.residual[first, second] ** 2
    spread = moments.squares[first, second] - moments.products[first, second] ** 2 / n
    own = moments.own_rest(first, second, n)
    lower = numerator / np.maximum(own, _tiny(spread, n))
    upper = numerator / np.maximum(spread / MOST_VIF, _tiny(spread, n))
    order = np.argsort(-lower, kind="stable")
    rest = np.full(len(order), np.nan)
    done, complete = 0, False
    while done < min(len(order), max(BUDGET, 4 * top)):
        batch = order[done : done + BATCH]
        rest[batch] = moments.squares[first[batch], second[batch]] - base.explained(first[batch], second[batch])
        done += len(batch)
        known = order[:done]
        fitting = known[rest[known] * MOST_VIF >= spread[known]]
        gains = np.sort(numerator[fitting] / rest[fitting])[::-1]
        bar = gains[top - 1] if len(gains) >= top else -np.inf
        if not (upper[order[done:]] > bar).any():
            complete = True
            break
    known = order[:done]
    known = known[(rest[known] * MOST_VIF >= spread[known]) & (rest[known] > _tiny(spread[known], n))]
    gain = numerator[known] / rest[known]
    best = np.argsort(-gain, kind="stable")[:top]
    known, gain = known[best], gain[best]
    f = gain / (np.maximum(base.rss - gain, 0) / base.df)
    return Screened(
        first[known], second[known], f, stats.f.sf(f, 1, base.df), spread[known] / rest[known], complete or done == len(order)
    )


def _tiny(spread: Floats, n: int) -> Floats:
    return 1e-10 * np.maximum(spread, 1e-10 * n)


@dataclass(frozen=True)
class _Moments:
    """Sums over rows for all pairs, of standardised columns z; shape (columns, columns) each."""

    residual: Floats
    """z_i z_j r."""
    products: Floats
    """z_i z_j."""
    squares: Floats
    """z_i^2 z_j^2."""
    skew: Floats
    """z_i^2 z_j."""
    tail: Floats
    """z_i^3 z_j."""

    def own_rest(self, first: NDArray[np.intp], second: NDArray[np.intp], n: int) -> Floats:
        """What the two columns, their squares and a constant leave of the product."""
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


class _Base:
    """The model of columns and squares, and what it leaves of the target."""

    def __init__(self, X: Floats, y: Floats, mean: Floats, inverse: Floats) -> None:
        self._X, self._y, self._mean, self._inverse = X, y, mean, inverse
        terms = 1 + 2 * X.shape[1]
        gram, right = np.zeros((terms, terms)), np.zeros(terms)
        for z, target in self._chunks():
            b = _terms(z)
            gram += b.T @ b
            right += b.T @ target
        values, vectors = linalg.eigh(gram)
        kept = values > 1e-9 * values[-1]
        self._root = vectors[:, kept] / np.sqrt(values[kept])
        """W with W W' the inverse of the terms' products, on what they span."""
        self._weights = self._root @ (self._root.T @ right)
        self.df = len(y) - int(kept.sum()) - 1
        self.rss = sum(float(((target - _terms(z) @ self._weights) ** 2).sum()) for z, target in self._chunks())

    def moments(self) -> _Moments:
        """All sums that need no choice of pairs."""
        columns = self._X.shape[1]
        sums = [np.zeros((columns, columns)) for _ in range(5)]
        for z, target in self._chunks():
            left = target - _terms(z) @ self._weights
            square = z * z
            parts = (z * left[:, None], z), (z, z), (square, square), (square, z), (square * z, z)
            for total, (a, b) in zip(sums, parts, strict=True):
                total += a.T @ b
        return _Moments(*sums)

    def explained(self, first: NDArray[np.intp], second: NDArray[np.intp]) -> Floats:
        """Sum of squares of each product that the terms explain."""
        crossed = np.zeros((len(self._weights), len(first)))
        for z, _ in self._chunks():
            crossed += _terms(z).T @ (z[:, first] * z[:, second])
        return ((self._root.T @ crossed) ** 2).sum(axis=0)

    def _chunks(self) -> Iterator[tuple[Floats, Floats]]:
        for start in range(0, len(self._y), CHUNK):
            rows = slice(start, start + CHUNK)
            yield (self._X[rows] - self._mean) * self._inverse, self._y[rows]


def _terms(z: Floats) -> Floats:
    return np.concatenate([np.ones((len(z), 1)), z, z * z - 1], axis=1)
