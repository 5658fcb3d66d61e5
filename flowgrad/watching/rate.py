"""Puts all that was found on the learning rate into one verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from flowgrad.report import RateVerdict
from flowgrad.rules import Finding
from flowgrad.watching.merging import Merged

HIGH, LOW, SCHEDULE = "too_high", "too_low", "badly_scheduled"
_ACTIONS = {
    "DECREASE_LEARNING_RATE": HIGH,
    "RESET_LEARNING_RATE_AND_WEIGHTS_AND_CLIP_GRADIENTS": HIGH,
    "INCREASE_LEARNING_RATE": LOW,
}
_TYPES = {
    "LEARNING_RATE_TOO_HIGH": HIGH,
    "OSCILLATING_LOSS": HIGH,
    "LEARNING_RATE_TOO_LOW": LOW,
    "LEARNING_RATE_VANISHED": SCHEDULE,
    "RATE_NEVER_ROSE": SCHEDULE,
    "LEARNING_RATE_IS_ZERO": SCHEDULE,
}
_CANDIDATES = frozenset(
    {"LEARNING_RATE", "LEARNING_RATE_TOO_HIGH", "LEARNING_RATE_TOO_LOW", "SCHEDULER_STEPPED_TOO_SELDOM"}
)


def direction(finding: Finding) -> str:
    """Return what a finding says of the learning rate of the run: one of the verdicts, or nothing."""
    if finding.follows or finding.candidates or finding.severity == "info":
        return ""
    return _ACTIONS.get(finding.action) or _TYPES.get(finding.type, "")


def verdict(found: Sequence[Merged], lr: float, *, observed: bool) -> RateVerdict:
    """Make the verdict.

    Args:
        found: all findings, most severe first.
        lr: learning rate now; NaN where it is not known.
        observed: whether the rate could have been judged.
    """
    rate = None if math.isnan(lr) else lr
    said = {one.lead.type: direction(one.lead) for one in found if direction(one.lead)}
    ways = set(said.values())
    if len(ways) == 1:
        return RateVerdict(ways.pop(), " ".join(said), rate, _change(found, said))
    if ways:
        return RateVerdict("contradictory", " ".join(f"{kind}:{way}" for kind, way in said.items()), rate)
    asked = [one.lead.type for one in found if not one.lead.follows and _names_the_rate(one.lead)]
    if asked:
        return RateVerdict("open", " ".join(asked), rate)
    if not observed:
        return RateVerdict("not_judged", "no verdict can rest on what was seen", rate)
    return RateVerdict("no_objection", "", rate)


def deferred(found: Sequence[Merged]) -> dict[str, str]:
    """Reason why the change of the rate is not told with a finding, by its type: it is told once, or not at all."""
    said = {one.lead.type: direction(one.lead) for one in found if direction(one.lead)}
    if len(set(said.values())) > 1:
        others = {kind: [other for other, way in said.items() if way != own] for kind, own in said.items()}
        return {kind: f"{', '.join(other)} says otherwise of the learning rate" for kind, other in others.items()}
    first = next(iter(said), "")
    return {kind: f"one change of the learning rate is told, with {first}" for kind in said if kind != first}


def _change(found: Sequence[Merged], said: Iterable[str]) -> str:
    first = next(one.lead for one in found if one.lead.type in said)
    return next(iter(first.plain.values()), "")


def _names_the_rate(finding: Finding) -> bool:
    return any(candidate.cause in _CANDIDATES for candidate in finding.candidates)
