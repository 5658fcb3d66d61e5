"""Makes tables of the outcomes of all attacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from pipelines.benchmarks.robustness.attack import FAULTS, RAN, REFUSED
from pipelines.benchmarks.robustness.child import Came

ALL = "all"
"""Name of the line that counts all kinds and seeds."""
SHOWN = ["kind", "seed", "tried", REFUSED, RAN, *FAULTS, "seconds", "mebibytes"]
FAULT_COLUMNS = ["kind", "seed", "number", "fault", "what", "came"]


@dataclass(frozen=True)
class Line:
    """One attack and what came of it."""

    kind: str
    seed: int
    number: int
    tried: str
    came: Came


def counts(lines: Sequence[Line]) -> pd.DataFrame:
    """A line a kind and seed, and one of all.

    Columns: `SHOWN`; `seconds` and `mebibytes` are those of the attack that took the longest, and the most.
    """
    parts: dict[tuple[str, object], list[Came]] = {}
    for line in lines:
        parts.setdefault((line.kind, line.seed), []).append(line.came)
    parts[ALL, None] = [line.came for line in lines]
    return pd.DataFrame([_counted(kind, seed, part) for (kind, seed), part in parts.items()], columns=SHOWN).astype(
        {"seed": "Int64"}
    )


def _counted(kind: str, seed: object, came: Sequence[Came]) -> dict[str, object]:
    outcomes = [one.outcome for one in came]
    return {
        "kind": kind,
        "seed": seed,
        "tried": len(came),
        **{name: outcomes.count(name) for name in (REFUSED, RAN, *FAULTS)},
        "seconds": round(max((one.seconds for one in came), default=0.0), 2),
        "mebibytes": round(max((one.mebibytes for one in came), default=0.0)),
    }


def faults(lines: Sequence[Line]) -> pd.DataFrame:
    """A line a fault. Columns: `FAULT_COLUMNS`."""
    found = [
        (line.kind, line.seed, line.number, line.came.outcome, line.tried, line.came.said)
        for line in lines
        if line.came.outcome in FAULTS
    ]
    return pd.DataFrame(found, columns=FAULT_COLUMNS)
