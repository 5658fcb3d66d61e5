"""Prints what came of the closed loop: findings, changes, and whether they helped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from flowgrad.statistics import CONTROL, PRIMARY, PRUNED, reason_of, round_comparison
from pipelines.output.tables import rounded
from pipelines.stages.diagnose import Diagnosis
from pipelines.stages.told_findings import advice
from pipelines.stages.treatment import Treatment


def print_outcome(treatment: Treatment, table: pd.DataFrame, folder: Path, failed: Sequence[str] = ()) -> None:
    """Print a line a round, with what was found, changed and proven of it; what was left out again; advice that was not
    tried; runs that failed; the proof of the whole; where the files are.

    The A/A control is shown where it found a difference, which it should not, and where nothing else was compared.
    """
    primary = table[table["test"].isin(PRIMARY)]
    rounds, final = treatment.rounds, treatment.final
    for diagnosis in treatment.diagnoses[:-1]:
        _print_line(f"round {diagnosis.round}", _round(diagnosis, primary, treatment))
    _print_line("treated" if rounds else "round 1", _found(final) + _next(final) + _kept(treatment, primary))
    told = [
        line
        for diagnosis in treatment.arms().values()
        for line in advice(diagnosis.all_findings, diagnosis.prescription)
    ]
    for text in dict.fromkeys(told):
        _print_line("advice", text)
    for text in failed:
        _print_line("failed", text)
    for _, line in primary.iterrows():
        if line["comparison"] == round_comparison(1, 1):
            _print_line("proof", proof_line(line))
        elif line["family"] == CONTROL and (not rounds or line["verdict"] != "inconclusive"):
            _print_line(str(line["comparison"]), proof_line(line))
    _print_line("files", str(folder))


def _print_line(name: str, text: str) -> None:
    """Print one line, which is not wrapped: parts of it are to be pasted."""
    Console().print(f"{name:<9} {text}", markup=False, highlight=False, soft_wrap=True)


def _round(diagnosis: Diagnosis, primary: pd.DataFrame, treatment: Treatment) -> str:
    """`FOUND → CHANGE`, and the verdict on this round's share where there are others."""
    text = f"{_found(diagnosis)} → {' '.join(diagnosis.prescription.overrides)}"
    pruned = treatment.minimal is not None
    if treatment.rounds == 1 and not pruned:
        return text
    comparison = round_comparison(diagnosis.round, treatment.rounds, pruned=pruned)
    own = primary[primary["comparison"] == comparison]
    return f"{text} ({own['verdict'].iloc[0]})" if len(own) else text


def _next(diagnosis: Diagnosis) -> str:
    """Tell what the last round would have changed, had there been another."""
    overrides = diagnosis.prescription.overrides
    return f"; next would be {' '.join(overrides)}, but no rounds are left" if overrides else ""


def _kept(treatment: Treatment, primary: pd.DataFrame) -> str:
    """Tell how many overrides were kept, where some were dropped, and what dropping them did on the test rows; or why
    none could be.
    """
    if treatment.pruned is None or not (treatment.dropped or treatment.pruned.reason):
        return ""
    if treatment.pruned.reason:
        return f"; nothing left out: {treatment.pruned.reason}"
    kept, dropped = len(treatment.pruned.kept), " ".join(treatment.dropped)
    text = f"; {kept} of {kept + len(treatment.dropped)} overrides kept, without {dropped}"
    own = rounded(primary[primary["comparison"] == PRUNED])
    if not len(own):
        return text
    line = own.iloc[0]
    return f"{text} ({line['metric']} {line['baseline'] or 'diverged'} → {line['treated'] or 'diverged'})"


def _found(diagnosis: Diagnosis) -> str:
    """List each type of finding once, with its subjects: those that this round acts on; all where it acts on none."""
    acting = set(diagnosis.prescription.rules)
    chosen = [one for one in diagnosis.all_findings if not acting or one.rule_id in acting]
    subjects: dict[str, list[str]] = {}
    for finding in chosen:
        subjects.setdefault(finding.type, []).append(finding.subject)
    text = "; ".join(f"{kind} on {', '.join(on)}" for kind, on in subjects.items())
    others = len(diagnosis.all_findings) - len(chosen)
    return (text or "nothing found") + (f" ({others} more in the report)" if others else "")


def proof_line(line: pd.Series) -> str:
    """Write one line of the significance table in words: before and after, interval, p, wins, verdict."""
    text = rounded(pd.DataFrame([line])).iloc[0]
    closed = f", gap closed {text['gap_closed']}" if text["gap_closed"] else ""
    unsure = text["verdict"] == "inconclusive" and text["detectable"]
    power = f"could have found {text['detectable']}" if unsure else ""
    because = reason_of(line) or power
    interval = f" [{text['ci_low']}, {text['ci_high']}]" if text["ci_low"] else ""
    p = f", p {text['p_adjusted']}" if text["p_adjusted"] else ""
    return (
        f"{text['metric']} {text['baseline'] or 'diverged'} → {text['treated'] or 'diverged'}"
        f" ({text['difference'] or 'no difference'}{interval}){p},"
        f" wins {text['wins']}/{text['n']}{closed}: {text['verdict']}{f' ({because})' if because else ''}"
    )
