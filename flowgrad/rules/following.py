"""Findings that follow from another: while that one stands, they are no cause of their own and prescribe nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from flowgrad.rules.rule import SEVERITIES, Finding

LEAST = "medium"
"""Least severity at which a finding explains others, but for those of rules that say so (`Rule.explains`)."""
MEND, GOES = "MEND_WHAT_IT_FOLLOWS_FROM", "It goes with what it follows from, or it can be judged by itself then."
"""Action of a finding that follows, and its expected effect."""


def settled(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Mark the findings of one run that follow from another: low, without a fix.

    Give the findings of all trackers of a run together: a finding of one tracker may explain that of another. Settling
    findings twice changes nothing.

    Args:
        findings: in any order.

    Returns:
        As many, in the same order. A finding that follows has the type that it follows from in `follows`.
    """
    standing = {finding.type for finding in findings if stands(finding)}
    return tuple(_settled(finding, standing) for finding in findings)


def stands(finding: Finding) -> bool:
    """Whether other findings may follow from this one."""
    return not finding.follows and (finding.explains or _rank(finding) >= SEVERITIES.index(LEAST))


def by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort findings, the most severe first; equals keep their order."""
    return tuple(sorted(findings, key=lambda finding: -_rank(finding)))


def _settled(finding: Finding, standing: Collection[str]) -> Finding:
    cause = next((kind for kind in finding.may_follow if kind in standing and kind != finding.type), "")
    if not cause or finding.follows:
        return finding
    return replace(
        finding,
        severity=min(finding.severity, "low", key=SEVERITIES.index),
        implies=f"It follows from {cause}, which was found in the same run, or cannot be told apart from it.",
        action=MEND,
        expected_effect=GOES,
        risk="",
        fix=None,
        plain={},
        follows=cause,
    )


def circle(follows: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Types each of which follows from the next and the last from the first; empty where there are none.

    >>> circle({"A": ["B"], "B": ["C"], "C": ["A"]})
    ('A', 'B', 'C')
    """
    done: set[str] = set()
    for start in follows:
        path = {start: iter(follows[start])} if start not in done else {}
        while path:
            at = next(reversed(path))
            kind = next(path[at], None)
            if kind is None:
                done.add(at)
                del path[at]
            elif kind in path:
                names = list(path)
                return tuple(names[names.index(kind) :])
            elif kind not in done:
                path[kind] = iter(follows.get(kind, ()))
    return ()


def _rank(finding: Finding) -> int:
    return SEVERITIES.index(finding.severity)
