"""The verb `compare` on one CSV file: anybody's results, answered in the form of `prove`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pandas as pd

from flowgrad.agents.answers import SCHEMA_VERSION, Proof, Proven
from flowgrad.agents.plain import plain
from flowgrad.agents.proving import MOST_PROOFS
from flowgrad.csv_tables import read_table
from flowgrad.errors import EvidenceError, FlowGradError
from flowgrad.statistics import reason_of
from flowgrad.statistics.compared import compare

_NUMBERS = ("baseline", "treated", "difference", "ci_low", "ci_high", "effect_size", "p_adjusted")
_FURTHER = ("detectable", "margin", "p_equivalent", "v_ratio", "p_new_users")


def compare_table(
    file: str,
    *,
    baseline: str | None = None,
    better: Mapping[str, str] | None = None,
    arm: str | None = None,
    unit: str | None = None,
    margin: Mapping[str, float] | None = None,
    overlap: float | None = None,
    alpha: float = 0.05,
) -> Proven:
    """Answer which arms of a table of results are better than its baseline; see `flowgrad.compare`.

    Raises:
        FlowGradError: the file cannot be read, or its runs are no pairs.
    """
    seen = read_table(file)
    frame = read_table(file, numbers=[str(name) for name in seen.select_dtypes("float")])  # to the last digit
    try:
        found = compare(
            frame, baseline=baseline, better=better, arm=arm, unit=unit, margin=margin, overlap=overlap, alpha=alpha
        )
    except FlowGradError as error:
        raise EvidenceError(f"{file}: {error}") from error
    proofs = [_proof(line) for _, line in found.table.iterrows()]
    answer: dict[str, Any] = {
        "answer": "prove",
        "schema_version": SCHEMA_VERSION,
        "run": file,
        "table": file,
        "verdict": found.verdict,
        "checked": True,
        "proofs": proofs[:MOST_PROOFS],
        "overrides": [],
    }
    answer |= {"cautions": list(found.cautions)} if found.cautions else {}
    answer |= {"cut": {"proofs": len(proofs)}} if len(proofs) > MOST_PROOFS else {}
    return cast(Proven, answer)


def pairs_given(given: Sequence[str], option: str) -> dict[str, str]:
    """Read `NAME=VALUE` of an option that may stand several times.

    Raises:
        FlowGradError: one is no such pair.
    """
    for one in given:
        if not all(one.partition("=")[::2]):
            raise FlowGradError(f"{option} {one}: give it as NAME=VALUE")
    return dict(one.rsplit("=", 1) for one in given)


def numbers_given(given: Sequence[str], option: str) -> dict[str, float]:
    """Read `NAME=NUMBER` of an option that may stand several times.

    Raises:
        FlowGradError: one is no such pair.
    """
    try:
        return {name: float(value) for name, value in pairs_given(given, option).items()}
    except ValueError as error:
        if isinstance(error, FlowGradError):
            raise
        raise FlowGradError(f"{option} {' '.join(given)}: give it as NAME=NUMBER") from error


def _proof(line: pd.Series) -> Proof:
    told: dict[str, Any] = {
        **{name: str(line[name]) for name in ("comparison", "metric", "test")},
        "n": int(line["n"]),
        **{name: float(line[name]) for name in _NUMBERS},
        "wins": float(line["wins"]),
        "verdict": str(line["verdict"]),
        "control": False,
    }
    told |= {name: float(line[name]) for name in _FURTHER if name in line and line[name] == line[name]}
    if isinstance(line.get("verdict_new_users"), str):
        told["verdict_new_users"] = line["verdict_new_users"]
    if reason := reason_of(line):
        told["reason"] = reason
    return cast(Proof, plain(told))
