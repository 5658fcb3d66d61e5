"""Makes many tests of further columns against one smaller model, which is fitted once.

`nested_f` is the plain form of one such test. By the theorem of Frisch, Waugh and Lovell the tests need only the
residuals of the target and of each added column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowgrad.errors import StatisticsError
from flowgrad.gate import REFUSED, GateError, Objection, serial_objection
from flowgrad.lazy import LazyModule
from flowgrad.statistics.nested import NestedResult

linalg, stats = LazyModule("scipy.linalg"), LazyModule("scipy.stats")

Floats = NDArray[np.float64]

_SPAN = 1e-4
"""Share of an added column's length below which its residual given the others counts as nothing: a VIF of 1e8."""
_ALONE = 1e-8
"""Residual of 1 by the leverage of a row that has a term to itself, below which it counts as none."""
_CONDITION = 1e-12
"""Share of the largest eigenvalue below which a direction of the smaller model's columns counts as dependent."""


@dataclass(frozen=True)
class AddedColumn:
    """Effect of one added column, given the smaller model and the others added."""

    f: float
    p: float
    """The larger of the p-values of F and of the robust test."""
    partial_eta2: float
    """Share, in [0, 1], of what all the others leave unexplained that it explains."""
    vif: float
    """Variance of the column over its residual variance given all the others, 1 or more."""


@dataclass(frozen=True)
class AddedColumns:
    """A nested F-test, and the same question under unequal variances."""

    nested: NestedResult
    p_robust: float
    """P-value of the Wald test against F, with the HC3 covariance (MacKinnon & White 1985, J. Econometrics 29:305).
    With groups, the covariance is that of the jackknife over them, which is as uncertain as they are few: the test is
    Hotelling's, F of columns and groups - columns degrees of freedom (Pustejovsky & Tipton 2018, J. Bus. Econ. Stat.
    36:672).
    """
    each: tuple[AddedColumn, ...]
    """Effect of each added column, in the order added."""

    @property
    def p(self) -> float:
        """P-value, the larger of both: small only where neither the noise's variance nor a few rows or groups made it
        so.
        """
        return max(self.nested.p, self.p_robust)


class SmallerModel:
    """An OLS model with an intercept that columns are added to."""

    def __init__(self, columns: Floats, target: Floats, groups: NDArray[np.intp] | None = None) -> None:
        """Fit the model.

        Args:
            columns: shape (rows, columns), finite; dependent ones add nothing and do no harm.
            target: shape (rows,), finite.
            groups: what each row belongs to, shape (rows,), where noise is alike in a group; None: rows stand alone.

        Raises:
            StatisticsError: a constant target, one that the columns explain without a rest, or too few rows.
        """
        n = len(target)
        if np.ptp(target) == 0:
            raise StatisticsError(f"the target is {target[0]:g} in every row; there is nothing to explain")
        centred = columns - columns.mean(axis=0)
        length = np.sqrt((centred**2).sum(axis=0))
        kept = length > 1e-12 * np.sqrt(n) * np.abs(columns).max(axis=0, initial=0)
        design = np.concatenate([np.full((n, 1), n**-0.5), centred[:, kept] / length[kept]], axis=1)
        self._q = _basis(design)
        rank = self._q.shape[1]
        if n < rank + 2:
            raise StatisticsError(f"{n} rows are too few for a model of {rank} terms and another")
        self._rank, self._n = rank, n
        self._residual = self._rest(target)
        self._rss = float(self._residual @ self._residual)
        self._total = float(((target - target.mean()) ** 2).sum())
        self._leverage = (self._q**2).sum(axis=1)
        self._group = None if groups is None else np.unique(groups, return_inverse=True)[1]
        if self._rss <= 1e-20 * self._total:
            raise StatisticsError("the smaller model explains the target without a rest; is it in a column?")

    def independent(self, added: Floats) -> NDArray[np.bool_]:
        """Flags of the columns, of shape (rows, added), that are independent of the smaller model and of those before
        them.
        """
        rest, length = self._unit(added)
        new = np.zeros(added.shape[1], dtype=bool)
        basis = np.zeros((self._n, 0))
        for place in np.flatnonzero(length > 0):
            own = rest[:, place] - basis @ (basis.T @ rest[:, place])
            if size := float(np.linalg.norm(own)) * (np.linalg.norm(own) > _SPAN):
                basis, new[place] = np.column_stack([basis, own / size]), True
        return new

    def in_order(self, added: Floats) -> Objection | None:
        """The gate's objection to rows, or groups, that are alike to those next to them in what the test of these
        columns, shape (rows, added), rests on; columns that depend on others are left out.
        """
        used = self.independent(added)
        return serial_objection(self._residual, self._unit(added[:, used])[0], self._group) if used.any() else None

    def test(self, added: Floats, alpha: float = 0.05) -> AddedColumns:
        """Test whether columns of shape (rows, added) explain more than chance would.

        Raises:
            StatisticsError: no column; one that depends on the smaller model and those before it; too few rows. A
                `GateError`: no more groups than columns.
        """
        df = self._free(added)
        k = added.shape[1]
        q, r, said, left = self._fitted(added)
        rss = float(left @ left)
        if self._group is None:
            covariance, known = self._covariance(q, left), df
            scale, df_joint = 1.0, df
        else:
            covariance, known = self._grouped_covariance(q, left, self._group), min(df, int(self._group.max()))
            df_joint = known - k + 1
            if df_joint < 1:
                raise GateError(
                    Objection(
                        "few groups",
                        REFUSED,
                        f"{known + 1} groups are too few to test {k} columns together",
                        f"give {k + 1} groups at least, or fewer columns",
                        0,  # no single row is at fault
                        known + 1,
                    )
                )
            scale = df_joint / known
        # Columns added at random may leave too little to say how they vary; pinv takes no inverse of that.
        wald = float(said @ np.linalg.pinv(covariance, hermitian=True) @ said)
        p_robust = float(stats.f.sf(scale * wald / k, k, df_joint))
        nested = self._nested(said, rss, k, df, alpha)
        return AddedColumns(nested, p_robust, self._each(r, said, covariance, rss, df, known))

    def nested(self, added: Floats, alpha: float = 0.05) -> NestedResult:
        """Make the F-test of `test` alone.

        Raises:
            StatisticsError: as `test`, whatever the groups.
        """
        df = self._free(added)
        _, _, said, left = self._fitted(added)
        return self._nested(said, float(left @ left), added.shape[1], df, alpha)

    def _free(self, added: Floats) -> int:
        """Residual degrees of freedom with the added columns."""
        if added.ndim != 2 or not added.shape[1]:
            raise StatisticsError("no column is added (df_diff = 0); give at least one that the smaller model lacks")
        terms = self._rank + added.shape[1]
        if self._n <= terms:
            raise StatisticsError(f"{self._n} rows are too few for a model of {terms} terms")
        return self._n - terms

    def _fitted(self, added: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Orthonormal columns that span the added ones beside the smaller model, their triangle, the target's
        coefficients on them, and its residuals by the larger model.
        """
        q, r = np.linalg.qr(self._unit(added)[0])
        for place in np.flatnonzero(np.abs(np.diag(r)) <= _SPAN):
            raise StatisticsError(
                f"added column {place} is a combination of the smaller model and the columns before it; leave it out"
            )
        said = q.T @ self._residual
        left = self._residual - q @ said
        if float(left @ left) <= 1e-20 * self._total:
            raise StatisticsError("the larger model explains the target without a rest; F is infinite")
        return q, r, said, left

    def _nested(self, said: Floats, rss: float, k: int, df: int, alpha: float) -> NestedResult:
        gain = float(said @ said)
        f = gain / k / (rss / df)
        p = float(stats.f.sf(f, k, df))
        eta2 = gain / self._rss
        return NestedResult(
            n=self._n,
            df_diff=k,
            df_resid=df,
            f=f,
            p=p,
            r2_adjusted_smaller=self._adjusted_r2(self._rss, self._n - self._rank),
            r2_adjusted_larger=self._adjusted_r2(rss, df),
            partial_eta2=eta2,
            cohen_f2=eta2 / (1 - eta2),
            verdict="confirmed" if p < alpha else "inconclusive",
        )

    def _each(
        self, r: Floats, said: Floats, covariance: Floats, rss: float, df: int, df_robust: int
    ) -> tuple[AddedColumn, ...]:
        inverse = linalg.solve_triangular(r, np.eye(len(r)))
        weights = inverse @ said
        bread = (inverse**2).sum(axis=1)
        robust = ((inverse @ covariance) * inverse).sum(axis=1)
        found = []
        for weight, unit, meat in zip(weights, bread, robust, strict=True):
            gain = float(weight**2 / unit)
            f = gain / (rss / df)
            p = max(float(stats.f.sf(f, 1, df)), float(stats.f.sf(weight**2 / meat, 1, df_robust)))
            found.append(AddedColumn(f, p, gain / (rss + gain), float(unit)))
        return tuple(found)

    def _covariance(self, q: Floats, left: Floats) -> Floats:
        """HC3 covariance of the coefficients in the coordinates of `q`, where the bread of the sandwich is 1."""
        free = 1 - self._leverage - (q**2).sum(axis=1)
        # A row with leverage 1 is fitted exactly; what it would be without itself, nobody knows. It proves nothing.
        without = np.where(free > _ALONE, left / np.maximum(free, _ALONE), np.sqrt(self._total) / _ALONE)
        scaled = q * without[:, None]
        return scaled.T @ scaled

    def _grouped_covariance(self, q: Floats, left: Floats, group: NDArray[np.intp]) -> Floats:
        """Jackknife covariance over groups, shape (added, added): sum of (b - b without g)^2, where the larger model is
        fitted anew without each group, its curves too (Bell & McCaffrey 2002, Survey Methodology 28:169; CV3 of
        MacKinnon, Nielsen & Webb 2023, J. Appl. Econometrics 38:671, but for its factor of (groups - 1) / groups).
        """
        order, k = np.argsort(group, kind="stable"), q.shape[1]
        total = np.zeros((k, k))
        for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
            design, own, rest = np.concatenate([self._q[rows], q[rows]], axis=1), q[rows].T, left[rows]
            # Both products have the same eigenvalues but for zeros, and the smaller one is decomposed.
            if len(rows) <= design.shape[1]:
                values, vectors = linalg.eigh(design @ design.T)
                scores, own = vectors.T @ rest, own @ vectors
            else:
                values, vectors = linalg.eigh(design.T @ design)
                scores, own = vectors.T @ (design.T @ rest), vectors[-k:]
            free = 1 - values > _ALONE
            # What a term would be without the one group that has it to itself, nobody knows. It proves nothing.
            own[:, ~free & (np.linalg.norm(own, axis=0) < _SPAN)] = 0
            change = own @ np.where(free, scores / np.where(free, 1 - values, 1.0), np.sqrt(self._total) / _ALONE)
            total += np.outer(change, change)
        return total

    def _unit(self, added: Floats) -> tuple[Floats, Floats]:
        """Residuals by the smaller model of columns of length 1 about their mean, and their lengths (0: constant)."""
        centred = added - added.mean(axis=0)
        length = np.sqrt((centred**2).sum(axis=0))
        length[length <= 1e-12 * np.sqrt(self._n) * np.abs(added).max(axis=0, initial=0)] = 0
        return self._rest(np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)), length

    def _adjusted_r2(self, rss: float, df: int) -> float:
        return 1 - rss / df / (self._total / (self._n - 1))

    def _rest(self, values: Floats) -> Floats:
        return values - self._q @ (self._q.T @ values)


def _basis(design: Floats) -> Floats:
    """Orthonormal columns that span those of `design`, in the time of a few matrix products: by the eigenvectors of the
    columns' products, and then once more by Cholesky for what rounding left (Yamamoto et al. 2015, ETNA 44:306).
    """
    values, vectors = linalg.eigh(design.T @ design)
    kept = values > _CONDITION * values[-1]
    q = design @ (vectors[:, kept] / np.sqrt(values[kept]))
    return linalg.solve_triangular(np.linalg.cholesky(q.T @ q), q.T, lower=True).T
