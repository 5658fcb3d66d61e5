"""Does the verdict in a report follow from the observations beside it? Computed anew, and compared."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from flowgrad.errors import StatisticsError
from flowgrad.gate import DOWNGRADED, Objection
from flowgrad.report import AnyReport, CausalModel, ClaimsReport, RunReport, Validation
from flowgrad.statistics import NO_WORSE, PRIMARY, PROVEN, Comparison, margin_table, reason_of, significance

OBSERVATIONS, SIGNIFICANCE = "observations.csv", "significance.csv"
_FIGURES = ("baseline", "treated", "difference", "ci_low", "ci_high", "effect_size", "p", "p_adjusted")
_TOLERANCE = 1e-5
"""Relative; a report holds six digits."""


@dataclass(frozen=True)
class Recomputed:
    """What came of computing a report's validations anew."""

    agreed: int
    """Findings whose validation follows from the observations."""
    problems: tuple[str, ...]
    """One line for each that does not."""
    missing: str
    """File that is not beside the report, so that nothing could be computed; empty otherwise."""


def recompute(report: AnyReport, folder: Path) -> Recomputed:
    """Test every validation of the report against `observations.csv` and `significance.csv` in `folder`.

    The second file says which comparisons make up a family; no figure is taken from it.
    """
    validated = [(found, found.validation) for found in _findings(report) if found.validation is not None]
    if not validated:
        return Recomputed(0, (), "")
    for name in (OBSERVATIONS, SIGNIFICANCE):
        if not (folder / name).is_file():
            return Recomputed(0, (), name)
    checked = ((found.rule, _disagreement(proof, folder)) for found, proof in validated)
    problems = [f"{rule}: {problem}" for rule, problem in checked if problem is not None]
    return Recomputed(len(validated) - len(problems), tuple(problems), "")


def _findings(report: AnyReport) -> Iterator[CausalModel]:
    if isinstance(report, ClaimsReport):
        return  # its verdicts are of runs elsewhere
    for part in report.reports if isinstance(report, RunReport) else (report,):
        yield from part.findings


def _disagreement(proof: Validation, folder: Path) -> str | None:
    data = (folder / OBSERVATIONS).read_bytes()
    if proof.observations_sha256 != hashlib.sha256(data).hexdigest():
        return f"{OBSERVATIONS} is not the file that the validation was computed from (its SHA-256 differs)"
    try:
        line = _computed(proof, folder)
    except (StatisticsError, ValueError, KeyError) as error:
        return f"the validation cannot be computed from {OBSERVATIONS} and {SIGNIFICANCE}: {error}"
    for name in ("verdict", "test", "n", *_FIGURES):
        told, found = getattr(proof, name), PROVEN.get(line[name], line[name]) if name == "verdict" else line[name]
        if not (told == found if name in ("verdict", "test", "n") else _close(told, float(found))):
            return f"{name} is {told} in the report; the observations give {found}"
    return None


def _computed(proof: Validation, folder: Path) -> pd.Series:
    """The line of the significance table that the validation should equal."""
    observations = pd.read_csv(folder / OBSERVATIONS)
    table = pd.read_csv(folder / SIGNIFICANCE)
    tests = (NO_WORSE,) if proof.test == NO_WORSE else PRIMARY
    family = table[(table["family"] == proof.family) & table["test"].isin(tests)]
    named = family[["comparison", "baseline_arm", "treated_arm"]].drop_duplicates()
    planned = [Comparison(name, before, after, proof.family) for name, before, after in named.itertuples(index=False)]
    asked = [c for c in planned if c.name == proof.comparison]
    if not asked or (asked[0].baseline, asked[0].treated) != (proof.baseline_arm, proof.treated_arm):
        raise ValueError(
            f"no comparison {proof.comparison!r} of {proof.treated_arm!r} with {proof.baseline_arm!r} in the family "
            f"{proof.family!r}"
        )
    if proof.alpha is None:
        raise ValueError("it does not say its alpha")
    metrics = list(dict.fromkeys(family["metric"]))
    stated = _stated(family, proof.comparison)
    if proof.test == NO_WORSE:
        if proof.margin is None:
            raise ValueError("it does not say its margin")
        computed = margin_table(observations, planned, metrics, proof.margin, alpha=proof.alpha, objection=stated)
    else:
        computed = significance(observations, planned, metrics, proof.alpha, overlap=proof.overlap, objection=stated)
    chosen = (
        (computed["comparison"] == proof.comparison)
        & (computed["metric"] == proof.metric)
        & computed["test"].isin(tests)
    )
    if not chosen.any():
        raise ValueError(f"no test of {proof.metric!r}")
    return computed[chosen].iloc[0]


def _stated(family: pd.DataFrame, comparison: str) -> Objection | None:
    """An objection to the data that the file states: it can make a verdict inconclusive, and nothing else."""
    for _, line in family[family["comparison"] == comparison].iterrows():
        if reason := reason_of(line):
            return Objection("stated", DOWNGRADED, reason, "see the file", 0, int(line["n"]))
    return None


def _close(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=1e-12)
