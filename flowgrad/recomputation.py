"""Does the verdict in a report follow from the observations beside it? Computed anew, and compared."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from flowgrad.bounded_csv import MOST_BYTES, parse_csv
from flowgrad.files import read_bounded
from flowgrad.gate import DOWNGRADED, Objection
from flowgrad.report import AnyReport, CausalModel, ClaimsReport, RunReport, Validation
from flowgrad.statistics import NO_WORSE, PRIMARY, PROVEN, Comparison, margin_table, reason_of, significance

OBSERVATIONS, SIGNIFICANCE = "observations.csv", "significance.csv"
_FIGURES = ("baseline", "treated", "difference", "ci_low", "ci_high", "effect_size", "p", "p_adjusted")
_TOLERANCE = 1e-5
"""Relative; a report holds six digits."""


MOST_WORK = 10_000_000
"""Rows looked at while the validations of one report are computed. A test counts `_TEST` besides, and a family at one
level as much as `_FAMILY` tests."""
_TEST, _FAMILY = 10_000, 20


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
    try:
        computed = _Computed(folder)
    except OSError as error:
        return Recomputed(0, (f"{Path(error.filename or '').name} cannot be read: {error.strerror}",), "")
    problems = []
    for place, (found, proof) in enumerate(validated):
        try:
            problem = computed.disagreement(proof)
        except _TooMuchError as error:
            left = len(validated) - place
            problems.append(f"{found.rule}: {left} validation(s) from here on were not computed: {error}")
            return Recomputed(place - len(problems) + 1, tuple(problems), "")
        if problem is not None:
            problems.append(f"{found.rule}: {problem}")
    return Recomputed(len(validated) - len(problems), tuple(problems), "")


def _findings(report: AnyReport) -> Iterator[CausalModel]:
    if isinstance(report, ClaimsReport):
        return  # its verdicts are of runs elsewhere
    for part in report.reports if isinstance(report, RunReport) else (report,):
        yield from part.findings


class _TooMuchError(Exception):
    """More to compute than a report may ask for."""


class _Computed:
    """The significance tables that follow from the observations, each family's computed once."""

    def __init__(self, folder: Path) -> None:
        """Read both files.

        Raises:
            OSError: one cannot be read, or is longer than `flowgrad.bounded_csv.MOST_BYTES`.
        """
        self._data = {name: read_bounded(folder / name, MOST_BYTES) for name in (OBSERVATIONS, SIGNIFICANCE)}
        self._sha256 = hashlib.sha256(self._data[OBSERVATIONS]).hexdigest()
        self._families: dict[tuple[Any, ...], dict[tuple[Any, Any], dict[Any, Any]]] = {}
        self._left = MOST_WORK

    def disagreement(self, proof: Validation) -> str | None:
        """What the validation says otherwise than the observations; None where it follows from them.

        Raises:
            _TooMuchError: computing it would take too long.
        """
        if proof.observations_sha256 != self._sha256:
            return f"{OBSERVATIONS} is not the file that the validation was computed from (its SHA-256 differs)"
        try:
            line = self._line(proof)
            for name in ("verdict", "test", "n", *_FIGURES):
                told = getattr(proof, name)
                found = PROVEN.get(line[name], line[name]) if name == "verdict" else line[name]
                if not (told == found if name in ("verdict", "test", "n") else _close(told, float(found))):
                    return f"{name} is {told} in the report; the observations give {found}"
        # Tables may hold anything, such as text for numbers.
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            told = " ".join(str(error).split())
            return f"the validation cannot be computed from {OBSERVATIONS} and {SIGNIFICANCE}: {told}"
        return None

    @cached_property
    def _observations(self) -> pd.DataFrame:
        return parse_csv(self._data[OBSERVATIONS])

    @cached_property
    def _table(self) -> pd.DataFrame:
        return parse_csv(self._data[SIGNIFICANCE])

    @cached_property
    def _planned(self) -> dict[tuple[str, bool], tuple[pd.DataFrame, dict[str, Comparison]]]:
        """Lines and comparisons of each family, by its name and whether they are of `NO_WORSE`."""
        found = {}
        for of_margin, tests in ((True, (NO_WORSE,)), (False, PRIMARY)):
            for name, family in self._table[self._table["test"].isin(tests)].groupby("family", sort=False):
                arms = family[["comparison", "baseline_arm", "treated_arm"]].drop_duplicates()
                planned: dict[str, Comparison] = {}
                for named, before, after in arms.itertuples(index=False):
                    if named in planned:
                        raise ValueError(f"{SIGNIFICANCE} gives the comparison {named!r} two pairs of arms")
                    planned[named] = Comparison(named, before, after, str(name))
                found[str(name), of_margin] = family, planned
        return found

    @cached_property
    def _stated(self) -> dict[tuple[str, bool, Any], Objection]:
        """Objections to the data that the file states: they can make a verdict inconclusive, and nothing else."""
        found: dict[tuple[str, bool, Any], Objection] = {}
        for (name, of_margin), (family, _) in self._planned.items():
            if "reason" in family:
                given = family[family["reason"].map(lambda told: isinstance(told, str) and told != "")]
                for line in given.drop_duplicates("comparison").to_dict("records"):
                    told = Objection("stated", DOWNGRADED, reason_of(line), "see the file", 0, int(line["n"]))
                    found[name, of_margin, line["comparison"]] = told
        return found

    def _line(self, proof: Validation) -> dict[Any, Any]:
        """The line of the significance table that the validation should equal."""
        of_margin = proof.test == NO_WORSE
        family, planned = self._planned.get((proof.family, of_margin), (self._table[:0], {}))
        asked = planned.get(proof.comparison)
        if asked is None or (asked.baseline, asked.treated) != (proof.baseline_arm, proof.treated_arm):
            raise ValueError(
                f"no comparison {proof.comparison!r} of {proof.treated_arm!r} with {proof.baseline_arm!r} in the "
                f"family {proof.family!r}"
            )
        if proof.alpha is None:
            raise ValueError("it does not say its alpha")
        if of_margin and proof.margin is None:
            raise ValueError("it does not say its margin")
        stated = self._stated.get((proof.family, of_margin, proof.comparison))
        how = (proof.alpha, proof.margin if of_margin else proof.overlap)
        key = (proof.family, of_margin, *how, stated and (stated.reason, stated.of))
        if key not in self._families:
            table = self._computed(family, list(planned.values()), of_margin, *how, stated)
            primary = table[table["test"].isin((NO_WORSE,) if of_margin else PRIMARY)]
            self._families[key] = {}
            for one in primary.to_dict("records"):
                self._families[key].setdefault((one["comparison"], one["metric"]), one)
        line = self._families[key].get((proof.comparison, proof.metric))
        if line is None:
            raise ValueError(f"no test of {proof.metric!r}")
        return line

    def _computed(
        self,
        family: pd.DataFrame,
        planned: list[Comparison],
        of_margin: bool,
        alpha: float,
        how: float | None,
        stated: Objection | None,
    ) -> pd.DataFrame:
        metrics = list(dict.fromkeys(family["metric"]))
        self._left -= (_FAMILY + len(planned) * len(metrics)) * (len(self._observations) + _TEST)
        if self._left < 0:
            raise _TooMuchError(
                "its families, at so many levels, take too long; check a report of fewer findings, or of one alpha"
            )
        if of_margin:
            assert how is not None
            return margin_table(self._observations, planned, metrics, how, alpha=alpha, objection=stated)
        return significance(self._observations, planned, metrics, alpha, power=None, overlap=how, objection=stated)


def _close(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=1e-12)
