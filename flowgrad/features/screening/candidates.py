"""Adds a few terms to the additive model: how probable each is, and its F given those before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowgrad.features.screening.additive import AdditiveModel, Floats
from flowgrad.features.screening.interactions import LEAST_OWN, MOST_VIF, f_of, p_of
from flowgrad.features.screening.susie import inclusion


@dataclass(frozen=True)
class Ranked:
    """Terms, the most probable first; shape (terms,) each."""

    place: NDArray[np.intp]
    """Index of each term among the candidates, shape (terms,)."""
    inclusion: Floats
    """Probability that the term, and no other like it, is one of those that act."""
    f: Floats
    """Partial F given the curves and the terms before."""
    p: Floats
    vif: Floats
    """Variance of the term over what the columns themselves leave of it, 1 or more."""


def rank(
    model: AdditiveModel,
    terms_of: Callable[[Floats, Floats], Floats],
    top: int,
    groups: NDArray[np.intp] | None = None,
) -> Ranked:
    """Rank the `top` terms that most probably act, of those that the columns do not explain already (VIF of 10 or
    less).

    Args:
        model: the curves.
        terms_of: from rows of columns, raw and standardised, to candidates of shape (rows, candidates); finite.
        top: how many at most.
        groups: of each candidate; of a group the most probable one is taken. None: each is its own.
    """
    sums = _sums(model, terms_of)
    own = np.diag(sums.gram)
    fitting = np.flatnonzero((sums.beside_lines * MOST_VIF >= sums.spread) & (own > LEAST_OWN * sums.spread))
    group = (np.arange(len(own)) if groups is None else groups)[fitting]
    gram, score, own = sums.gram[np.ix_(fitting, fitting)], sums.score[fitting], own[fitting]
    n = len(model.y)
    _, numbers = np.unique(group, return_inverse=True)
    together = inclusion(gram, score, model.rss, n - model.rank, numbers)
    gain = score**2 / own
    # Probabilities are rounded, so that equally probable terms stand in order of what they explain.
    order = np.lexsort((-gain, -np.round(together, 3)))
    _, first = np.unique(numbers[order], return_index=True)
    order = order[np.sort(first)][:top]
    f, df = _sequential(gram, score, order, model.rss, n - model.rank)
    chosen = fitting[order]
    return Ranked(
        chosen,
        together[order],
        f,
        p_of(f, df),
        sums.spread[chosen] / sums.beside_lines[chosen],
    )


def _sequential(gram: Floats, score: Floats, order: NDArray[np.intp], rss: float, df: int) -> tuple[Floats, Floats]:
    """F of each term given those before it, and its degrees of freedom; F is 0 for a dependent term, and from where
    terms have taken a quarter of the df: the best of many would soon explain what is left of noise.
    """
    gram, score = gram[np.ix_(order, order)], score[order]
    start = np.diag(gram).copy()
    found, dfs = np.zeros(len(order)), np.ones(len(order))
    for place in range(min(len(order), df // 4)):
        df -= 1
        dfs[place] = df
        rest = gram[place, place]
        if rest <= LEAST_OWN * start[place]:
            continue
        gain = float(score[place] ** 2 / rest)
        found[place] = f_of(np.array(gain), rss, df)
        rss = max(rss - gain, 0.0)
        row = gram[place] / rest
        score = score - row * score[place]
        gram = gram - np.outer(row, gram[place])
    return found, dfs


@dataclass(frozen=True)
class _Sums:
    """Sums over rows, for each candidate or each two."""

    spread: Floats
    """Sum of squares about the mean, shape (candidates,)."""
    beside_lines: Floats
    """Sum of squares of what the columns leave, shape (candidates,)."""
    gram: Floats
    """Products of what the curves leave, shape (candidates, candidates)."""
    score: Floats
    """Products with what they leave of the target, shape (candidates,)."""


def _sums(model: AdditiveModel, terms_of: Callable[[Floats, Floats], Floats]) -> _Sums:
    spread, crossed, lines, _ = model.explain(terms_of)
    weights = model.root @ (model.root.T @ crossed)
    count = crossed.shape[1]
    gram, score = np.zeros((count, count)), np.zeros(count)
    for (z, terms, left), rows in zip(model.chunks(), model.row_slices(), strict=True):
        rest = terms_of(model.X[rows], z) - terms @ weights
        gram += rest.T @ rest
        score += rest.T @ left
    return _Sums(spread, spread - lines, gram, score)
