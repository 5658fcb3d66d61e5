"""Finds rows that are alike to those next to them, as days in time order are, where a test of columns errs by it.

A column is wrongly found to matter only where both it and what is left of the target are alike from row to row. Their
product, whose sum is the test's numerator, is then alike as well (Newey & West 1987, Econometrica 55:703). Independent
rows that are sorted by the target, or by a column, have no such product: given the target, the column is as it comes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowgrad.gate.objection import DOWNGRADED, Objection
from flowgrad.gate.tables import TOLERATED_DESIGN_EFFECT
from flowgrad.lazy import LazyModule

stats = LazyModule("scipy.stats")

Floats = NDArray[np.float64]

_LEVEL = 0.001
"""Probability of finding rows alike by chance, shared by all sums that are looked at (Bonferroni). A sum is divided by
the root of its squares, which keeps heavy tails from making it large (Efron 1969, JASA 64:1278).
"""
_CONDITION = 1e-12
"""Share of the largest eigenvalue below which products count as dependent."""


def serial_objection(residual: Floats, added: Floats, groups: Any = None) -> Objection | None:
    """Find out whether a test of added columns takes rows for independent that are not, from their order.

    Args:
        residual: what the smaller model leaves of the target, shape (rows,), in the order of the table.
        added: columns that are tested, given the smaller model, shape (rows, columns).
        groups: what each row belongs to, shape (rows,): whole groups are then looked at, in order of first appearance.
            Where each row is a group of its own, that is the caller's word.
    """
    codes = np.arange(len(residual)) if groups is None else pd.factorize(np.asarray(groups))[0]
    units = int(codes.max(initial=-1)) + 1
    if groups is not None and units == len(codes):
        return None
    z = _alike(residual, added, codes)
    if z is None:
        return None
    correlations = _autocorrelations(z)
    # All lags count up to the first two that sum to 0 or less (Geyer 1992, Stat. Sci. 7:473).
    pairs = correlations[: len(correlations) // 2 * 2].reshape(-1, 2).sum(axis=1)
    ends = np.flatnonzero(pairs <= 0)
    length = 2 * int(ends[0] if len(ends) else len(pairs))
    unit = "rows" if groups is None else "groups"
    effective = units / max(1 + 2 * float(correlations[:length].sum()), TOLERATED_DESIGN_EFFECT)
    return Objection(
        "rows alike in order",
        DOWNGRADED,
        f"{unit} next to each other are alike, as days in time order are, in the target's residuals and the tested "
        f"columns both: their products have an autocorrelation of {correlations[0]:.2f}, which lasts some "
        f"{length or 1} {unit}, and {units:,} {unit} count for {effective:,.0f}",
        "give groups= blocks of time (or users, places) several times as long as that, or test on later rows than "
        "those that chose the columns; groups=range(rows) where each is a case of its own in a table that was sorted",
        0,
        units,
        float(effective),
    )


def _alike(residual: Floats, added: Floats, codes: NDArray[np.intp]) -> Floats | None:
    """Products that are alike, shape (units, columns): of all columns together, or else of the first that is alike
    alone. None where there are none, or where the order may come of sorting.
    """
    q, _ = np.linalg.qr(added)
    left = residual - q @ (q.T @ residual)
    rest = added - np.outer(residual, residual @ added) / (residual @ residual)
    # Of rows sorted by a column the one, of rows sorted by the target the other says nothing of the order.
    ways = [_sums(left[:, None] * added, codes), _sums(residual[:, None] * rest, codes)]
    errors = float(stats.norm.isf(_LEVEL / (added.shape[1] + 1)))
    together = [_uncorrelated(way) for way in ways]
    if all(_matters(_terms(z).mean(axis=1), errors) for z in together):
        return together[0]
    alone = [way / np.where(size > 0, size, 1.0) for way in ways for size in [np.linalg.norm(way, axis=0)]]
    terms = [_terms(z) for z in alone]
    for place in range(added.shape[1]):
        if all(_matters(way[:, place], errors) for way in terms):
            return alone[0][:, [place]]
    return None


def _sums(products: Floats, codes: NDArray[np.intp]) -> Floats:
    return np.column_stack([np.bincount(codes, weights=column) for column in products.T])


def _uncorrelated(products: Floats) -> Floats:
    """Orthonormal columns that span those of the products; one of zeros where these are 0."""
    values, vectors = np.linalg.eigh(products.T @ products)
    kept = values > _CONDITION * values[-1]
    return products @ (vectors[:, kept] / np.sqrt(values[kept])) if kept.any() else products[:, :1]


def _terms(z: Floats) -> Floats:
    """Each row's part of the weighted sum of the columns' autocorrelations, by as many lags as so many rows can tell
    (Bartlett's weights; Newey & West 1994, Rev. Econ. Stud. 61:631); shape (rows, columns).
    """
    lags = min(int(4 * (len(z) / 100) ** (2 / 9)), len(z) - 1)
    before = np.zeros_like(z)
    for lag in range(1, lags + 1):
        before[lag:] += (1 - lag / (lags + 1)) * z[:-lag]
    return np.asarray(z * before)


def _matters(terms: Floats, errors: float) -> bool:
    """Whether a sum of autocorrelations is beyond so many standard errors, and so large that a test is affected. The
    standard error is the root of the squares, which holds under unequal variance.
    """
    total = float(terms.sum())
    return 1 + 2 * total > TOLERATED_DESIGN_EFFECT and total > errors * float(np.sqrt(terms @ terms))


def _autocorrelations(z: Floats) -> Floats:
    """Mean autocorrelation of the columns, each of length 1, from lag 1 to half of the rows, shape (lags,)."""
    n, k = z.shape
    spectrum = (np.abs(np.fft.rfft(z, 2 * n, axis=0)) ** 2).sum(axis=1)
    return np.asarray(np.fft.irfft(spectrum, 2 * n)[1 : n // 2 + 1] / k)
