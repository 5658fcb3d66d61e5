"""Finds which of many terms act, where some resemble each other: the sum of single effects (SuSiE).

Products of columns that are alike are alike themselves, and the true one need not have the largest F. Here the effect
is a sum of a few single ones, each of which is one term, and which one it is, is a distribution over all terms that is
fitted to what the other effects leave (Wang, Sarkar, Carbonetto & Stephens 2020, J. R. Stat. Soc. B 82:1273, algorithm
1, with the prior variance of sec. 3.2 chosen from a grid, 0 among it). Besides, each effect may be none at all, so that
one is expected where nothing is known.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EFFECTS = 20
"""Number of single effects, at most."""
SWEEPS = 100
TOLERANCE = 1e-4
"""Largest change of a probability at which the fit has settled."""
_PRIORS = np.geomspace(1e-4, 0.3, 12)
"""Shares of the target's variance that a single effect may have."""
_LEAST_NOISE = 1e-3


def inclusion(gram: Floats, score: Floats, total: float, rows: float, groups: NDArray[np.intp] | None = None) -> Floats:
    """Probability that each term is one of those that act; shape (terms,).

    Args:
        gram: products of the terms with each other, shape (terms, terms), positive on the diagonal.
        score: products of the terms with the target, shape (terms,).
        total: sum of squares of the target.
        rows: residual degrees of freedom that `total` has.
        groups: of each term, from 0: the same probability is given to all of a group, that one of it acts.

    >>> inclusion(np.eye(2) * 100, np.array([80.0, 1.0]), 100.0, 100).round(2).tolist()
    [1.0, 0.0]
    """
    if not len(score):
        return np.zeros(0)
    length = np.sqrt(np.diag(gram) / rows)
    gram, score = gram / np.outer(length, length), score / length
    terms = len(score)
    noise = variance = total / rows
    weights, effects = np.zeros((EFFECTS, terms)), np.zeros((EFFECTS, terms))
    fitted = np.zeros(terms)
    for _ in range(SWEEPS):
        before, unsure = weights.copy(), 0.0
        for one in range(EFFECTS):
            fitted -= gram @ effects[one]
            weights[one], mean, square = _single((score - fitted) / rows, noise / rows, variance)
            effects[one] = weights[one] * mean
            reached = gram @ effects[one]
            fitted += reached
            unsure += float((weights[one] * square).sum() * rows - effects[one] @ reached)
        whole = effects.sum(axis=0)
        noise = max((total - 2 * float(whole @ score) + float(whole @ fitted) + unsure) / rows, _LEAST_NOISE * variance)
        if np.abs(weights - before).max(initial=0.0) < TOLERANCE:
            break
    if groups is not None:
        member = groups[:, None] == np.arange(groups.max(initial=0) + 1)
        weights = (weights @ member)[:, groups]
    return 1 - np.prod(1 - np.minimum(weights, 1.0), axis=0)


def _single(slope: Floats, error: float, variance: float) -> tuple[Floats, Floats, Floats]:
    """Fit one effect, of terms of variance 1: how probable each is, and its coefficient's mean and mean square.

    All are 0 where no prior variance explains the slopes, of squared standard error `error`, better than 0 does.
    """
    prior = variance * _PRIORS[:, None]
    bayes = 0.5 * (np.log(error / (error + prior)) + slope**2 / error * prior / (prior + error))
    top = bayes.max(axis=1, keepdims=True)
    evidence = top[:, 0] + np.log(np.exp(bayes - top).mean(axis=1))
    best = int(evidence.argmax())
    if evidence[best] <= 0:
        return np.zeros_like(slope), np.zeros_like(slope), np.zeros_like(slope)
    weight = np.exp(bayes[best] - top[best])
    active = 1 / (1 + (EFFECTS - 1) * np.exp(-evidence[best]))
    shrunk = prior[best, 0] / (prior[best, 0] + error)
    mean = shrunk * slope
    return active * weight / weight.sum(), mean, mean**2 + shrunk * error
