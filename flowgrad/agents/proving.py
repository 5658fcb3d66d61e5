"""The verb `prove`: whether a change helped, by the paired tests that a run folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import yaml

from flowgrad.agents.answers import SCHEMA_VERSION, Proof, Proven
from flowgrad.agents.plain import figure, plain
from flowgrad.agents.run_files import run_files
from flowgrad.agents.tables import CONTROL, OBSERVATIONS, PRIMARY, SIGNIFICANCE, lines_of, primary_of
from flowgrad.bounded_yaml import load_yaml
from flowgrad.errors import EvidenceError
from flowgrad.files import read_text_bounded

MOST_PROOFS = 50
_NUMBERS = ("baseline", "treated", "difference", "ci_low", "ci_high", "effect_size", "p_adjusted", "wins")
_COLUMNS = ("comparison", "metric", "test", "n", "verdict", "family", *_NUMBERS)
_PRESCRIPTION_BYTES = 1 << 20
_SAYS = {"no worse": "confirmed", "worse": "refuted"}
"""Meaning of a verdict for a change that was to cost nothing, as `flowgrad.statistics.PROVEN` has it."""


def prove(run: str, *, check: bool = True) -> Proven:
    """Answer whether the change that a run tried helped: the verdicts of its `significance.csv` with their intervals.

    Args:
        run: run folder, or a report in one.
        check: whether every figure is computed anew from `observations.csv`; seconds, for pandas and scipy are needed.

    Raises:
        FlowGradError: there is no such run or table, it was cut or edited, or it does not follow from the observations.
    """
    files = run_files(run)
    table = files.folder / SIGNIFICANCE
    if not table.is_file():
        raise EvidenceError(
            f"{run}: it holds no {SIGNIFICANCE}, so nothing was proven; `flowgrad prove --run OVERRIDES` trains with a "
            "change and tests it"
        )
    lines = lines_of(table, _COLUMNS)
    primary = primary_of(lines)
    if not primary:
        raise EvidenceError(f"{table}: no line of it is one of {', '.join(PRIMARY)}")
    unchecked = _checked(files.folder) if check else "it was not asked for"
    tested = [line for line in lines if line["test"] in PRIMARY]
    overrides, dropped, command = _prescribed(files.folder)
    answer: dict[str, Any] = {
        "answer": "prove",
        "schema_version": SCHEMA_VERSION,
        "run": run,
        "table": str(table),
        "verdict": _verdict(table, primary[0]),
        "checked": not unchecked,
        "proofs": [_proof(line) for line in tested[:MOST_PROOFS]],
        "overrides": overrides,
    }
    answer |= {"unchecked": unchecked} if unchecked else {}
    answer |= {"dropped": dropped} if dropped else {}
    answer |= {"command": command} if command else {}
    answer |= {"cut": {"proofs": len(tested)}} if len(tested) > MOST_PROOFS else {}
    return cast(Proven, answer)


def _verdict(table: Path, line: dict[str, str]) -> str:
    told = _SAYS.get(line["verdict"], line["verdict"])
    if told not in ("confirmed", "refuted", "inconclusive"):
        raise EvidenceError(f"{table}: {line['verdict'][:40]!r} is no verdict; the file was edited")
    return told


def _checked(folder: Path) -> str:
    """Compute the table anew; the reason where that cannot be done.

    Raises:
        EvidenceError: it does not follow from the observations.
    """
    if not (folder / OBSERVATIONS).is_file():
        return f"there is no {OBSERVATIONS} beside it"
    from flowgrad.verification.ablations import verify_shares
    from flowgrad.verification.recomputation import verify_table

    verify_table(folder)
    verify_shares(folder)
    return ""


def _proof(line: dict[str, str]) -> Proof:
    told: dict[str, Any] = {
        "comparison": line["comparison"],
        "metric": line["metric"],
        "test": line["test"],
        "n": int(figure(line["n"]) or 0),
        **{name: figure(line[name]) for name in _NUMBERS},
        "verdict": line["verdict"],
        "control": line["family"] == CONTROL,
    }
    for name in ("reason", "detectable"):
        if line.get(name):
            told[name] = line[name] if name == "reason" else figure(line[name])
    return cast(Proof, plain(told))


def _prescribed(folder: Path) -> tuple[list[list[str]], list[str], str]:
    """Overrides of each round, those that were left out again, and the command that trains with the change; empty where
    the run wrote none.
    """
    path = folder / "prescription.yaml"
    try:
        held = load_yaml(read_text_bounded(path, _PRESCRIPTION_BYTES), _PRESCRIPTION_BYTES)
    except FileNotFoundError:
        return [], [], ""
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise EvidenceError(f"{path}: cannot be read: {' '.join(str(error).split())[:200]}") from error
    rounds = held.get("rounds") if isinstance(held, dict) else None
    if not isinstance(rounds, list):
        return [], [], ""
    known = [one for one in rounds[:MOST_PROOFS] if isinstance(one, dict)]
    found = [list(map(str, one.get("overrides") or ())) for one in known]
    dropped = [str(override) for one in known for override in one.get("dropped") or ()]
    return plain(found), plain(dropped), plain(str(held.get("command") or ""))
