"""Scores the findings against the truth. This module neither trains nor reads or writes files."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from pipelines.benchmarks.faults.scores import share_interval
from pipelines.benchmarks.field.run import Result
from pipelines.benchmarks.field.watching import Said

RANK = {"info": 0, "low": 1, "medium": 2, "high": 3, "critical": 4}
LOUD = RANK["medium"]
ALL = "all hosts"
FINDING_COLUMNS = ("kind", "name", "host", "seed", "tracker", "type", "severity", "fix", "candidates", "premise")


@dataclass(frozen=True)
class Truth:
    """Correct findings on a fault."""

    causes: frozenset[str] = frozenset()
    """Types of findings that name the fault."""
    symptoms: frozenset[str] = frozenset()
    """Types of findings that name a consequence of the fault."""
    words: tuple[str, ...] = ()
    """Patterns, in lower case, that a candidate's cause holds where it names the fault."""

    def names(self, cause: str) -> bool:
        """Whether a candidate's cause is the fault: a type of `causes`, or text with one of `words`."""
        return cause in self.causes or any(re.search(word, cause.lower()) for word in self.words)


@dataclass(frozen=True)
class Verdict:
    """Score of the diagnosis of one faulted run."""

    detected: bool
    """Whether the cause is named at any severity, or a symptom or a right candidate at medium or above."""
    first: bool
    """Whether one of the most severe findings names the cause, by its type or by its first candidate."""
    named: bool
    """Whether some finding names the cause, by its type or by any of its candidates."""
    wrong: tuple[str, ...]
    """Types that were asserted, at medium or above, and are neither cause nor symptom."""


def verdict(findings: Sequence[Said], truth: Truth, means: Callable[[str], Collection[str]] | None = None) -> Verdict:
    """Score the findings of one run.

    Args:
        findings: of all trackers.
        truth: of the fault.
        means: type of a finding -> types that it amounts to, for libraries of another vocabulary; None: itself.
    """
    amounts = means or (lambda kind: (kind,))

    def of_cause(finding: Said) -> bool:
        return any(kind in truth.causes for kind in amounts(finding.type))

    def of_symptom(finding: Said) -> bool:
        return any(kind in truth.symptoms for kind in amounts(finding.type))

    def guesses(finding: Said) -> bool:
        return any(truth.names(cause) for cause in finding.candidates)

    loud = [finding for finding in findings if RANK[finding.severity] >= LOUD]
    top = max((RANK[finding.severity] for finding in loud), default=-1)
    worst = [finding for finding in loud if RANK[finding.severity] == top]
    return Verdict(
        detected=any(map(of_cause, findings)) or any(of_symptom(one) or guesses(one) for one in loud),
        first=any(of_cause(one) or (bool(one.candidates) and truth.names(one.candidates[0])) for one in worst),
        named=any(of_cause(one) or guesses(one) for one in findings),
        wrong=tuple(sorted({one.type for one in loud if _asserts(one) and not (of_cause(one) or of_symptom(one))})),
    )


def _asserts(finding: Said) -> bool:
    """Whether it claims to know: it prescribes a change, or leaves no choice of causes."""
    return finding.fix or not finding.candidates


@dataclass(frozen=True)
class Harm:
    """Cost of a fault, as a share of what the sound model had learned over a constant one."""

    cost: float
    """Cost on rows that come later, as such a share."""
    gap: float
    """Amount by which the author's own figure misleads, more than in the sound run, as such a share."""

    @property
    def most(self) -> float:
        """Largest of the two shares, whichever way the figure misleads."""
        return max(self.cost, abs(self.gap))


def harm(faulted: Result, sound: Result) -> Harm:
    """Compare a faulted run with the sound one of the same host, seed and base.

    Args:
        faulted: its costs may be NaN, which counts as having lost everything.
        sound: the run without the fault.
    """
    learned = max(sound.null - sound.cost, 1e-9)

    def share(value: float) -> float:
        return value / learned if math.isfinite(value) else 1.0

    cost = share(faulted.cost - sound.cost)
    gap = share((faulted.cost - faulted.told) - (sound.cost - sound.told)) if math.isfinite(faulted.cost) else 0.0
    return Harm(cost, gap)


def text_of(finding: Said) -> str:
    """Write a finding in one short text: where, type, severity, `*` where it prescribes, candidates."""
    guesses = f" ({' | '.join(finding.candidates)})" if finding.candidates else ""
    return f"{finding.tracker} {finding.type} [{finding.severity}]{'*' if finding.fix else ''}{guesses}"


def run_line(result: Result) -> dict:
    """Make the columns that every run has."""
    task = result.task
    return {
        "kind": task.kind, "name": task.name or "as_is", "host": task.host, "seed": task.seed, "cost": result.cost,
        "told": result.told, "steps": result.steps, "seconds": round(result.seconds, 2), "error": result.error,
        "findings": "; ".join(map(text_of, result.findings)),
    }  # fmt: skip


def fault_line(method: str, result: Result, sound: Result, said: Verdict) -> dict:
    """Make a line of one faulted run as one method judged it."""
    costs = harm(result, sound)
    return run_line(result) | {
        "method": method, "sound_cost": sound.cost, "sound_told": sound.told, "harm": costs.cost, "gap": costs.gap,
        "most": costs.most, "detected": said.detected, "first": said.first, "named": said.named,
        "wrong": " ".join(said.wrong),
    }  # fmt: skip


def habit_line(method: str, result: Result, findings: Sequence[Said]) -> dict:
    """Make a line of one healthy run as one method judged it."""
    fixes = sorted({finding.type for finding in findings if finding.fix})
    loud = sorted({finding.type for finding in findings if RANK[finding.severity] >= LOUD})
    return run_line(result) | {"method": method, "fix_alarms": " ".join(fixes), "loud_alarms": " ".join(loud)}


def spared(lines: pd.DataFrame, least_cost: float) -> pd.Series:
    """Flags of faulted runs whose fault costs nothing in its host, by the mean over seeds."""
    most = lines.groupby(["method", "name", "host"])["most"].transform("mean")
    return most < least_cost


def score_table(faulted: pd.DataFrame, healthy: pd.DataFrame, least_cost: float) -> pd.DataFrame:
    """Make shares with Wilson intervals: by host and pooled, by fault, and of habits.

    Args:
        faulted: lines of `fault_line`; runs with an error are left out.
        healthy: lines of `habit_line`; the same.
        least_cost: harm below which a fault need not be found. Assertions on it are judged all the same.
    """
    lines: list[dict] = []
    if len(faulted):
        done = faulted[faulted["error"] == ""].copy()
        done["spared"] = spared(done, least_cost)
        for method, own in done.groupby("method", sort=False):
            for host, part in [(ALL, own), *own.groupby("host", sort=False)]:
                lines += _of_faults(str(method), str(host), "all faults", part)
            for name, part in own.groupby("name", sort=False):
                lines += _of_faults(str(method), ALL, str(name), part)
    if len(healthy):
        done = healthy[healthy["error"] == ""]
        for method, own in done.groupby("method", sort=False):
            for host, part in [(ALL, own), *own.groupby("host", sort=False)]:
                lines += _of_habits(str(method), str(host), "all habits", part)
            for name, part in own.groupby("name", sort=False):
                if (part["loud_alarms"] != "").any() or (part["fix_alarms"] != "").any():
                    lines += _of_habits(str(method), ALL, str(name), part)
    return pd.DataFrame(lines)


def _of_faults(method: str, host: str, name: str, part: pd.DataFrame) -> list[dict]:
    asked = part[~part["spared"]]
    counts = {
        "detected": (int(asked["detected"].sum()), len(asked)),
        "cause first": (int(asked["first"].sum()), len(asked)),
        "cause among those named": (int(asked["named"].sum()), len(asked)),
        "wrong cause asserted": (int((part["wrong"] != "").sum()), len(part)),
    }
    if name == "all faults":
        counts["detected, harmless ones too"] = (int(part["detected"].sum()), len(part))
    return [_line(method, "fault", host, name, score, *count) for score, count in counts.items()]


def _of_habits(method: str, host: str, name: str, part: pd.DataFrame) -> list[dict]:
    counts = {
        "false alarms that prescribe": int((part["fix_alarms"] != "").sum()),
        "false alarms, medium or above": int((part["loud_alarms"] != "").sum()),
    }
    return [_line(method, "habit", host, name, score, count, len(part)) for score, count in counts.items()]


def _line(method: str, kind: str, host: str, name: str, score: str, hits: int, runs: int) -> dict:
    low, high = share_interval(hits, runs)
    return {
        "method": method, "kind": kind, "host": host, "name": name, "score": score, "hits": hits, "runs": runs,
        "share": hits / runs if runs else float("nan"), "low": low, "high": high,
    }  # fmt: skip


def fault_table(faulted: pd.DataFrame, least_cost: float) -> pd.DataFrame:
    """Make a line a fault and method: counts, mean harm, and how often each wrong type was asserted."""
    if not len(faulted):
        return pd.DataFrame()
    done = faulted[faulted["error"] == ""].copy()
    done["spared"] = spared(done, least_cost)
    lines = []
    for (method, name), part in done.groupby(["method", "name"], sort=False):
        wrong = pd.Series(" ".join(part["wrong"]).split()).value_counts()
        missed = part[~part["detected"] & ~part["spared"]]["host"].unique()
        lines.append(
            {"method": method, "fault": name, "runs": len(part), "harmful": int((~part["spared"]).sum()),
             "harm": part["most"].clip(upper=99).mean(), "detected": int(part["detected"].sum()),
             "first": int(part["first"].sum()), "named": int(part["named"].sum()),
             "wrong": int((part["wrong"] != "").sum()),
             "wrong_types": ", ".join(f"{kind} {count}" for kind, count in wrong.items()),
             "missed_in": " ".join(map(str, missed))}
        )  # fmt: skip
    return pd.DataFrame(lines)


def finding_lines(results: Sequence[Result]) -> list[dict]:
    """Make a line a finding, for the study of thresholds."""
    return [
        {"kind": r.task.kind, "name": r.task.name or "as_is", "host": r.task.host, "seed": r.task.seed,
         "tracker": one.tracker, "type": one.type, "severity": one.severity, "fix": one.fix,
         "candidates": " | ".join(one.candidates), "premise": one.premise}
        for r in results
        for one in r.findings
    ]  # fmt: skip


def measure_lines(results: Sequence[Result]) -> list[dict]:
    """Make a line a run and tracker, with every figure that it knew."""
    return [
        {"kind": r.task.kind, "name": r.task.name or "as_is", "host": r.task.host, "seed": r.task.seed,
         "tracker": tracker, **figures}
        for r in results
        for tracker, figures in r.measures.items()
    ]  # fmt: skip


def peer_findings(result: Result, silent: Collection[str]) -> list[Said]:
    """Convert the peer's alerts to findings: each asserts and prescribes, but for those that ask for nothing."""
    return [Said("peer", kind, "high", True, ()) for kind in result.peer.alerts if kind not in silent]


def truth_of(causes: Sequence[str], symptoms: Sequence[str], words: Sequence[str]) -> Truth:
    """Make the truth of the config's lists."""
    return Truth(frozenset(causes), frozenset(symptoms), tuple(words))


def meaning(table: Mapping[str, Sequence[str]]) -> Callable[[str], Collection[str]]:
    """Make the map from types of the peer to types of ours that they amount to."""
    return lambda kind: tuple(table.get(kind, ()))
