"""Holds claims about the product, and the outcome of computing each again from raw data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flowgrad.report.report import Canonical


@dataclass(frozen=True, eq=False)
class Claim(Canonical):
    """One claim, and the test that decides it."""

    id: str
    statement: str
    verdict: str
    """Verdict: `confirmed`, `refuted`, `inconclusive`, or `failed` where its run came to no end."""
    test: str
    """Name of the test, or the threshold that a figure is compared with."""
    n: int
    """Number of pairs, runs or cases behind it."""
    effect: float
    """Measured effect, in the unit that `test` names."""
    ci_low: float
    ci_high: float
    p: float
    """P-value, adjusted within the run's own family; NaN where the claim is no test."""
    p_adjusted: float
    """P-value, adjusted over the claims of this document too."""
    seconds: float
    """Wall time of the claim's runs, in seconds; a run that several claims read counts for each."""
    command: str
    """Command that computes the claim."""
    reason: str = ""
    """The reason why the run failed; empty otherwise."""


@dataclass(frozen=True, eq=False)
class ClaimsReport(Canonical):
    """Every claim of one reproduction (`flowgrad_claims`)."""

    name: str
    """Name of the set of claims: `quick`, `full`."""
    claims: tuple[Claim, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Version of each package, by name."""
