"""Fits the additive model: each column alone explains a target by a line, a square and hinges.

An effect of two columns together is what no such model can express; a curve that it cannot follow would seem one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np
from numpy.typing import NDArray

from flowgrad.lazy import LazyModule

linalg = LazyModule("scipy.linalg")

Floats = NDArray[np.float64]

CHUNK = 4096
"""Number of rows handled at a time."""
MOST_HINGES = 3
"""Hinges a column: max(z - knot, 0) with knots at the quartiles."""
ROWS_A_TERM = 8
"""Rows that a term needs before columns get hinges."""
MOST_TERMS = 1200
"""Terms beyond which columns get no hinges: the model costs rows x terms^2."""
_KNOT_ROWS = 20_000
"""Rows, evenly spaced, that the quantiles are read from."""
_SPAN = 1e-10
"""Share of the largest eigenvalue below which a direction of the terms counts as dependent on others."""


def hinges(rows: int, columns: int) -> int:
    """Number of hinges each column gets.

    >>> hinges(1000, 15), hinges(284, 30), hinges(100_000, 500)
    (3, 0, 0)
    """
    terms = min(rows // ROWS_A_TERM, MOST_TERMS) // max(columns, 1)
    return min(max(terms - 2, 0), MOST_HINGES)


class Curves:
    """Terms of the additive model, from rows of columns."""

    def __init__(self, X: Floats, straight: Collection[int] = ()) -> None:
        """Standardise by X, shape (rows, columns) without constant columns, and find the knots.

        Args:
            X: what the curves are made by.
            straight: places of columns that get a line and nothing more.
        """
        self.mean, self.scale = X.mean(axis=0), X.std(axis=0)
        self.bent = np.setdiff1d(np.arange(X.shape[1]), list(straight))
        some = (X[:: max(1, len(X) // _KNOT_ROWS), self.bent] - self.mean[self.bent]) / self.scale[self.bent]
        count = hinges(*X.shape)
        self.knots = np.quantile(some, np.arange(1, count + 1) / (count + 1), axis=0)
        """Knots of the hinges, shape (hinges a column, bent columns)."""

    def standardise(self, X: Floats) -> Floats:
        """Columns of mean 0 and deviation 1 on the rows that the curves were made by."""
        z = X - self.mean
        z /= self.scale
        return z

    def terms(self, z: Floats) -> Floats:
        """A constant, columns, squares, hinges; shape (rows, terms)."""
        columns, curved = z.shape[1], len(self.bent)
        bent = z if curved == columns else z[:, self.bent]
        found = np.empty((len(z), 1 + columns + (1 + len(self.knots)) * curved))
        found[:, 0] = 1
        found[:, 1 : 1 + columns] = z
        start = 1 + columns
        np.multiply(bent, bent, out=found[:, start : start + curved])
        found[:, start : start + curved] -= 1
        for knots in self.knots:
            start += curved
            np.subtract(bent, knots, out=found[:, start : start + curved])
            np.maximum(found[:, start : start + curved], 0, out=found[:, start : start + curved])
        return found


class AdditiveModel:
    """OLS of a target on the curves of all columns, in memory of terms^2 and a chunk of rows, besides the data.

    Attributes:
        X: shape (rows, columns), finite, no constant column.
        y: shape (rows,).
        curves: its terms.
        rank: number of independent terms.
        rss: residual sum of squares.
    """

    def __init__(self, X: Floats, y: Floats, straight: Collection[int] = ()) -> None:
        self.X, self.y, self.curves = X, y, Curves(X, straight)
        centre = float(y.mean())
        gram, right = _sums(self._terms_and(y - centre))
        self.root = _root(gram)
        """Matrix W of shape (terms, rank): terms @ W has orthonormal columns."""
        columns = slice(1, 1 + X.shape[1])
        self._line_root = _root(gram[columns, columns])
        self._weights = self.root @ (self.root.T @ right)
        self._weights[0] += centre
        self.rank = self.root.shape[1]
        self.rss = sum(float(left @ left) for _, _, left in self.chunks())

    def chunks(self) -> Iterator[tuple[Floats, Floats, Floats]]:
        """Standardised columns, terms, and residuals of the target, `CHUNK` rows at a time."""
        for rows in self.row_slices():
            z = self.curves.standardise(self.X[rows])
            terms = self.curves.terms(z)
            yield z, terms, self.y[rows] - terms @ self._weights

    def row_slices(self) -> Iterator[slice]:
        """Slices of the rows, one a chunk."""
        for start in range(0, len(self.y), CHUNK):
            yield slice(start, start + CHUNK)

    def explain(self, terms_of: Callable[[Floats, Floats], Floats]) -> tuple[Floats, Floats, Floats, Floats]:
        """Say how much of further terms the model explains.

        Args:
            terms_of: from rows of columns, raw and standardised, to shape (rows, further).

        Returns:
            Of each: its sum of squares about the mean, its products with the model's terms, of shape (terms, further),
            and the parts of that sum that the columns' lines explain, and the whole model.
        """
        squares, crossed = np.zeros(1), np.zeros((1, 1))
        for (z, terms, _), rows in zip(self.chunks(), self.row_slices(), strict=True):
            further = terms_of(self.X[rows], z)
            squares = squares + (further * further).sum(axis=0)
            crossed = crossed + terms.T @ further
        constant = crossed[0] ** 2 / len(self.y)
        lines = ((self._line_root.T @ crossed[1 : 1 + self.X.shape[1]]) ** 2).sum(axis=0)
        whole = ((self.root.T @ crossed) ** 2).sum(axis=0) - constant
        return squares - constant, crossed, lines, whole

    def _terms_and(self, y: Floats) -> Iterator[tuple[Floats, Floats]]:
        for rows in self.row_slices():
            yield self.curves.terms(self.curves.standardise(self.X[rows])), y[rows]


def _root(gram: Floats) -> Floats:
    """Matrix W with orthonormal terms @ W, where gram is terms' @ terms; dependent terms count once."""
    length = np.sqrt(np.maximum(np.diag(gram), np.finfo(float).tiny))
    values, vectors = linalg.eigh(gram / np.outer(length, length))
    kept = values > _SPAN * values[-1]
    return vectors[:, kept] / np.sqrt(values[kept]) / length[:, None]


def _sums(parts: Iterator[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Products of the terms with each other, and with the target."""
    gram, right = np.zeros((1, 1)), np.zeros(1)
    for terms, y in parts:
        gram, right = gram + terms.T @ terms, right + terms.T @ y
    return gram, right
