"""Takes trials of the shipped ledger again: all of them, or a share drawn by the rules, and compares what comes of
them with the ledger.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from flowgrad.evidence.ledger import Ledger, Trial
from flowgrad.rules import RuleBook
from pipelines.benchmarks.faults.cases import FaultCase
from pipelines.benchmarks.faults.repair import experiment_of

AGAIN = "again"
"""Stem of the name of the table."""
COLUMNS = ("kind", "setting", "fault", "table", "seed", "rules", "detected", "in_ledger", "taken_again",
           "ledger_verdict", "verdict", "agrees")  # fmt: skip


@dataclass(frozen=True)
class Draw:
    """Cases that are taken again, and those that stand as they are in the ledger."""

    taken: list[FaultCase]
    left: list[FaultCase]
    known: Mapping[str, tuple[Trial, ...]]
    """Lines of the ledger on the trial of each case, by its name: one a rule whose fix was part of the prescription."""


def draw(planned: Sequence[FaultCase], share: float, book: RuleBook, run: str, ledger: Ledger) -> Draw:
    """Draw a share of the trials that the ledger holds of a run, one at least. A trial is taken again in any case where
    a rule that it tried has changed since, or where the ledger has none of that case: nothing was prescribed there.

    The same rules and trials give the same draw; the draw is not known before the rules are.

    Args:
        planned: cases of the run.
        share: of the trials that need not be taken, in (0, 1]; 1: all.
        book: rules that are tried.
        run: name of the run, by which the ledger calls its trials.
        ledger: trials of before.
    """
    current = {rule.id: rule.sha256 for rule in book.values()}
    known = {name: _lines(ledger, f"{run}: {name}") for name in map(_name, planned)}
    same = [
        name
        for name, lines in known.items()
        if lines and all(current.get(trial.rule) == trial.rule_sha256 for trial in lines)
    ]
    text = " ".join([*sorted(current.values()), *same])
    random = np.random.default_rng(int(hashlib.sha256(text.encode()).hexdigest(), 16))
    left = {same[place] for place in random.permutation(len(same))[math.ceil(share * len(same)) :]}
    return Draw(
        [case for case in planned if _name(case) not in left],
        [case for case in planned if _name(case) in left],
        known,
    )


def again_table(drawn: Draw, repairs: pd.DataFrame) -> pd.DataFrame:
    """Make one line a trial, columns `COLUMNS`: of those taken again the verdict that came of it, and whether it is the
    ledger's (`agrees`, empty where it has none); of the others the ledger's. A trial without a prescription has the
    verdict `none`.

    Args:
        drawn: the draw.
        repairs: table of `repair_table` of the cases taken.
    """
    done = {
        experiment_of(line["fault"], line.get("place") or line["table"], line["setting"], line["seed"]): line
        for line in repairs.to_dict("records")
    }
    lines = []
    for case in [*drawn.taken, *drawn.left]:
        name = _name(case)
        trials, line = drawn.known[name], done.get(name)
        if line is None and (case in drawn.taken or not trials):
            continue  # no rule that it asks for has a fix
        before = trials[0].verdict if trials else "none"
        rules = [trial.rule for trial in trials] if line is None else line["rules"].split()
        verdict = before if line is None else line["treated_verdict"]
        lines.append(
            {"kind": case.kind, "setting": case.setting, "fault": case.fault, "table": case.place or case.table,
             "seed": case.seed, "rules": " ".join(rules), "detected": bool(set(rules) & set(case.rules)),
             "in_ledger": bool(trials), "taken_again": line is not None, "ledger_verdict": before,
             "verdict": verdict, "agrees": verdict == before if trials else None}
        )  # fmt: skip
    return pd.DataFrame(lines, columns=list(COLUMNS))


def again_told(table: pd.DataFrame) -> str:
    """Say how many of the ledger's trials were taken again, and how many of those came out as they stand there."""
    known = table[table["in_ledger"]]
    taken = known[known["taken_again"]]
    return (
        f"{len(taken)} of the ledger's {len(known)} trials of these settings were taken again, and "
        f"{taken['agrees'].sum()} have its verdict"
    )


def _name(case: FaultCase) -> str:
    return experiment_of(case.fault, case.place or case.table, case.setting, case.seed)


def _lines(ledger: Ledger, experiment: str) -> tuple[Trial, ...]:
    """Lines of a trial, of each rule the last one."""
    found = [trial for trial in ledger.trials if trial.experiment == experiment and not trial.override]
    return tuple({trial.rule: trial for trial in found}.values())
