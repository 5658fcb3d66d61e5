"""Does the verdict in a report follow from the observations beside it? Computed anew, and compared."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from flowgrad.csv_tables import read_table
from flowgrad.errors import EvidenceError, StatisticsError
from flowgrad.gate import DOWNGRADED, Objection
from flowgrad.report import AnyReport, CausalModel, ClaimsReport, RunReport, Validation
from flowgrad.run_config import RunConfig
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

OBSERVATIONS, SIGNIFICANCE = "observations.csv", "significance.csv"
_FIGURES = ("baseline", "treated", "difference", "ci_low", "ci_high", "effect_size", "p", "p_adjusted")
_TOLERANCE = 1e-5
"""Relative; a report holds six digits."""
_LINE = ("comparison", "metric", "test", "n", *_FIGURES, "verdict", "family", "baseline_arm", "treated_arm")
"""Columns of the significance table that are read."""


class _MissingError(Exception):
    """A file without which nothing can be computed; its name."""


@dataclass(frozen=True)
class Recomputed:
    """What came of computing a report's validations anew."""

    agreed: int
    """Findings whose validation follows from the observations."""
    problems: tuple[str, ...]
    """One line for each that does not."""
    missing: str
    """File that is not beside the report, so that nothing could be computed; empty otherwise."""
    unchecked: tuple[str, ...] = ()
    """One line for each thing that was taken as it stands."""


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
    for found, proof in validated:
        if proof not in known:  # one proof stands at every rule that was part of the prescription
            try:
                known[proof] = [*_disagreements(proof, folder, unchecked)][:1]
            except _MissingError as missing:
                return Recomputed(0, (), str(missing))
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
    """A line of a run's significance table, after it was computed anew from the observations beside the table.

    Args:
        folder: of the run.
        comparison: its name.
        metric: what was compared.
        tests: names of tests, of which one is to be there.
        table: path of the table in the folder.
        overlap: of splits, where no config beside the table says it.

    Raises:
        EvidenceError: the table or the observations cannot be read, there is no such line or more than one, or it does
            not follow from the observations; names the file.
    """
    path = folder / table
    lines = read_table(path, _LINE, [*_FIGURES, "n"])
    chosen = lines[(lines["comparison"] == comparison) & (lines["metric"] == metric) & lines["test"].isin(tests)]
    if len(chosen) != 1:
        raise EvidenceError(f"{path}: {len(chosen)} lines for {comparison}, {metric}; one is needed")
    beside = _Beside(path.parent, RunConfig.beside(path.parent), lines, whole=False)
    _verify(chosen.iloc[0], path, beside, overlap)
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
    path = folder / table
    lines = read_table(path, _LINE, [*_FIGURES, "n"])
    beside = _Beside(path.parent, RunConfig.beside(path.parent), lines, whole=False)
    asked = lines[lines["test"].isin([*PRIMARY, NO_WORSE]) & (lines["family"] != CONTROL)]
    for _, line in asked.iterrows():
        _verify(line, path, beside, overlap)


def _verify(told: pd.Series, path: Path, beside: _Beside, overlap: float | None) -> None:
    try:
        computed = _computed(_as_validation(told, beside.config, overlap), beside, [])
    except EvidenceError:
        raise
    except (ValueError, KeyError, TypeError, IndexError, ArithmeticError) as error:
        raise EvidenceError(f"{path}: it cannot be computed anew: {' '.join(str(error).split())}") from error
    if problem := next(_differences(told, computed), None):
        raise EvidenceError(f"{path}: {told['comparison']}, {told['metric']}: {problem}; do the run again")


def _as_validation(line: pd.Series, config: RunConfig | None, overlap: float | None) -> Validation:
    """A line of the table as a report would tell it; what the table does not say is the config's."""
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
    """The verdicts of claims are of runs elsewhere; their adjustment over the claims of the document is not."""
    for claim, adjusted in zip(report.claims, holm([claim.p for claim in report.claims]), strict=True):
        if not _close(claim.p_adjusted, adjusted):
            yield f"{claim.id}: p_adjusted is {claim.p_adjusted} in the report; Holm's, over its claims, is {adjusted}"


def _findings(report: AnyReport) -> Iterator[CausalModel]:
    if isinstance(report, ClaimsReport):
        return
    for part in report.reports if isinstance(report, RunReport) else (report,):
        yield from part.findings


@dataclass(frozen=True)
class _Beside:
    """What stands beside a report."""

    folder: Path
    config: RunConfig | None
    lines: pd.DataFrame | None
    """The significance table."""
    whole: bool = True
    """Whether a family that only the table tells of has to cover every arm and metric that was observed."""
    tables: dict[tuple, pd.DataFrame] = field(default_factory=dict)
    """Families that were computed."""

    @cached_property
    def observations(self) -> pd.DataFrame:
        return observations_of(self.folder / OBSERVATIONS)


def _disagreements(proof: Validation, folder: Path, unchecked: list[str]) -> Iterator[str]:
    try:
        data = (folder / OBSERVATIONS).read_bytes()
    except OSError as error:
        raise EvidenceError(f"{OBSERVATIONS} cannot be read: {error.strerror or error}") from error
    if proof.observations_sha256 != hashlib.sha256(data).hexdigest():
        yield f"{OBSERVATIONS} is not the file that the validation was computed from (its SHA-256 differs)"
        return
    lines = read_table(folder / SIGNIFICANCE, _LINE) if (folder / SIGNIFICANCE).is_file() else None
    config = RunConfig.beside(folder)
    if config is not None:
        yield from _against_config(proof, config)
    line = _computed(proof, _Beside(folder, config, lines), unchecked)
    told = pd.Series({name: getattr(proof, name) for name in (*_FIGURES, "verdict", "test", "n", "unit")})
    yield from _differences(told, line, "the report")
    if bool(proof.reason) != bool(reason_of(line)):
        yield f"reason is {proof.reason[:80]!r} in the report; the observations give {reason_of(line)[:80]!r}"
    if lines is not None:
        yield from _against_table(proof, line, lines)


def _against_config(proof: Validation, config: RunConfig) -> Iterator[str]:
    """What was decided before anything was observed: level, overlap, margin and metric."""
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


def _against_table(proof: Validation, line: pd.Series, lines: pd.DataFrame) -> Iterator[str]:
    same = (
        (lines["comparison"] == proof.comparison)
        & (lines["metric"] == proof.metric)
        & (lines["test"] == proof.test)
        & (lines["family"] == proof.family)
    )
    if same.sum() != 1:
        told = f"{proof.comparison}, {proof.metric}, {proof.test}"
        yield f"{SIGNIFICANCE} has {same.sum()} lines of {told}; one is needed"
        return
    yield from _differences(lines[same].iloc[0], line, SIGNIFICANCE)


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
    """A file of observations, one line a seed, arm and metric.

    Raises:
        EvidenceError: it is none; names the file.
    """
    found = read_table(path, OBSERVATION_COLUMNS, ["value"])
    if not set(found["higher_is_better"].unique()) <= {True, False}:
        raise EvidenceError(f"{path}: higher_is_better must be True or False")
    names = ["experiment", "arm", "metric"]
    return found.assign(**{name: found[name].astype(str) for name in names})


def _computed(proof: Validation, beside: _Beside, unchecked: list[str]) -> pd.Series:
    """The line of the significance table that the validation should equal."""
    observations = beside.observations
    planned = _planned(proof, beside, observations)
    asked = [c for c in planned if c.name == proof.comparison]
    if not asked or (asked[0].baseline, asked[0].treated) != (proof.baseline_arm, proof.treated_arm):
        raise ValueError(
            f"no comparison {proof.comparison!r} of {proof.treated_arm!r} with {proof.baseline_arm!r} in the family "
            f"{proof.family!r}"
        )
    metrics = _metrics(proof, beside, observations)
    arms = {name for c in planned for name in (c.baseline, c.treated)} | {CONTROLLED, TUNED}
    if beside.whole and proof.family != HARMLESS and (left := sorted(set(observations["arm"]) - arms)):
        raise ValueError(
            f"the arm {left[0]!r} was observed, and the family {proof.family!r} of {SIGNIFICANCE} lacks it; was a line "
            "taken out?"
        )
    if proof.alpha is None:
        raise ValueError("it does not say its alpha")
    if not 0 < proof.alpha < 1:
        raise ValueError(f"alpha={proof.alpha} does not lie between 0 and 1")
    line = _tested(proof, beside, planned, metrics, None)
    if reason_of(line):
        return line
    stated = _stated(proof, beside.lines)
    if stated is None:
        return line
    unchecked.append(f"{proof.comparison}: what is said against the data: {stated.reason[:200]}")
    return _tested(proof, beside, planned, metrics, stated)


def _tested(
    proof: Validation, beside: _Beside, planned: list[Comparison], metrics: list[str], stated: Objection | None
) -> pd.Series:
    harmless, alpha = proof.test == NO_WORSE, float(proof.alpha or 0)
    if harmless and proof.margin is None:
        raise ValueError("it does not say its margin")
    key = (*planned, *metrics, harmless, alpha, proof.overlap, proof.margin, stated)
    if key not in beside.tables:
        seen, margin = beside.observations, float(proof.margin or 0)
        beside.tables[key] = (
            margin_table(seen, planned, metrics, margin, alpha=alpha, objection=stated)
            if harmless
            else significance(seen, planned, metrics, alpha, overlap=proof.overlap, objection=stated)
        )
    computed = beside.tables[key]
    chosen = (
        (computed["comparison"] == proof.comparison)
        & (computed["metric"] == proof.metric)
        & computed["test"].isin((NO_WORSE,) if proof.test == NO_WORSE else PRIMARY)
    )
    if not chosen.any():
        raise ValueError(f"no test of {proof.metric!r}")
    return computed[chosen].iloc[0]


def _planned(proof: Validation, beside: _Beside, observations: pd.DataFrame) -> list[Comparison]:
    """The comparisons whose p values were adjusted together with this one's."""
    if proof.family in (HARMLESS, ROUNDS) and (proof.test == NO_WORSE) != (proof.family == HARMLESS):
        raise ValueError(f"the test {proof.test!r} is none of the family {proof.family!r}")
    if proof.family == HARMLESS:
        return harmless_from(observations)[0]
    if proof.family == ROUNDS:
        return rounds_from(observations["arm"].unique())
    if beside.lines is None:
        raise _MissingError(SIGNIFICANCE)
    own = _family(proof, beside.lines)
    families = [str(name) for name in own["family"].unique()]
    if beside.whole and len(families) > 1 and proof.family in families:
        raise ValueError(f"{SIGNIFICANCE} has the families {', '.join(families)[:200]}; the observations tell of one")
    own = own[own["family"] == proof.family]
    named = own[["comparison", "baseline_arm", "treated_arm"]].drop_duplicates()
    offset = _offset(observations) if proof.family == CONTROL else 0
    return [Comparison(name, one, other, proof.family, offset) for name, one, other in named.itertuples(index=False)]


def _family(proof: Validation, lines: pd.DataFrame) -> pd.DataFrame:
    """Lines of the tests that were adjusted together."""
    tests = (NO_WORSE,) if proof.test == NO_WORSE else PRIMARY
    return lines[lines["test"].isin(tests) & ((lines["family"] != CONTROL) | (proof.family == CONTROL))]


def _offset(observations: pd.DataFrame) -> int:
    """What the seeds of the control are more than the baseline's."""
    first = observations.groupby("arm")["seed"].min()
    return int(first[CONTROLLED] - first["baseline"])


def _metrics(proof: Validation, beside: _Beside, observations: pd.DataFrame) -> list[str]:
    """Those of the family; all that were observed, where nothing says that some of them were not to be tested."""
    if proof.family == HARMLESS:
        return harmless_from(observations)[1]
    own = beside.config is not None and (beside.whole or proof.family == ROUNDS)
    if own and beside.config is not None and beside.config.metrics:
        return list(beside.config.metrics)
    if beside.lines is None:
        raise _MissingError(SIGNIFICANCE)
    lines = _family(proof, beside.lines)
    tested = list(map(str, lines.loc[lines["family"] == proof.family, "metric"].unique()))
    observed = [str(name) for name in observations["metric"].unique()]
    if beside.whole and (left := [name for name in observed if name not in tested]):
        raise ValueError(
            f"{left[0]!r} was observed, and {SIGNIFICANCE} has no test of it; was a line taken out? Where it was not "
            "to be tested, the run's config.yaml says so: put it beside the report"
        )
    return tested


def _stated(proof: Validation, lines: pd.DataFrame | None) -> Objection | None:
    """An objection to the data that the file states: it can make a verdict inconclusive, and nothing else."""
    own = [] if lines is None else [line for _, line in lines[lines["comparison"] == proof.comparison].iterrows()]
    reason = next((reason for line in own if (reason := reason_of(line))), proof.reason if lines is None else "")
    return Objection("stated", DOWNGRADED, reason, "see the file", 0, proof.n) if reason else None


def _close(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=1e-12)
