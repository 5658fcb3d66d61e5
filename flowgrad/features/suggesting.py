"""Screens terms that the data suggest, and says which pass."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowgrad.errors import FlowGradError
from flowgrad.features.screening import sums_and_differences
from flowgrad.features.screening.additive import AdditiveModel, Floats
from flowgrad.features.screening.candidates import Ranked, rank
from flowgrad.features.screening.interactions import Screened, partial_f
from flowgrad.features.table import FeatureTable
from flowgrad.features.terms import KINDS, Term, compute
from flowgrad.rules.suggestion import did_you_mean
from flowgrad.statistics import benjamini_hochberg

POOL = 200
"""Number of leading pairs, at least, whose inclusion probabilities are computed."""
_NEAR_ZERO = 0.05
"""A divisor keeps one sign, and this part of its median size away from 0."""


@dataclass(frozen=True)
class Suggestion(Term):
    """A term that the data suggest. Its figures are of the rows that it was selected on, and are too large."""

    f: float = float("nan")
    """Partial F given the columns' curves and the suggestions before it, a ratio's numerator centred; of a square given
    the columns alone; of a sum or difference the weaker column's given the better one.
    """
    p: float = float("nan")
    """P-value of F, which assumes equal variance; not adjusted."""
    vif: float = float("nan")
    """Variance of the centred term over what those leave unexplained, 1 or more; NaN for a sum or difference."""


def additive_model(table: FeatureTable, straight: Collection[int] = ()) -> AdditiveModel:
    """The curves of all columns.

    Raises:
        FlowGradError: too few rows for them, or a target that they explain without a rest.
    """
    rows, columns = table.X.shape
    if rows < 2 * columns + 4:
        raise FlowGradError(
            f"{rows} rows are too few: {columns} columns, their squares and a term more need {2 * columns + 4} at "
            "least; look at fewer columns"
        )
    model = AdditiveModel(table.X, table.y, straight)
    if model.rss <= 1e-18 * rows * float(table.y.var()):
        raise FlowGradError("the columns explain y without a rest, each by itself; is y, or a part of it, among them?")
    return model


def rank_pairs(model: AdditiveModel, top: int) -> tuple[Screened, Ranked]:
    """Pairs by partial F of their product, and how the most probable of them rank."""
    pool = partial_f(model, max(POOL, 2 * top))
    return pool, rank(model, lambda _, z: z[:, pool.first] * z[:, pool.second], top)


def suggest(table: FeatureTable, kinds: Collection[str], top: int, alpha: float) -> tuple[Suggestion, ...]:
    """Up to `top` terms: interactions and squares that pass at a false discovery rate of `alpha`, by falling F, then
    sums and differences.

    Raises:
        FlowGradError: an unknown kind, `top` below 1, an `alpha` outside (0, 1); as `additive_model`.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise FlowGradError(f"kinds: {kind!r} is unknown{did_you_mean(kind, KINDS)}")
    if top < 1:
        raise FlowGradError(f"top={top}: must be 1 or more")
    check_level(alpha)
    found = [*_interactions(table, kinds, top, alpha), *(_squares(table, top, alpha) if "square" in kinds else ())]
    found.sort(key=lambda suggestion: -suggestion.f)
    if len(found) < top:
        found += _sums(table, kinds, alpha)
    return tuple(found[:top])


def check_level(alpha: float) -> None:
    """Refuse a level that is no probability, such as 5 for 5 %, at which all would pass.

    Raises:
        FlowGradError: outside (0, 1).
    """
    if not 0 < alpha < 1:
        raise FlowGradError(f"alpha={alpha}: must lie between 0 and 1, e.g. 0.05")


def _interactions(table: FeatureTable, kinds: Collection[str], top: int, alpha: float) -> list[Suggestion]:
    if not {"product", "ratio"} & set(kinds) or len(table.names) < 2:
        return []
    model = additive_model(table)
    pool = partial_f(model, max(POOL, 2 * top))
    divisors = _divisors(table.X) if "ratio" in kinds else np.zeros(len(table.names), dtype=bool)
    candidates: list[tuple[int, str, int, int]] = []
    for place, (i, j) in enumerate(zip(pool.first.tolist(), pool.second.tolist(), strict=True)):
        if "product" in kinds:
            candidates.append((place, "product", i, j))
        candidates += [(place, "ratio", a, b) for a, b in ((i, j), (j, i)) if divisors[b]]
    if not candidates:
        return []
    groups, names, first, second = (np.array(column) for column in zip(*candidates, strict=True))
    scale = table.X.std(axis=0)

    # The numerator is centred: a ratio by b shall not pass for 1/b, a curve of one column that hinges need not follow.
    def values(X: Floats, z: Floats) -> Floats:
        columns = np.empty((len(X), len(candidates)))
        ratio = names == "ratio"
        columns[:, ~ratio] = z[:, first[~ratio]] * z[:, second[~ratio]]
        a, b = first[ratio], second[ratio]
        columns[:, ratio] = compute("ratio", z[:, a], X[:, b] / scale[b])
        return columns

    taken = rank(model, values, 2 * top, groups)
    pairs = len(table.names) * (len(table.names) - 1) // 2
    tests = pairs * ("product" in kinds) + int(divisors.sum()) * (len(table.names) - 1)
    return [
        Suggestion(str(names[c]), table.names[first[c]], table.names[second[c]], f, p, vif)
        for c, f, p, vif in _passing(taken, tests, alpha)
    ]


def _squares(table: FeatureTable, top: int, alpha: float) -> list[Suggestion]:
    columns = len(table.names)
    model = additive_model(table, straight=range(columns))
    taken = rank(model, lambda _, z: z * z, 2 * top)
    return [Suggestion("square", table.names[c], None, f, p, vif) for c, f, p, vif in _passing(taken, columns, alpha)]


def _sums(table: FeatureTable, kinds: Collection[str], alpha: float) -> list[Suggestion]:
    found = sums_and_differences.combined(table.X, table.y)
    adjusted = _adjusted(found.p, len(table.names) * (len(table.names) - 1) // 2)
    suggested = []
    for i, j, sign, f, p, own in zip(found.first, found.second, found.sign, found.f, found.p, adjusted, strict=True):
        kind = "sum" if sign > 0 else "difference"
        if kind in kinds and own < alpha:
            suggested.append(Suggestion(kind, table.names[i], table.names[j], float(f), float(p)))
    return suggested


def _passing(taken: Ranked, tests: int, alpha: float) -> list[tuple[int, float, float, float]]:
    kept = _adjusted(taken.p, tests) < alpha
    columns = taken.place[kept].tolist(), taken.f[kept].tolist(), taken.p[kept].tolist(), taken.vif[kept].tolist()
    return list(zip(*columns, strict=True))


def _adjusted(p: Floats, tests: int) -> Floats:
    """P-values adjusted after Benjamini & Hochberg; those of `tests` that are not given were no smaller."""
    return np.array(benjamini_hochberg([*p, *np.ones(max(tests - len(p), 0))]))[: len(p)]


def _divisors(X: Floats) -> NDArray[np.bool_]:
    size = np.abs(X)
    one_sign = (X > 0).all(axis=0) | (X < 0).all(axis=0)
    return one_sign & (size.min(axis=0) >= _NEAR_ZERO * np.median(size, axis=0))
