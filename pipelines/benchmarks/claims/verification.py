"""Does what a finished run left follow from what it observed?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from flowgrad.errors import FlowGradError
from flowgrad.report import read
from flowgrad.verification.ablations import check_ablations, verify_shares
from flowgrad.verification.recomputation import OBSERVATIONS, SIGNIFICANCE, recompute, table_line, verify_table
from flowgrad.verification.trial_tables import TRIALS, verified_trials
from pipelines.jobs.feature_synergy.linear import HALF


def contradiction(folder: Path) -> str:
    """Find the first thing in a run's folder that does not follow from its observations; empty where all does."""
    try:
        return next(_contradictions(folder), "")
    except (FlowGradError, OSError) as error:
        return " ".join(str(error).split())


def tested_line(folder: Path, table: str, comparison: str, metric: str, tests: tuple[str, ...]) -> pd.Series:
    """A line of a significance table, computed anew.

    Raises:
        EvidenceError: as `flowgrad.verification.recomputation.table_line`.
    """
    # Only the linear proof of terms has splits, and no config in its folder.
    return table_line(folder, comparison, metric, tests, table, overlap=HALF)


def _contradictions(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob(SIGNIFICANCE)):
        if not (path.parent / OBSERVATIONS).is_file():
            yield f"{path.parent / OBSERVATIONS} is missing"
            continue
        verify_table(folder, path.relative_to(folder).as_posix(), HALF)
    for path in sorted(folder.glob("report*.xml")):
        report = read(path)
        for checked in (recompute(report, folder), check_ablations(report, folder)):
            if checked.missing:
                yield f"{path.parent / checked.missing} is missing"
            yield from (f"{path}: {problem}" for problem in checked.problems)
    verify_shares(folder)
    if (folder / TRIALS).is_file():
        verified_trials(folder)
