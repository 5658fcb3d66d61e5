"""Fits how often each rule's fix helps on each set of data, to the trials of all rules on all data.

The log-odds that a fix helps are a mean, an effect of the rule, one of the data and one of both together, each a draw
from a normal distribution of its own: a logistic model with crossed random effects (Gelman & Hill 2007, Data Analysis
Using Regression and Multilevel/Hierarchical Models, chapter 14). A rule that was tried elsewhere is told by its trials
there, and by how other rules fared on the data at hand. Given the three standard deviations, the log-odds are
approximated by a normal distribution at their mode (Laplace's method; Rasmussen & Williams 2006, Gaussian Processes for
Machine Learning, algorithms 3.1 and 3.2). We average over these three, on a grid, by their marginal likelihood.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from flowgrad.lazy import LazyModule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = LazyModule("numpy")
special = LazyModule("scipy.special")

_MEAN_VARIANCE = math.pi**2 / 3
"""Prior variance of the mean log-odds: that of the log-odds of a chance that is uniform in [0, 1]."""
_DEVIATIONS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Standard deviations of effects that are tried, evenly spaced in their logarithm."""
_SCALE = 2.5
"""Scale of the half-Cauchy prior of each of them (Gelman 2006, Prior distributions for variance parameters in
hierarchical models; the scale is that of Gelman et al. 2008 for logistic regression).
"""
_LEAST_WEIGHT = 1e-4
"""Weight of a grid's point, of 1 in all, below which it is left out of predictions."""
_LONGEST, _CLOSE, _STEPS = 4.0, 1e-9, 200
"""Longest step of Newton's method in log-odds, the one at which it ends, and the number of steps at most."""

Case = tuple[str, str]
"""Rule and data. The name of the rule is empty where it has no trial, that of the data where they are not known."""


class LogOdds(NamedTuple):
    """Normal distribution of the log-odds that a fix helps."""

    mean: float
    variance: float

    @property
    def chance(self) -> float:
        """Mean of the chance, in (0, 1)."""
        at, weights = _normal_nodes()
        return 0.5 + float(np.tanh((self.mean + math.sqrt(self.variance) * at) / 2) @ weights / weights.sum()) / 2

    def quantile(self, share: float) -> float:
        """Chance below which this share of the distribution lies."""
        return float(special.expit(self.mean + math.sqrt(self.variance) * special.ndtri(share)))


@dataclass(frozen=True)
class Chances:
    """Fit to all trials: with each of several triples of standard deviations, and the weight of each."""

    cases: tuple[Case, ...]
    trials: NDArray[np.float64]
    """Number of trials of each case, shape (cases,)."""
    variances: NDArray[np.float64]
    """Squared standard deviations of the effects of rule, data and both, shape (triples, 3)."""
    weights: NDArray[np.float64]
    """Posterior weights of the triples, shape (triples,)."""
    pulls: NDArray[np.float64]
    """Inverse covariance of the cases' log-odds times their mode, shape (triples, cases)."""
    precisions: NDArray[np.float64]
    """Inverse of the covariance plus the noise of the trials, shape (triples, cases, cases)."""

    def log_odds(self, rule: str, data: str) -> LogOdds:
        """Log-odds of a rule's fix on these data. Those on data that have no trial have the mean and variance over the
        data that have some, each as often as it was tried: how data differ is told by few of them, and a normal
        distribution fits these badly.
        """
        tried = Counter[str]()
        for (_, known), trials in zip(self.cases, self.trials, strict=True):
            tried[known] += trials
        among = {data: 1.0} if data in tried or not tried else tried
        means, variances = self._posterior([(rule, one) for one in among])
        weights = np.array(list(among.values())) / sum(among.values())
        mean = float(weights @ means)
        return LogOdds(mean, float(weights @ (variances + (means - mean) ** 2)))

    def _posterior(self, cases: Sequence[Case]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Posterior means and variances of the log-odds of some cases, shape (cases,) each."""
        near = _MEAN_VARIANCE + np.tensordot(self.variances, _same(cases, self.cases), 1)
        means = np.einsum("tci,ti->tc", near, self.pulls)
        left = np.einsum("tci,tij,tcj->tc", near, self.precisions, near, optimize=True)
        left = _MEAN_VARIANCE + self.variances.sum(axis=1)[:, None] - left
        mean = self.weights @ means
        return mean, self.weights @ (left + (means - mean) ** 2)


def fitted(counts: Mapping[Case, tuple[int, int]]) -> Chances:
    """Fit to the number confirmed, and the number of trials, of each case that was tried.

    Args:
        counts: 0 <= confirmed <= trials, trials > 0.

    >>> fitted({}).log_odds("zombie_rows", "movielens_100k").chance
    0.5
    """
    return _fitted(tuple(sorted(counts.items())))


@lru_cache(maxsize=256)
def _fitted(counts: tuple[tuple[Case, tuple[int, int]], ...]) -> Chances:
    cases = tuple(case for case, _ in counts)
    confirmed, trials = np.array([told for _, told in counts], dtype=float).reshape(-1, 2).T
    variances = np.square(list(itertools.product(_DEVIATIONS, repeat=3)))
    same = _same(cases, cases)
    covariances = _MEAN_VARIANCE + np.tensordot(variances, same, 1)
    pulls, precisions, evidence = _laplace(covariances, confirmed, trials)
    own = (np.log(variances) / 2 - np.log1p(variances / _SCALE**2)).sum(axis=1)
    weights = special.softmax(own + evidence)
    kept = weights > _LEAST_WEIGHT
    return Chances(cases, trials, variances[kept], weights[kept] / weights[kept].sum(), pulls[kept], precisions[kept])


@lru_cache(maxsize=1)
def _normal_nodes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights of a quadrature of the standard normal distribution."""
    at, weights = special.roots_hermitenorm(61)
    return at, weights


def _same(some: Sequence[Case], others: Sequence[Case]) -> NDArray[np.float64]:
    """Whether the rules, the data and both are the same, as 1 or 0, shape (3, some, others)."""
    rules, data = (
        np.array([[one[part] == other[part] for other in others] for one in some], dtype=float) for part in (0, 1)
    )
    return np.array([rules, data, rules * data]).reshape(3, len(some), len(others))


def _laplace(
    covariances: NDArray[np.float64], confirmed: NDArray[np.float64], trials: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Fit with each triple: `Chances.pulls`, `Chances.precisions`, and the logarithms of the marginal likelihoods but
    for a constant.

    Args:
        covariances: prior covariances of the log-odds, shape (triples, cases, cases).
        confirmed: number of trials that confirmed, shape (cases,).
        trials: number of all, shape (cases,).
    """
    log_odds, identity = np.zeros(covariances.shape[:2]), np.eye(len(trials))
    for _ in range(_STEPS):
        chance = special.expit(log_odds)
        weight = trials * chance * (1 - chance)
        root = np.sqrt(weight)
        roots = root[:, :, None] * root[:, None, :]
        inverses = roots * np.linalg.inv(identity + roots * covariances)
        target = weight * log_odds + confirmed - trials * chance
        pulls = target - _times(inverses, _times(covariances, target))
        step = _times(covariances, pulls) - log_odds
        longest = np.abs(step).max(axis=1, initial=_CLOSE, keepdims=True)
        log_odds = log_odds + step * np.minimum(1.0, _LONGEST / longest)
        if longest.max() <= _CLOSE:
            break
    told = special.log_expit(log_odds) @ confirmed + special.log_expit(-log_odds) @ (trials - confirmed)
    spread = np.linalg.slogdet(identity + roots * covariances)[1]
    return pulls, inverses, told - (pulls * log_odds).sum(axis=1) / 2 - spread / 2


def _times(matrices: NDArray[np.float64], vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Product of each matrix with its vector, shape (triples, cases)."""
    return (matrices @ vectors[:, :, None])[:, :, 0]
