"""Makes tables of scores from the findings in each case."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import pandas as pd

from flowgrad.rules import RuleBook
from pipelines.benchmarks.faults.cases import FaultCase
from pipelines.benchmarks.faults.ground import FaultFamily
from pipelines.benchmarks.faults.observation import DiagnosedRun
from pipelines.benchmarks.faults.scores import f1_interval, pooled, row_score, share_interval

MOTIONLESS = ("dead", "frozen", "stuck")
"""Faults that are indistinguishable by counts of moves alone."""
COUNTS = ("hits", "found", "true")


def case_table(
    cases: Sequence[FaultCase], found: Sequence[DiagnosedRun], book: RuleBook, ground: FaultFamily
) -> pd.DataFrame:
    """Make one line a case and method: `hits`, `found` and `true` count rows for faults of rows, and actions for
    others.

    Of a run the first prescription counts: every rule that acts in it is an action; those that are right to act count
    as one, for they prescribe the same. A rule without a fix counts where the case asks for it.
    """
    lines = []
    for case, seen in zip(cases, found, strict=True):
        own = _own_rows(case, seen) if case.kind == "row" else _own_actions(case, seen, book)
        lines.append(_line(case, "flowgrad", own, _confused(case, seen), "; ".join(_alarms(case, seen, book))))
        if seen.peer:
            scored = _peer_rows(case, seen, ground) if case.kind == "row" else _peer_actions(case, seen, ground)
            alarms = sorted({alert.type for d in seen.peer.values() for alert in d.alerts})
            lines.append(_line(case, "peer", scored, 0, "; ".join(alarms)))
    return pd.DataFrame(lines)


def rule_table(cases: Sequence[FaultCase], found: Sequence[DiagnosedRun], ground: FaultFamily) -> pd.DataFrame:
    """Make one line a rule that fired: in how many runs, in how many of them it is right (it is one of the case's, or
    also true there), and in how many controls, whether or not it has a fix.
    """
    lines = []
    for case, seen in zip(cases, found, strict=True):
        fired = {rule: rule in {*case.rules, *case.also} for rule, _ in seen.named}
        lines += [("flowgrad", rule, case.kind, right) for rule, right in fired.items()]
        alerts = {alert.type: alert for diagnosis in seen.peer.values() for alert in diagnosis.alerts}
        lines += [
            ("peer", kind, case.kind, case.kind != "control" and ground.credited(case.means, alert))
            for kind, alert in alerts.items()
        ]
    table = pd.DataFrame(lines, columns=["method", "rule", "kind", "right"])
    scored = []
    for (method, rule), part in table.groupby(["method", "rule"]):
        right = int(part["right"].sum())
        low, high = share_interval(right, len(part))
        controls = int(((part["kind"] == "control") & ~part["right"]).sum())
        scored.append((method, rule, len(part), right, right / len(part), low, high, controls))
    columns = ["method", "rule", "fired", "right", "precision", "low", "high", "wrong_on_controls"]
    return pd.DataFrame(scored, columns=columns)


def _line(case: FaultCase, method: str, counts: tuple[int, int, int], confused: int, alarms: str) -> dict:
    return {
        "method": method,
        **_identity(case),
        **dict(zip(COUNTS, counts, strict=True)),
        "confused": confused,
        "alarms": alarms,
    }


def measure_table(cases: Sequence[FaultCase], found: Sequence[DiagnosedRun]) -> pd.DataFrame:
    """Make a table of the measures that rules judged, for reading (five digits): one line a case and subject, a column
    for each measure.
    """
    return pd.DataFrame(
        [
            {**_identity(case), "subject": subject, "epochs": seen.epochs}
            | {name: float(f"{value:.5g}") for name, value in measures.items()}
            for case, seen in zip(cases, found, strict=True)
            for subject, measures in seen.measures.items()
        ]
    )


def _identity(case: FaultCase) -> dict:
    return {
        "kind": case.kind,
        "fault": case.fault,
        "setting": case.setting,
        "table": case.table,
        "seed": case.seed,
    } | ({"place": case.place} if case.place else {})


def _own_rows(case: FaultCase, seen: DiagnosedRun) -> tuple[int, int, int]:
    named = {row for rule in case.rules for row in seen.named.get((rule, case.table), ())}
    score = row_score(named, seen.truth)
    return score.hits, score.found, score.true


def _own_actions(case: FaultCase, seen: DiagnosedRun, book: RuleBook) -> tuple[int, int, int]:
    informing = {rule for rule, _ in seen.named if book[rule].fix is None}
    right = bool((set(seen.acting) | informing) & set(case.rules))
    wrong = len(set(seen.acting) - {*case.rules, *case.also})
    return int(right), int(right) + wrong, int(case.kind == "run")


def _alarms(case: FaultCase, seen: DiagnosedRun, book: RuleBook) -> list[str]:
    """Findings that carry a fix and are none of the case's; a finding whose cause is open carries none."""
    passed = {*case.rules, *case.also, *seen.open}
    return sorted({rule for rule, _ in seen.named if book[rule].fix is not None and rule not in passed})


def _confused(case: FaultCase, seen: DiagnosedRun) -> int:
    """Number of rows of a fault without motion that were named as having another such fault."""
    if case.fault not in MOTIONLESS:
        return 0
    rules = {f"{kind}_rows" for kind in MOTIONLESS} - set(case.rules)
    named = {row for rule in rules for row in seen.named.get((rule, case.table), ())}
    return len(named & set(seen.truth))


def _peer_rows(case: FaultCase, seen: DiagnosedRun, ground: FaultFamily) -> tuple[int, int, int]:
    score = row_score(ground.rows_for(case.fault, seen.peer[case.table]), seen.truth)
    return score.hits, score.found, score.true


def _peer_actions(case: FaultCase, seen: DiagnosedRun, ground: FaultFamily) -> tuple[int, int, int]:
    """Counts of the peer's actions: every type of alert is one; those credited with the fault count as one."""
    types: dict[str, bool] = {}
    for diagnosis in seen.peer.values():
        for alert in diagnosis.alerts:
            right = case.kind == "run" and ground.credited(case.means, alert)
            types[alert.type] = types.get(alert.type, False) or right
    hit = any(types.values())
    return int(hit), int(hit) + sum(not right for right in types.values()), int(case.kind == "run")


def score_table(table: pd.DataFrame, harmless: Collection[tuple[str, str]]) -> pd.DataFrame:
    """Make one line a fault and method, and pooled ones.

    Args:
        table: table of `case_table`.
        harmless: (fault, setting) of faults of runs that cost nothing. They need not be found, and to act on them is
            no mistake; another rule that acts there is.
    """
    asked = table.copy()
    spared = [pair in harmless for pair in zip(table["fault"], table["setting"], strict=True)]
    asked.loc[spared, "found"] -= asked.loc[spared, "hits"]
    asked.loc[spared, ["hits", "true"]] = 0
    lines: list[dict] = []
    for method in table["method"].unique():
        own, asked_of = table[table["method"] == method], asked[asked["method"] == method]
        rows, runs = own[own["kind"] == "row"], asked_of[asked_of["kind"] == "run"]
        add: Callable[..., None] = lambda *a, m=method: lines.append(_scores(m, *a))  # noqa: E731
        for fault, part in rows.groupby("fault", sort=False):
            add("row", fault, part)
        add("row", "all rows", rows)
        if len(rows):
            worst = min((part for _, part in rows.groupby("setting")), key=lambda part: pooled(part).f1)
            add("row", f"worst setting: {worst['setting'].iloc[0]}", worst)
        for fault, part in runs.groupby("fault", sort=False):
            add("run", fault, part)
        add("run", "all runs", runs)
        add("run", "all runs, harmless ones too", own[own["kind"] == "run"])
        controls = own[own["kind"] == "control"]
        alarmed = int((controls["found"] > 0).sum())
        low, high = share_interval(alarmed, len(controls))
        lines.append(
            {"method": method, "kind": "control", "fault": "false alarms", "runs": len(controls), "found": alarmed,
             "false_alarm_rate": alarmed / len(controls) if len(controls) else float("nan"), "low": low, "high": high}
        )  # fmt: skip
    return pd.DataFrame(lines)


def _scores(method: str, kind: str, fault: str, part: pd.DataFrame) -> dict:
    score = pooled(part)
    if kind == "row":
        low, high = f1_interval(part)
    else:
        low, high = share_interval(score.hits, score.true)
    return {
        "method": method, "kind": kind, "fault": fault, "runs": len(part), "true": score.true, "found": score.found,
        "hits": score.hits, "precision": score.precision, "recall": score.recall, "f1": score.f1,
        "low": low, "high": high, "confused": int(part["confused"].sum()),
    }  # fmt: skip


def by_setting(table: pd.DataFrame) -> pd.DataFrame:
    """Make the pooled score of the faults of rows, one line a setting and method."""
    rows = table[table["kind"] == "row"]
    groups = rows.groupby(["method", "setting"], sort=False)
    scores = {key: pooled(part) for key, part in groups}
    return pd.DataFrame(
        [
            {"method": m, "setting": s, "precision": x.precision, "recall": x.recall, "f1": x.f1}
            for (m, s), x in scores.items()
        ]
    )
