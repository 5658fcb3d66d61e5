"""Holds what one page says, as plain data: the template shows it, and the JSON twin writes the same down."""

from __future__ import annotations

from dataclasses import dataclass

from flowgrad.html.figures import Figure, Table


@dataclass(frozen=True)
class Proof:
    """The test of a change on seeds that the diagnosis did not see."""

    verdict: str
    """Verdict: `confirmed`, `refuted` or `inconclusive`."""
    metric: str
    before: float | None
    after: float | None
    difference: float | None
    low: float | None
    high: float | None
    level: float
    """Level of the interval, as a share: .95."""
    p: float | None
    """P-value, adjusted for the family."""
    n: int
    unit: str
    """Unit of a pair: `seed`, `split`, `user`."""
    test: str
    wins: int | None = None
    """Number of pairs in which the change was better; None where it is not known."""
    higher_is_better: bool | None = None
    """Direction of the metric; None where it is not known."""
    detectable: float | None = None
    """Smallest difference that would have been found with the power that was planned; None where it is not known."""
    reason: str = ""
    """Reason why there was no test; empty where there was one."""


@dataclass(frozen=True)
class Change:
    """A change that can be copied."""

    text: str
    note: str = ""
    """Former value, or the library that the change is worded for."""


@dataclass(frozen=True)
class Figured:
    """A figure beside the number that the rule compares it with."""

    name: str
    value: float | None
    threshold: float | None
    unit: str = ""
    meaning: str = ""
    """Meaning of the figure in a sentence; empty for figures that nobody declared."""


@dataclass(frozen=True)
class Sighting:
    """A place at which a finding was made, with the figures there."""

    place: str
    premise: str
    figures: tuple[Figured, ...] = ()
    rows: int | None = None
    """Number of rows that the finding names; None where it names none."""
    shown: tuple[str, ...] = ()
    """The first of these rows."""
    file: str = ""
    """File beside the page that holds all rows; empty where there is none."""


@dataclass(frozen=True)
class Found:
    """A finding, told once for all places at which it was made."""

    type: str
    rule: str
    severity: str
    places: str
    sightings: tuple[Sighting, ...]
    implies: str
    action: str
    expected_effect: str
    risk: str
    confidence: str
    follows: str
    candidates: tuple[tuple[str, str], ...]
    """Causes that fit, each with the check that would tell."""
    changes: tuple[Change, ...]
    deferred: str
    judged: str
    proof: Proof | None = None
    acted: bool = False
    """Whether a round of the run acted on it."""


@dataclass(frozen=True)
class Step:
    """One round: what was found, what was changed, and what that did."""

    name: str
    found: tuple[str, ...]
    """Each type of finding with its places."""
    cause: str
    """Premise of the finding that the round acted on first."""
    others: int
    """Number of further findings."""
    change: Change | None
    verdict: str
    """Verdict on this round's own share; empty where it was not tested."""
    proof: Proof | None = None


@dataclass(frozen=True)
class Verdict:
    """The first thing a page says."""

    state: str
    """State: `confirmed`, `refuted`, `inconclusive`, `untested`, `findings`, `healthy`, `not_observed`, `done` or
    `failed`.
    """
    headline: str
    detail: str
    proof: Proof | None = None
    change: Change | None = None
    """The whole change in one piece, to be copied."""
    command: Change | None = None
    """Command that runs the changed configuration."""


@dataclass(frozen=True)
class Gap:
    """The things that one tracker could not see or judge."""

    subject: str
    status: str
    blind: str
    seen: tuple[tuple[str, float], ...]
    unseen: tuple[tuple[str, str], ...]
    unjudged: tuple[tuple[str, str], ...]
    unknown: tuple[str, ...]
    """Names of figures that are not known."""


@dataclass(frozen=True)
class Section:
    """A part of the page with pictures and tables."""

    title: str
    text: str = ""
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    small: bool = False
    """Whether its pictures are many and small."""


@dataclass(frozen=True)
class Page:
    """Everything that a page says."""

    title: str
    kind: str
    """Kind of page: `run`, `report`, `sweep`, `claims` or `job`."""
    verdict: Verdict
    steps: tuple[Step, ...] = ()
    findings: tuple[Found, ...] = ()
    later: tuple[tuple[str, tuple[Found, ...]], ...] = ()
    """Findings of later diagnoses: the name of each diagnosis with them."""
    gaps: tuple[Gap, ...] = ()
    sections: tuple[Section, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    """Identity of the run: label and value."""
    missing: tuple[str, ...] = ()
    """The things that this page does not show, and why."""
