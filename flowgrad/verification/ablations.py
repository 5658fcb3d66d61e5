"""Checks what runs without an override are said to show against `left_out.csv`, by computing it anew."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flowgrad.csv_tables import MOST_BYTES, read_table
from flowgrad.errors import EvidenceError, StatisticsError
from flowgrad.evidence.ledger import DROPPED, KEPT
from flowgrad.files import read_bounded
from flowgrad.report import AnyReport, ClaimsReport, Override, OverrideAblation, RunReport
from flowgrad.statistics import Ablation, ablation, mean_gain, pair
from flowgrad.statistics.design import BASELINE, STACKED
from flowgrad.verification.provenance import PRESCRIPTION, rounds_of
from flowgrad.verification.recomputation import observations_of
from flowgrad.verification.run_config import RunConfig

LEFT_OUT, SHARES = "left_out.csv", "shares.csv"
_FIGURES = ("loss", "ci_low", "ci_high", "p", "share", "share_low", "share_high")
_TOLERANCE = 1e-5
"""Relative tolerance; a report holds six digits."""


@dataclass(frozen=True)
class CheckedAblations:
    """Outcome of computing a report's ablations anew."""

    problems: tuple[str, ...] = ()
    """Lines for ablations that do not follow from the runs, one each."""
    missing: str = ""
    """Name of the file without which they cannot be computed; empty where there is none, or no ablation."""


def check_ablations(report: AnyReport, folder: Path) -> CheckedAblations:
    """Test every override that the report says was left out, by the runs in `left_out.csv` in `folder`.

    Raises:
        EvidenceError: the config in the folder cannot be read.
    """
    if isinstance(report, ClaimsReport):
        return CheckedAblations()
    parts = report.reports if isinstance(report, RunReport) else (report,)
    told = [
        (finding.rule, override, override.ablation)
        for part in parts
        for finding in part.findings
        for override in finding.fix
        if override.ablation is not None
    ]
    if not told:
        return CheckedAblations()
    if not (folder / LEFT_OUT).is_file():
        return CheckedAblations(missing=LEFT_OUT)
    runs, problems = _Runs(folder), []
    for rule, override, found in told:
        try:
            if found.observations_sha256 != runs.sha256:
                problem = f"{LEFT_OUT} is not the file that it was computed from (its SHA-256 differs)"
            else:
                problem = next(_contradictions(found, runs), "") or _not_as_prescribed(override, found, runs)
        except (StatisticsError, EvidenceError, ValueError, KeyError, TypeError, ArithmeticError) as error:
            problem = f"it cannot be computed from {LEFT_OUT}: {' '.join(str(error).split())[:300]}"
        problems += [f"{rule}: ablation of {override.path}: {problem}"] if problem else []
    return CheckedAblations(tuple(dict.fromkeys(problems)))


def verify_shares(folder: Path) -> None:
    """Compute every line of a run's `shares.csv` anew; nothing where the run left no such table.

    Raises:
        EvidenceError: a line does not follow from `left_out.csv`, or one of the two cannot be read; names the file.
    """
    path = folder / SHARES
    if not path.is_file():
        return
    runs = _Runs(folder)
    table = read_table(path, ("overrides", "outcome", "metric", "arm", "left_out_of"), ["n", *_FIGURES])
    for line in table.to_dict("records"):
        told: dict[str, Any] = {name: line[name] for name in ("outcome", "metric", "arm", "left_out_of")}
        told = {name: value if isinstance(value, str) else "" for name, value in told.items()}
        told |= {name: float(line[name]) for name in _FIGURES}
        known = OverrideAblation(**told, n=0 if math.isnan(line["n"]) else int(line["n"]))
        try:
            problem = next(_contradictions(known, runs), "")
        except (StatisticsError, ValueError, KeyError, TypeError, ArithmeticError) as error:
            problem = f"it cannot be computed anew: {' '.join(str(error).split())[:300]}"
        if problem:
            raise EvidenceError(f"{path}: {str(line['overrides'])[:200]}: {problem}; do the run again")


class _Runs:
    """Runs without overrides, and the settings that they are judged by."""

    def __init__(self, folder: Path) -> None:
        self._path, self._folder = folder / LEFT_OUT, folder

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(read_bounded(self._path, MOST_BYTES)).hexdigest()

    @cached_property
    def observations(self) -> pd.DataFrame:
        return observations_of(self._path)

    @cached_property
    def config(self) -> RunConfig | None:
        return RunConfig.beside(self._folder)

    @cached_property
    def dropped(self) -> Collection[str] | None:
        """Overrides that the run left out again; None where no file says it.

        Raises:
            EvidenceError: the file is no prescription.
        """
        path = self._folder / PRESCRIPTION
        if not path.exists():
            return None
        return {str(one) for acting in rounds_of(path) for one in acting.get("dropped") or ()}

    def setting(self, node: str, key: str, default: Any) -> Any:
        """A number of the run's config; the default where there is no config, or it says none."""
        found = None if self.config is None else self.config.of(node, key)
        return found if isinstance(found, int | float) and not isinstance(found, bool) else default

    def values(self, metric: str, arm: str, other: str) -> tuple[list[float], list[float]]:
        """Values of two arms on the same seeds."""
        pairs = pair(self.observations, arm, other, metric)
        return pairs.baseline.tolist(), pairs.treated.tolist()

    def better(self, metric: str) -> bool:
        """Direction of the metric."""
        told = self.observations.loc[self.observations["metric"] == metric, "higher_is_better"].unique()
        if len(told) != 1:
            raise ValueError(f"{metric}: the runs give {len(told)} directions; give one")
        return bool(told[0])


def _contradictions(told: OverrideAblation, runs: _Runs) -> Iterator[str]:
    if not told.n:  # nothing was trained without it
        if told.outcome != KEPT:
            yield f"outcome is {told.outcome!r}, and no run is named that shows it"
        return
    found, lost = _computed(told, runs)
    if told.n != found.n:
        yield f"n is {told.n}; the runs give {found.n}"
    right: Mapping[str, Any] = asdict(found)
    for name in _FIGURES:
        one, other = getattr(told, name), right[name]
        if not _close(math.nan if one is None else one, other):
            yield f"{name} is {one}; the runs give {other:.6g}"
    margin = runs.setting("pruning", "margin", None)
    if margin is not None and told.outcome == DROPPED and not lost <= margin:
        yield f"outcome is {told.outcome!r}; without it {lost:.3g} of the gain is lost, and the margin is {margin:g}"


def _not_as_prescribed(override: Override, told: OverrideAblation, runs: _Runs) -> str:
    """Error in an outcome that the run's prescription does not have; empty where it has."""
    if runs.dropped is None or told.dropped == (f"{override.path}={override.value}" in runs.dropped):
        return ""
    return f"outcome is {told.outcome!r}; {PRESCRIPTION} says otherwise"


def _computed(told: OverrideAblation, runs: _Runs) -> tuple[Ablation, float]:
    """The test of the runs, and the share of the gain that is lost in all without it."""
    better = runs.better(told.metric)
    gain = mean_gain(*runs.values(told.metric, BASELINE, STACKED), higher_is_better=better)
    without, with_it = runs.values(told.metric, told.arm, told.left_out_of)
    found = ablation(
        without,
        with_it,
        gain,
        metric=told.metric,
        higher_is_better=better,
        alpha=runs.setting("comparison", "alpha", 0.05),
        overlap=runs.setting("comparison", "overlap", None),
    )
    if not np.isfinite(without).all():
        return found, math.inf
    return found, mean_gain(*runs.values(told.metric, told.arm, STACKED), higher_is_better=better) / gain


def _close(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=1e-12)
