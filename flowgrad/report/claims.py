"""Claims: what is said of the product, and what came of computing it again from raw data."""

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
    """`confirmed`, `refuted`, `inconclusive`, or `failed` where its run came to no end."""
    test: str
    """Name of the test, or the bar that a figure is held to."""
    n: int
    """Pairs, runs or cases behind it."""
    effect: float
    """What was measured, in the unit that `test` names."""
    ci_low: float
    ci_high: float
    p: float
    """Adjusted within the run's own family; NaN where the claim is no test."""
    p_adjusted: float
    """Adjusted over the claims of this document too."""
    seconds: float
    """Wall time of the claim's runs; a run that several claims read counts for each."""
    command: str
    """What computes it."""
    reason: str = ""
    """Why the run failed; empty otherwise."""


@dataclass(frozen=True, eq=False)
class ClaimsReport(Canonical):
    """Every claim of one reproduction (`flowgrad_claims`)."""

    name: str
    """Which set of claims: `quick`, `full`."""
    claims: tuple[Claim, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Package -> version."""
