"""Words the first sentence of a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from flowgrad.html.page import Change, Found, Proof, Verdict
from flowgrad.report import NOT_OBSERVED, Report
from flowgrad.rules.rule import SEVERITIES
from flowgrad.statistics import NO_WORSE

_HEADS = {
    "confirmed": "The change helped",
    "refuted": "The change did harm",
    "inconclusive": "Not proven that the change helps",
}
_OF_NO_LOSS = {
    "confirmed": "The change costs nothing that matters",
    "refuted": "The change costs more than the margin",
    "inconclusive": "Not proven that the change costs nothing",
}
_TESTS = {
    "paired_t": "paired t-test",
    "corrected_t": "corrected paired t-test",
    "sign": "sign test",
    "no_worse": "test of no loss beyond the margin",
}


def of_proof(proof: Proof, change: Change | None, run: Change | None) -> Verdict:
    """Word the verdict on a change that was tested."""
    if proof.reason:
        return Verdict("inconclusive", "The change could not be tested", proof.reason, proof, change, run)
    heads = _OF_NO_LOSS if proof.test == NO_WORSE else _HEADS
    head = heads.get(proof.verdict, f"The change: {proof.verdict.replace('_', ' ')}")
    numbers = values_of(proof)
    return Verdict(proof.verdict, f"{head}: {numbers}", in_words(proof), proof, change, run)


def with_control(verdict: Verdict, control: Proof | None) -> Verdict:
    """Add that the control found a difference, where it did: the tests of this run cannot be trusted as they are."""
    if control is None:
        return verdict
    beware = (
        f"Beware: two arms of the same configuration differ in {control.metric} ({in_words(control)}) "
        "Either that is chance, or something besides the change differs between arms."
    )
    return replace(verdict, detail=f"{verdict.detail} {beware}".strip())


def untested(change: Change | None, run: Change | None) -> Verdict:
    """Word the verdict where a change was prescribed and its test is not there."""
    return Verdict(
        "untested",
        "A change was prescribed and not yet tested",
        "The folder holds no test of it: the run is not finished, or was ended before its proof.",
        None,
        change,
        run,
    )


def of_findings(findings: Sequence[Found], reports: Sequence[Report]) -> Verdict:
    """Word the verdict where nothing was changed."""
    blind = [one for one in reports if one.status == NOT_OBSERVED]
    if not reports:
        return Verdict("failed", "There is no report", "No report in this folder could be read.")
    if findings:
        counts = Counter(one.severity for one in findings)
        several = ", ".join(f"{counts[level]} {level}" for level in reversed(SEVERITIES) if counts[level])
        head = findings[0]
        change = head.changes[0] if head.changes and not head.deferred else None
        where = f" on {head.places}" if head.places else ""
        return Verdict("findings", f"{head.type}{where}", f"Found: {several}. No change was tested.", None, change)
    if len(blind) == len(reports):
        why = next((one.coverage.blind for one in blind if one.coverage is not None), "")
        return Verdict("not_observed", "No verdict: too little was seen", why)
    some = f" {len(blind)} of {len(reports)} watched things could not be judged." if blind else ""
    rules = sum(len(rule.rule.split()) for one in reports if one.coverage is not None for rule in one.coverage.unjudged)
    left = (
        f" {rules} rule{'' if rules == 1 else 's'} could not be judged, for figures that are not known."
        if rules
        else ""
    )
    return Verdict("healthy", "Nothing was found wrong", f"No rule fired in what was seen.{some}{left}")


def values_of(proof: Proof) -> str:
    """Tell the metric of both arms: an arm that was tested and has no finite mean diverged."""
    unknown = "not known" if proof.reason else "diverged"
    return f"{proof.metric} {told(proof.before, unknown)} → {told(proof.after, unknown)}"


def in_words(proof: Proof) -> str:
    """Tell the test of a change in a sentence."""
    parts = [f"Difference {told(proof.difference)}"]
    if proof.low is not None and proof.high is not None:
        parts[0] += f", {proof.level:.0%} interval {told(proof.low)} to {told(proof.high)}"
    if proof.wins is not None:
        parts.append(f"better in {proof.wins} of {proof.n} {proof.unit}s")
    else:
        parts.append(f"{proof.n} {proof.unit}s")
    if proof.p is not None:
        parts.append(f"p {proof.p:.2g}, adjusted ({_TESTS.get(proof.test, proof.test)})")
    if proof.higher_is_better is not None:
        parts.append(f"{'higher' if proof.higher_is_better else 'lower'} is better")
    if proof.verdict == "inconclusive" and proof.detectable is not None:
        parts.append(f"a difference of {told(proof.detectable)} could have been found")
    return "; ".join(parts) + "."


def told(value: float | None, unknown: str = "not known") -> str:
    """Write a number with four digits."""
    return unknown if value is None else f"{value:.4g}".replace("-", "−")
