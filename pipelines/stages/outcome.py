"""Prints the last lines of the closed loop: findings, changes, and whether they helped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flowgrad.statistics import PRIMARY
from pipelines.output.tables import rounded
from pipelines.stages.artifacts import command
from pipelines.stages.diagnose import Diagnosis


def print_outcome(diagnoses: Sequence[Diagnosis], table: pd.DataFrame, folder: Path) -> None:
    """Print findings, changes, figures before and after, p, verdict, and where the files are."""
    console = Console()
    rows = Table(box=box.SIMPLE_HEAD, show_header=False, pad_edge=False)
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column(overflow="fold")
    for diagnosis in diagnoses:
        last = diagnosis.round == len(diagnoses)
        rows.add_row(f"round {diagnosis.round}" if not last or len(diagnoses) == 1 else "treated", _found(diagnosis))
        if not last:
            rows.add_row("  change", escape(" ".join(diagnosis.prescription.overrides)))
        elif diagnosis.prescription:
            rows.add_row("  next", escape(" ".join(diagnosis.prescription.overrides)) + " (no rounds left)")
    for _, line in table[table["test"].isin(PRIMARY)].iterrows():
        rows.add_row(escape(str(line["comparison"])), proof_line(line))
    console.print(rows)
    # Not in the table: what is to be pasted must not be wrapped.
    if len(diagnoses) > 1:
        console.print(f" command: {command(diagnoses[-1].overrides)}", markup=False, highlight=False, soft_wrap=True)
    console.print(f" files: {folder}", markup=False, highlight=False, soft_wrap=True)


def _found(diagnosis: Diagnosis) -> str:
    """List each type of finding once, with its subjects; those that inform only, in brackets."""
    acting = set(diagnosis.prescription.rules)
    subjects: dict[tuple[str, bool], list[str]] = {}
    for finding in diagnosis.all_findings:
        subjects.setdefault((finding.type, finding.rule_id in acting), []).append(finding.subject)
    if not subjects:
        return "nothing found"
    named = {True: "{} on {}", False: "({} on {})"}
    return escape("; ".join(named[acts].format(kind, ", ".join(on)) for (kind, acts), on in subjects.items()))


def proof_line(line: pd.Series) -> str:
    """Write one line of the significance table in words: before and after, interval, p, wins, verdict."""
    text = rounded(pd.DataFrame([line])).iloc[0]
    closed = f", gap closed {text['gap_closed']}" if text["gap_closed"] else ""
    unsure = text["verdict"] == "inconclusive" and text["detectable"]
    power = f" (could have found {text['detectable']})" if unsure else ""
    interval = f" [{text['ci_low']}, {text['ci_high']}]" if text["ci_low"] else ""
    return escape(
        f"{text['metric']} {text['baseline'] or 'diverged'} → {text['treated'] or 'diverged'}"
        f" ({text['difference'] or 'no difference'}{interval}), p {text['p_adjusted']},"
        f" wins {text['wins']}/{text['n']}{closed}: {text['verdict']}{power}"
    )
