"""Fits the prior of a rule's confidence to the trials of other rules.

How often fixes help differs from rule to rule as draws from a Beta(alpha, beta) do, so that the confirmed among a
rule's trials are beta-binomial (empirical Bayes; Carlin & Louis 2000, Bayes and Empirical Bayes Methods for Data
Analysis, section 3.3). The distribution is told by its mean and its weight, alpha + beta, which are fitted as the mode
of their posterior on the scales of log-odds and of logarithms. Of the mean the prior is Jeffreys'; of the intraclass
correlation, 1 / (1 + weight), it is uniform (Daniels 1999, A prior for the variance in hierarchical models). Without
any trials that mode is Beta(1/2, 1/2), which is Jeffreys' prior of a single rule.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from flowgrad.lazy import LazyModule

np = LazyModule("numpy")
special = LazyModule("scipy.special")

_CELLS, _ZOOMS = 17, 10
"""Number of cells of a grid along each axis, and number of grids, each of a quarter of the last one's width."""
_HALF_WIDTH = 8.0
"""Half the width of the first grid, in log-odds of the mean and in the logarithm of the weight."""


class Prior(NamedTuple):
    """Beta distribution of the share of trials that confirm a rule's fix, before the rule is tried."""

    alpha: float = 0.5
    beta: float = 0.5


JEFFREYS = Prior()


@lru_cache(maxsize=256)
def fitted_prior(counts: tuple[tuple[float, float], ...]) -> Prior:
    """Fit the prior to rules' trials.

    Args:
        counts: number confirmed and number of trials of each rule, 0 <= confirmed <= trials; they need not be whole.

    Returns:
        Jeffreys' prior where there are no trials.

    >>> fitted_prior(())
    Prior(alpha=0.5, beta=0.5)
    """
    distinct, times = np.unique(np.array([*counts, (0.0, 0.0)]), axis=0, return_counts=True)
    confirmed, trials = distinct.T[:, :, None, None]
    weigh = times[:, None, None]
    at = np.zeros(2)
    for zoom in range(_ZOOMS if trials.any() else 0):
        steps = np.linspace(-1.0, 1.0, _CELLS) * _HALF_WIDTH / 4**zoom
        odds, logs = np.meshgrid(at[0] + steps, at[1] + steps, indexing="ij")
        alpha, beta = _prior_of(odds, logs)
        likelihood = special.betaln(alpha + confirmed, beta + trials - confirmed) - special.betaln(alpha, beta)
        # The log-densities of Jeffreys' prior in log-odds, and of a uniform intraclass correlation in log-weight.
        own = 0.5 * (special.log_expit(odds) + special.log_expit(-odds)) + logs + 2 * special.log_expit(-logs)
        best = np.unravel_index(np.argmax((weigh * likelihood).sum(axis=0) + own), odds.shape)
        at = np.array([odds[best], logs[best]])
    return Prior(*(float(value) for value in _prior_of(*at)))


def _prior_of(odds: Any, logs: Any) -> tuple[Any, Any]:
    """Both parameters, of the log-odds of the mean and the logarithm of the weight."""
    mean, weight = special.expit(odds), np.exp(logs)
    return mean * weight, special.expit(-odds) * weight
