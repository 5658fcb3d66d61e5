"""Computes `<confidence>` from how often each rule's fix was confirmed.

Confidence is the posterior mean of a Beta distribution over "this rule's fix helps, given that the rule fired". The
prior is fitted to what the fixes of other rules reached (`flowgrad.evidence.prior`); where none was tried it is
Jeffreys', Beta(1/2, 1/2) (Brown, Cai & DasGupta 2001, Interval Estimation for a Binomial Proportion). Without trials of
the rule's own, confidence is the prior's mean with `basis="prior"`, and the report says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flowgrad.evidence.prior import JEFFREYS, Prior
from flowgrad.lazy import LazyModule

special = LazyModule("scipy.special")

NEAR = {
    "pair": "tried with this model on these data",
    "model": "tried with this model, on other data",
    "data": "tried on these data, with other models",
    "neither": "tried with other models on other data",
}
"""Words for `Confidence.near`."""


@dataclass(frozen=True)
class Confidence:
    """Posterior that a rule's fix helps when the rule fires."""

    value: float
    """Posterior mean, in [0, 1]."""
    basis: str
    """Basis of the confidence: `measured` (rests on validated runs of the rule) or `prior` (rests on none)."""
    trials: int
    """Number of validated runs behind it."""
    confirmed: int
    """Number of them that confirmed the fix."""
    low: float
    """Lower end of the 95 % equal-tailed credible interval."""
    high: float
    """Upper end of the same interval."""
    refuted: int = 0
    """Number of validated runs in which the fix made things worse."""
    prior_alpha: float = JEFFREYS.alpha
    """Parameter of the prior, a Beta distribution, that the confirmed runs are added to."""
    prior_beta: float = JEFFREYS.beta
    """Parameter of the same that the other runs are added to."""
    tried_on: str = ""
    """Number of validated runs on each model and data that are known, as `DeepFM on flights: 2; Dlrm on flights: 1`."""
    near: str = ""
    """The part of the case at hand that was tried: `pair` (its model on its data), `model`, `data` or `neither`; empty
    where the case, or what was tried, is not known.
    """

    @property
    def refutes(self) -> bool:
        """Whether the fix made things worse more often than better: it is not prescribed by default then."""
        return self.refuted > self.confirmed


def posterior(confirmed: int = 0, trials: int = 0, refuted: int = 0, prior: Prior = JEFFREYS) -> Confidence:
    """Confidence after `confirmed` of `trials` validations confirmed the fix and `refuted` showed it to do harm.

    Raises:
        ValueError: unless 0 <= confirmed, 0 <= refuted, both together are trials at most, and the prior's parameters
            are positive and finite.
    """
    if not all(0 < parameter < math.inf for parameter in prior):
        raise ValueError(f"prior_alpha={prior.alpha} and prior_beta={prior.beta} must be positive and finite")
    if not 0 <= confirmed <= trials:
        raise ValueError(f"confirmed={confirmed} must lie between 0 and trials={trials}")
    if not 0 <= refuted <= trials - confirmed:
        raise ValueError(f"refuted={refuted} must lie between 0 and the {trials - confirmed} trials not confirmed")
    a, b = confirmed + prior.alpha, trials - confirmed + prior.beta
    low, high = (float(special.betaincinv(a, b, share)) for share in (0.025, 0.975))
    return Confidence(a / (a + b), "measured" if trials else "prior", trials, confirmed, low, high, refuted, *prior)
