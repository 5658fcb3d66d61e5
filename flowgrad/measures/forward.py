"""Forward selection of terms beside the additive model: each is judged by what those before it left.

Products of columns that resemble each other resemble each other too. Once one of them is taken, the others have
nothing left to say (orthogonal least squares: Chen, Billings & Luo 1989, Int. J. Control 50:1873).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from flowgrad.measures.additive import AdditiveModel, Floats
from flowgrad.measures.interactions import MOST_VIF, f_of, p_of


@dataclass(frozen=True)
class Selected:
    """Terms in the order taken; shape (taken,) each."""

    place: NDArray[np.intp]
    """Which of the candidates."""
    f: Floats
    """Partial F beside the curves and the terms taken before."""
    p: Floats
    p_robust: Floats
    """The same by the score test that holds under unequal variance (White 1980, Econometrica 48:817), of the term
    beside the curves alone."""
    vif: Floats
    """Variance of the term over what the curves and the terms taken before leave of it."""


def forward(
    model: AdditiveModel,
    candidates: Callable[[Floats, Floats], Floats],
    top: int,
    groups: NDArray[np.intp] | None = None,
) -> Selected:
    """The `top` candidates, greedily by falling gain, of those whose VIF is 10 or less when their turn comes.

    Args:
        model: the curves.
        candidates: from rows of columns, raw and standardised, to terms of shape (rows, candidates); finite.
        top: how many.
        groups: of each candidate; of a group one is taken at most. None: each is its own.
    """
    n = len(model.y)
    spread, gram, score, meat = _residual_sums(model, candidates)
    start = np.diag(gram).copy()
    df, rss = n - model.rank - 1, model.rss
    group = np.arange(len(score)) if groups is None else groups
    open_ = start > 1e-10 * np.maximum(spread, 1e-300)
    p_robust = stats.chi2.sf(score**2 / np.maximum(meat, 1e-300), 1)
    taken: list[tuple[int, float, float]] = []
    while len(taken) < min(top, df - 1):
        rest = np.diag(gram)
        usable = open_ & (rest * MOST_VIF >= spread)
        if not usable.any():
            break
        gain = np.where(usable, score**2 / np.where(usable, rest, 1.0), -1.0)
        best = int(gain.argmax())
        taken.append((best, float(f_of(gain[best], rss, df)), float(spread[best] / rest[best])))
        rss, df = max(rss - float(gain[best]), 0.0), df - 1
        row = gram[best] / rest[best]
        score = score - row * score[best]
        gram = gram - np.outer(row, gram[best])
        open_ &= group != group[best]
    place = np.array([t[0] for t in taken], dtype=np.intp)
    f = np.array([t[1] for t in taken])
    dfs = n - model.rank - 1 - np.arange(len(taken), dtype=float)
    return Selected(place, f, p_of(f, dfs), p_robust[place], np.array([t[2] for t in taken]))


def _residual_sums(
    model: AdditiveModel, candidates: Callable[[Floats, Floats], Floats]
) -> tuple[Floats, Floats, Floats, Floats]:
    """Of each term the spread; then, of what the curves leave of the terms: products with each other and with the
    target's residual, and squares times its square.
    """
    totals: Floats | None = None
    count = 0
    crossed = squares = score = np.zeros(0)
    for (z, terms, left), rows in zip(model.chunks(), model.row_slices(), strict=True):
        v = candidates(model.X[rows], z)
        if totals is None:
            totals, squares, score = np.zeros(v.shape[1]), np.zeros(v.shape[1]), np.zeros(v.shape[1])
            crossed = np.zeros((terms.shape[1], v.shape[1]))
        totals += v.sum(axis=0)
        squares += (v * v).sum(axis=0)
        crossed += terms.T @ v
        score += v.T @ left
        count += len(v)
    assert totals is not None
    weights = model.root @ (model.root.T @ crossed)
    gram, meat = np.zeros((len(score), len(score))), np.zeros(len(score))
    for (z, terms, left), rows in zip(model.chunks(), model.row_slices(), strict=True):
        rest = candidates(model.X[rows], z) - terms @ weights
        gram += rest.T @ rest
        meat += ((rest * left[:, None]) ** 2).sum(axis=0)
    return squares - totals**2 / count, gram, score, meat
