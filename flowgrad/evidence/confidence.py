"""Computes `<confidence>` from how often each rule's fix was confirmed.

Confidence is the posterior mean of the chance that "this rule's fix helps, given that the rule fired", on the data at
hand, by the trials of all rules on all data (`flowgrad.evidence.chances`). Without trials of the rule's own it has
`basis="prior"`, and the report says so; without any trial it is 1/2.
"""

from __future__ import annotations

from dataclasses import dataclass

from flowgrad.evidence.chances import LogOdds, fitted

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


def posterior(confirmed: int = 0, trials: int = 0, refuted: int = 0, log_odds: LogOdds | None = None) -> Confidence:
    """Confidence after a number of validations of a rule's fix.

    Args:
        confirmed: number of those that confirmed it.
        trials: number of all.
        refuted: number of those that showed it to do harm.
        log_odds: by the trials of all rules; if None, those of this rule are all that there are, on one set of data.

    Raises:
        ValueError: unless 0 <= confirmed, 0 <= refuted, and both together are trials at most.
    """
    if not 0 <= confirmed <= trials:
        raise ValueError(f"confirmed={confirmed} must lie between 0 and trials={trials}")
    if not 0 <= refuted <= trials - confirmed:
        raise ValueError(f"refuted={refuted} must lie between 0 and the {trials - confirmed} trials not confirmed")
    if log_odds is None:
        log_odds = fitted({("it", "its"): (confirmed, trials)} if trials else {}).log_odds("it", "its")
    low, high = (log_odds.quantile(share) for share in (0.025, 0.975))
    return Confidence(log_odds.chance, "measured" if trials else "prior", trials, confirmed, low, high, refuted)
