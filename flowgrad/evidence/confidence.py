"""Computes `<confidence>` from how often each rule's fix was confirmed.

Confidence is the posterior mean of a Beta distribution with the Jeffreys prior Beta(1/2, 1/2) over "this rule's
fix helps, given that the rule fired" (Brown, Cai & DasGupta 2001, Interval Estimation for a Binomial Proportion).
Without trials it is 0.5 with `basis="prior"`: nothing has been measured, and the report says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from flowgrad.lazy import LazyModule

special = LazyModule("scipy.special")


@dataclass(frozen=True)
class Confidence:
    """Posterior that a rule's fix helps when the rule fires."""

    value: float
    """Posterior mean, in [0, 1]."""
    basis: str
    """Basis of the confidence: `measured` (rests on validated runs) or `prior` (rests on none)."""
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

    @property
    def refutes(self) -> bool:
        """Whether the fix made things worse more often than better: it is not prescribed by default then."""
        return self.refuted > self.confirmed


def posterior(confirmed: int = 0, trials: int = 0, refuted: int = 0) -> Confidence:
    """Confidence after `confirmed` of `trials` validations confirmed the fix and `refuted` showed it to do harm.

    Raises:
        ValueError: unless 0 <= confirmed, 0 <= refuted, and both together are trials at most.
    """
    if not 0 <= confirmed <= trials:
        raise ValueError(f"confirmed={confirmed} must lie between 0 and trials={trials}")
    if not 0 <= refuted <= trials - confirmed:
        raise ValueError(f"refuted={refuted} must lie between 0 and the {trials - confirmed} trials not confirmed")
    a, b = confirmed + 0.5, trials - confirmed + 0.5
    low, high = (float(special.betaincinv(a, b, share)) for share in (0.025, 0.975))
    return Confidence(a / (a + b), "measured" if trials else "prior", trials, confirmed, low, high, refuted)
