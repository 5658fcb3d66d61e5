"""Checks whether the verdict in a report follows from the observations in its folder, by computing it anew."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from flowgrad.csv_tables import MOST_BYTES, read_table
from flowgrad.errors import EvidenceError, StatisticsError
from flowgrad.files import read_bounded
from flowgrad.gate import DOWNGRADED, Objection
from flowgrad.report import AnyReport, CausalModel, ClaimsReport, RunReport, Validation
from flowgrad.statistics import (
    CONTROL,
    NO_WORSE,
    OBSERVATION_COLUMNS,
    PRIMARY,
    PROVEN,
    Comparison,
    harmless_from,
    holm,
    margin_table,
    reason_of,
    rounds_from,
    significance,
)
from flowgrad.statistics.design import CONTROLLED, HARMLESS, ROUNDS, TUNED
from flowgrad.verification.run_config import RunConfig

OBSERVATIONS, SIGNIFICANCE = "observations.csv", "significance.csv"
_FIGURES = ("baseline", "treated", "difference", "ci_low", "ci_high", "effect_size", "p", "p_adjusted")
_TOLERANCE = 1e-5
"""Relative tolerance; a report holds six digits."""
_LINE = ("comparison", "metric", "test", "n", *_FIGURES, "verdict", "family", "baseline_arm", "treated_arm")
"""Columns of the significance table that are read."""


MOST_WORK = 10_000_000
"""Number of rows read while the validations of one report are computed. A test counts `_TEST` besides, and a family at
one level as much as `_FAMILY` tests.
"""
_TEST, _FAMILY = 10_000, 20


class _MissingError(Exception):
    """A file is missing without which nothing can be computed; the argument is its name."""


@dataclass(frozen=True)
class Recomputed:
    """Outcome of computing a report's validations anew."""

    agreed: int
    """Number of findings whose validation follows from the observations."""
    problems: tuple[str, ...]
    """Lines for validations that do not follow, one each."""
    missing: str
    """Name of the file that is missing from the report's folder, so that nothing could be computed; empty otherwise."""
    unchecked: tuple[str, ...] = ()
    """Lines for things that were taken as they stand, one each."""


def recompute(report: AnyReport, folder: Path) -> Recomputed:
    """Test every validation of the report against `observations.csv` in `folder`.

    Which comparisons and metrics make up a family follows from the arms that were observed and from the run's
    `config.yaml`; of a family that is not one of this library's runs, from `significance.csv`, which must then cover
    every arm and metric. No figure is taken from that table; where it is there, it has to say the same.
    """
    if isinstance(report, ClaimsReport):
        return Recomputed(0, tuple(_claims(report)), "")
    validated = [(found, found.validation) for found in _findings(report) if found.validation is not None]
    if not validated:
        return Recomputed(0, (), "")
    if not (folder / OBSERVATIONS).is_file():
        return Recomputed(0, (), OBSERVATIONS)
    problems: list[str] = []
    unchecked: list[str] = []
    known: dict[Validation, list[str]] = {}
    beside = _Beside(folder)
    for place, (found, proof) in enumerate(validated):
        if proof not in known:  # one proof stands at every rule that was part of the prescription
            try:
                known[proof] = [*islice(_disagreements(proof, beside, unchecked), 1)]
            except _MissingError as missing:
                return Recomputed(0, (), str(missing))
            except _TooMuchError as error:
                left = len(validated) - place
                problems.append(f"{found.rule}: {left} validation(s) from here on were not computed: {error}")
                return Recomputed(place - len(problems) + 1, tuple(problems), "", tuple(dict.fromkeys(unchecked)))
            except (StatisticsError, EvidenceError, ValueError, KeyError, TypeError, IndexError, ArithmeticError) as e:
                files = f"{OBSERVATIONS} and {SIGNIFICANCE}"
                told = " ".join(str(e).split()) or type(e).__name__
                known[proof] = [f"the validation cannot be computed from {files}: {told}"]
        problems += [f"{found.rule}: {problem}" for problem in known[proof]]
    return Recomputed(len(validated) - len(problems), tuple(problems), "", tuple(dict.fromkeys(unchecked)))


def table_line(
    folder: Path,
    comparison: str,
    metric: str,
    tests: tuple[str, ...],
    table: str = SIGNIFICANCE,
    overlap: float | None = None,
) -> pd.Series:
    """Read a line of a run's significance table, after computing it anew from the observations in the table's folder.

    Args:
        folder: of the run.
        comparison: its name.
        metric: what was compared.
        tests: names of tests, of which one is to be there.
        table: path of the table in the folder.
        overlap: of splits, where no config in that folder says it.

    Raises:
        EvidenceError: the table or the observations cannot be read, there is no such line or more than one, or it does
            not follow from the observations; names the file.
    """
    beside = _beside_table(folder / table)
    path, lines = beside.table, beside.lines
    assert lines is not None
    chosen = lines[(lines["comparison"] == comparison) & (lines["metric"] == metric) & lines["test"].isin(tests)]
    if len(chosen) != 1:
        raise EvidenceError(f"{path}: {len(chosen)} lines for {comparison}, {metric}; one is needed")
    _verify(chosen.iloc[0], beside, overlap)
    return chosen.iloc[0]


def verify_table(folder: Path, table: str = SIGNIFICANCE, overlap: float | None = None) -> None:
    """Compute every line of a run's significance table anew that a verdict rests on; those of the control are not.

    Args:
        folder: of the run.
        table: as of `table_line`.
        overlap: as of `table_line`.

    Raises:
        EvidenceError: as `table_line`.
    """
    beside = _beside_table(folder / table)
    lines = beside.lines
    assert lines is not None
    asked = lines[lines["test"].isin([*PRIMARY, NO_WORSE]) & (lines["family"] != CONTROL)]
    for _, line in asked.iterrows():
        _verify(line, beside, overlap)


def _beside_table(path: Path) -> _Beside:
    beside = _Beside(path.parent, path.name, whole=False)
    if beside.lines is None:
        raise EvidenceError(f"{path}: there is no such file; do the run again")
    return beside


def _verify(told: pd.Series, beside: _Beside, overlap: float | None) -> None:
    path = beside.table
    try:
        computed = _computed(_as_validation(told, beside.config, overlap), beside, [])
    except EvidenceError as error:
        raise EvidenceError(f"{path}: {error}" if isinstance(error, _TooMuchError) else str(error)) from error
    except (ValueError, KeyError, TypeError, IndexError, ArithmeticError) as error:
        raise EvidenceError(f"{path}: it cannot be computed anew: {' '.join(str(error).split())}") from error
    if problem := next(_differences(told, computed), None):
        raise EvidenceError(f"{path}: {told['comparison']}, {told['metric']}: {problem}; do the run again")


def _as_validation(line: pd.Series, config: RunConfig | None, overlap: float | None) -> Validation:
    """Convert a line of the table to the form of a report; a figure that the table lacks is the config's."""
    if line.get("unit") == "split" and config is not None:
        overlap = config.of("comparison", "overlap")
    margin = None
    if line["test"] == NO_WORSE:
        margin = config.of("job", "margin") if config is not None else line["margin"] / abs(line["baseline"])
    return Validation(
        **{name: line[name] for name in ("verdict", "test", "metric", "family", "comparison")},
        **{name: float(line[name]) for name in _FIGURES},  # type: ignore[arg-type]
        unit=str(line.get("unit", "seed")),
        n=int(line["n"]),
        baseline_arm=line["baseline_arm"],
        treated_arm=line["treated_arm"],
        alpha=float(line["alpha"]) if "alpha" in line else None,
        overlap=None if overlap is None or line.get("unit") != "split" else float(overlap),
        margin=None if margin is None else float(margin),
    )


def _claims(report: ClaimsReport) -> Iterator[str]:
    """Lines on the verdicts of claims, which are of runs elsewhere; their adjustment over the claims of the document is
    checked.
    """
    for claim, adjusted in zip(report.claims, holm([claim.p for claim in report.claims]), strict=True):
        if not _close(claim.p_adjusted, adjusted):
            yield f"{claim.id}: p_adjusted is {claim.p_adjusted} in the report; Holm's, over its claims, is {adjusted}"


def _findings(report: AnyReport) -> Iterator[CausalModel]:
    if isinstance(report, ClaimsReport):
        return
    for part in report.reports if isinstance(report, RunReport) else (report,):
        yield from part.findings


class _TooMuchError(EvidenceError):
    """A report asks for more computation than is allowed."""


class _Beside:
    """Files in the folder of a report: each is read once, and each family tested once."""

    def __init__(self, folder: Path, table: str = SIGNIFICANCE, *, whole: bool = True) -> None:
        """Read nothing yet.

        Args:
            folder: of the files.
            table: name of the significance table.
            whole: whether a family that only the table lists has to cover every arm and metric that was observed.
        """
        self.folder, self.table, self.whole = folder, folder / table, whole
        self._plans: dict[tuple[str, bool], tuple[list[Comparison], list[str]]] = {}
        self._families: dict[tuple[Any, ...], dict[tuple[str, str], pd.Series]] = {}
        self._left = MOST_WORK

    @cached_property
    def config(self) -> RunConfig | None:
        """The config of the run; None where there is none."""
        return RunConfig.beside(self.folder)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the observations."""
        try:
            return hashlib.sha256(read_bounded(self.folder / OBSERVATIONS, MOST_BYTES)).hexdigest()
        except OSError as error:
            raise EvidenceError(f"{OBSERVATIONS} cannot be read: {error.strerror or error}") from error

    @cached_property
    def observations(self) -> pd.DataFrame:
        """Observations, one line a seed, arm and metric."""
        return observations_of(self.folder / OBSERVATIONS)

    @cached_property
    def lines(self) -> pd.DataFrame | None:
        """The significance table; None where there is none."""
        return read_table(self.table, _LINE, [*_FIGURES, "n"]) if self.table.is_file() else None

    @cached_property
    def _places(self) -> dict[tuple[str, str, str, str], list[int]]:
        found: dict[tuple[str, str, str, str], list[int]] = {}
        if self.lines is not None:
            names = self.lines[["comparison", "metric", "test", "family"]].astype(str)
            for place, line in enumerate(names.itertuples(index=False, name=None)):
                found.setdefault(line, []).append(place)
        return found

    def told(self, proof: Validation) -> pd.DataFrame:
        """Lines of the significance table of this very test."""
        assert self.lines is not None
        return self.lines.iloc[self._places.get((proof.comparison, proof.metric, proof.test, proof.family), [])]

    @cached_property
    def _reasons(self) -> dict[str, str]:
        if self.lines is None or "reason" not in self.lines:
            return {}
        given = self.lines[self.lines["reason"].map(lambda told: isinstance(told, str) and told != "")]
        return dict(zip(given["comparison"][::-1].astype(str), given["reason"][::-1], strict=True))

    def stated(self, proof: Validation) -> Objection | None:
        """An objection to the data that the file states: it can make a verdict inconclusive, and nothing else."""
        reason = proof.reason if self.lines is None else self._reasons.get(proof.comparison, "")
        return Objection("stated", DOWNGRADED, reason, "see the file", 0, proof.n) if reason else None

    def plan(self, proof: Validation) -> tuple[list[Comparison], list[str]]:
        """Comparisons and metrics whose p values were adjusted together with this one's."""
        key = (proof.family, proof.test == NO_WORSE)
        if key not in self._plans:
            planned = _planned(proof, self)
            self._plans[key] = planned, _metrics(proof, self) if planned else []
        return self._plans[key]

    def tested(self, proof: Validation, stated: Objection | None) -> pd.Series | None:
        """Compute the line of the validation's test among those of its family, from the observations.

        Raises:
            _TooMuchError: computing it would take too long.
        """
        planned, metrics = self.plan(proof)
        of_margin, alpha = proof.test == NO_WORSE, float(proof.alpha or 0)
        how = proof.margin if of_margin else proof.overlap
        key = (proof.family, of_margin, alpha, how, stated and (stated.reason, stated.of))
        if key not in self._families:
            seen = self.observations
            self._left -= (_FAMILY + len(planned) * len(metrics)) * (len(seen) + _TEST)
            if self._left < 0:
                raise _TooMuchError(
                    "its families, at so many levels, take too long; check a report of fewer findings, or of one alpha"
                )
            table = (
                margin_table(seen, planned, metrics, float(how or 0), alpha=alpha, objection=stated)
                if of_margin
                else significance(seen, planned, metrics, alpha, power=None, overlap=how, objection=stated)
            )
            primary = table[table["test"].isin((NO_WORSE,) if of_margin else PRIMARY)]
            lines: dict[tuple[str, str], pd.Series] = {}
            for _, line in primary.iterrows():
                lines.setdefault((line["comparison"], line["metric"]), line)
            self._families[key] = lines
        return self._families[key].get((proof.comparison, proof.metric))


def _disagreements(proof: Validation, beside: _Beside, unchecked: list[str]) -> Iterator[str]:
    if proof.observations_sha256 != beside.sha256:
        yield f"{OBSERVATIONS} is not the file that the validation was computed from (its SHA-256 differs)"
        return
    if beside.config is not None:
        yield from _against_config(proof, beside.config)
    line = _computed(proof, beside, unchecked)
    told = pd.Series({name: getattr(proof, name) for name in (*_FIGURES, "verdict", "test", "n", "unit")})
    yield from _differences(told, line, "the report")
    if bool(proof.reason) != bool(reason_of(line)):
        yield f"reason is {proof.reason[:80]!r} in the report; the observations give {reason_of(line)[:80]!r}"
    if beside.lines is not None:
        yield from _against_table(proof, line, beside.told(proof))


def _against_config(proof: Validation, config: RunConfig) -> Iterator[str]:
    """Lines on differences from the config's decisions: level, overlap, margin and metric."""
    wanted = {"alpha": config.of("comparison", "alpha"), "overlap": config.of("comparison", "overlap")}
    if proof.test == NO_WORSE:
        wanted = {"alpha": wanted["alpha"], "margin": config.of("job", "margin")}
    for name, value in wanted.items():
        told = getattr(proof, name)
        known = isinstance(value, int | float) and not isinstance(value, bool)
        if (known and (told is None or not _close(told, float(value)))) or (name == "overlap" and not value and told):
            yield f"{name} is {told} in the report; {config.path.name} says {value}"
    if proof.family == ROUNDS and config.metrics and proof.metric != config.metrics[0]:
        yield f"metric is {proof.metric!r} in the report; {config.path.name} says that {config.metrics[0]!r} decides"


def _against_table(proof: Validation, line: pd.Series, own: pd.DataFrame) -> Iterator[str]:
    if len(own) != 1:
        told = f"{proof.comparison}, {proof.metric}, {proof.test}"
        yield f"{SIGNIFICANCE} has {len(own)} lines of {told}; one is needed"
        return
    yield from _differences(own.iloc[0], line, SIGNIFICANCE)


def _differences(told: pd.Series, computed: pd.Series, where: str = "the table") -> Iterator[str]:
    for name in ("verdict", "test", "unit", "n", *_FIGURES):
        if name not in told:
            continue
        one, other = told[name], computed[name]
        if name == "verdict" and where == "the report":
            other = PROVEN.get(other, other)
        if not (one == other if name in ("verdict", "test", "unit", "n") else _close(float(one), float(other))):
            yield f"{name} is {one} in {where}; the observations give {other}"


def observations_of(path: Path) -> pd.DataFrame:
    """Read a file of observations, one line a seed, arm and metric.

    Raises:
        EvidenceError: the file is no such table; the message names it.
    """
    found = read_table(path, OBSERVATION_COLUMNS, ["value"])
    if not set(found["higher_is_better"].unique()) <= {True, False}:
        raise EvidenceError(f"{path}: higher_is_better must be True or False")
    names = ["experiment", "arm", "metric"]
    return found.assign(**{name: found[name].astype(str).fillna("") for name in names})


def _computed(proof: Validation, beside: _Beside, unchecked: list[str]) -> pd.Series:
    """Line of the significance table that the validation should equal."""
    planned, _ = beside.plan(proof)
    asked = [c for c in planned if c.name == proof.comparison]
    if not asked or (asked[0].baseline, asked[0].treated) != (proof.baseline_arm, proof.treated_arm):
        raise ValueError(
            f"no comparison {proof.comparison!r} of {proof.treated_arm!r} with {proof.baseline_arm!r} in the family "
            f"{proof.family!r}"
        )
    if proof.alpha is None:
        raise ValueError("it does not say its alpha")
    if not 0 < proof.alpha < 1:
        raise ValueError(f"alpha={proof.alpha} does not lie between 0 and 1")
    if proof.test == NO_WORSE and proof.margin is None:
        raise ValueError("it does not say its margin")
    line = beside.tested(proof, None)
    if line is not None and not reason_of(line) and (stated := beside.stated(proof)) is not None:
        unchecked.append(f"{proof.comparison}: what is said against the data: {stated.reason[:200]}")
        line = beside.tested(proof, stated)
    if line is None:
        raise ValueError(f"no test of {proof.metric!r}")
    return line


def _planned(proof: Validation, beside: _Beside) -> list[Comparison]:
    """The comparisons whose p values were adjusted together with this one's."""
    seen = beside.observations
    if proof.family in (HARMLESS, ROUNDS) and (proof.test == NO_WORSE) != (proof.family == HARMLESS):
        raise ValueError(f"the test {proof.test!r} is none of the family {proof.family!r}")
    if proof.family == HARMLESS:
        return _covering(harmless_from(seen)[0], proof, beside)
    if proof.family == ROUNDS:
        return _covering(rounds_from(seen["arm"].unique()), proof, beside)
    if beside.lines is None:
        raise _MissingError(SIGNIFICANCE)
    own = _family(proof, beside.lines)
    families = [str(name) for name in own["family"].unique()]
    if beside.whole and len(families) > 1 and proof.family in families:
        raise ValueError(f"{SIGNIFICANCE} has the families {', '.join(families)[:200]}; the observations tell of one")
    own = own[own["family"] == proof.family]
    offset = _offset(seen) if proof.family == CONTROL else 0
    found: dict[str, Comparison] = {}
    named = own[["comparison", "baseline_arm", "treated_arm"]].drop_duplicates()
    for name, one, other in named.itertuples(index=False):
        if name in found:
            raise ValueError(f"{SIGNIFICANCE} gives the comparison {name!r} two pairs of arms")
        found[name] = Comparison(name, one, other, proof.family, offset)
    return _covering(list(found.values()), proof, beside) if found else []


def _covering(planned: list[Comparison], proof: Validation, beside: _Beside) -> list[Comparison]:
    """The comparisons, checked to miss no arm that was observed."""
    arms = {name for c in planned for name in (c.baseline, c.treated)} | {CONTROLLED, TUNED}
    if beside.whole and proof.family != HARMLESS and (left := sorted(set(beside.observations["arm"]) - arms)):
        raise ValueError(
            f"the arm {left[0]!r} was observed, and the family {proof.family!r} of {SIGNIFICANCE} lacks it; was a line "
            "taken out?"
        )
    return planned


def _family(proof: Validation, lines: pd.DataFrame) -> pd.DataFrame:
    """Lines of the tests that were adjusted together."""
    tests = (NO_WORSE,) if proof.test == NO_WORSE else PRIMARY
    return lines[lines["test"].isin(tests) & ((lines["family"] != CONTROL) | (proof.family == CONTROL))]


def _offset(observations: pd.DataFrame) -> int:
    """Number added to the baseline's seeds to give those of the control."""
    first = observations.groupby("arm")["seed"].min()
    return int(first[CONTROLLED] - first["baseline"])


def _metrics(proof: Validation, beside: _Beside) -> list[str]:
    """Metrics of the family; all that were observed, where no file says that some of them were not to be tested."""
    if proof.family == HARMLESS:
        return harmless_from(beside.observations)[1]
    if (beside.whole or proof.family == ROUNDS) and beside.config is not None and beside.config.metrics:
        return list(beside.config.metrics)
    if beside.lines is None:
        raise _MissingError(SIGNIFICANCE)
    lines = _family(proof, beside.lines)
    tested = list(map(str, lines.loc[lines["family"] == proof.family, "metric"].unique()))
    observed = [str(name) for name in beside.observations["metric"].unique()]
    if beside.whole and (left := [name for name in observed if name not in tested]):
        raise ValueError(
            f"{left[0]!r} was observed, and {SIGNIFICANCE} has no test of it; was a line taken out? Where it was not "
            "to be tested, the run's config.yaml says so: put it beside the report"
        )
    return tested


def _close(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=1e-12)
