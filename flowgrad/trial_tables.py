"""Computes `trials.csv`, which an experiment over many faults leaves, anew from the observations in its folder.

`trials.plan.csv` says what was planned: a line a trial, with the level and overlap of its test and the rules whose
fixes made the prescription. Verdicts follow from it and from `observations.csv`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from flowgrad.csv_tables import MOST_BYTES, read_table
from flowgrad.errors import EvidenceError, RuleError, StatisticsError
from flowgrad.files import read_bounded
from flowgrad.ledger import BENCHMARK, Ledger, Trial, read_trials
from flowgrad.provenance import rule_problem
from flowgrad.recomputation import OBSERVATIONS, observations_of
from flowgrad.rules import RuleBook
from flowgrad.run_config import RunConfig
from flowgrad.statistics import arms_test, pair

TRIALS, PLAN = "trials.csv", "trials.plan.csv"
PLAN_COLUMNS = ("experiment", "metric", "alpha", "overlap", "rules")
FAULTED, TREATED = "faulted", "treated"
"""Arms that a trial compares."""
_TOLERANCE = 1e-9
"""Relative tolerance; the table holds every digit."""


def verified_trials(folder: Path, book: RuleBook | None = None) -> tuple[Trial, ...]:
    """Read the trials of `trials.csv` in a run folder, each of which follows from the observations in that folder.

    Args:
        folder: of the run.
        book: the rules that were tried; None: those of the run's config, or else the shipped ones.

    Raises:
        EvidenceError: a file is missing, cut or of another run, or a line does not follow; the message names the file
            and what to do.
    """
    path = folder / TRIALS
    trials = read_trials(path)
    for name in (OBSERVATIONS, PLAN):
        if not (folder / name).is_file():
            raise EvidenceError(
                f"{path}: {name} is not beside it, so that no verdict can be computed anew, and none is taken on "
                "trust; do the run again"
            )
    planned = _planned(folder)
    right = {(experiment, rule): one for experiment, one in planned.items() for rule in one.rules}
    books = book if book is not None else _rules(folder)
    sha256 = hashlib.sha256(read_bounded(folder / OBSERVATIONS, MOST_BYTES)).hexdigest()
    seen: set[tuple[str, str]] = set()
    for trial in trials:
        where = f"{path}: {trial.rule}, {trial.experiment[:200]!r}"
        name = next((name for name in planned if trial.experiment.endswith(f": {name}")), "")
        if (name, trial.rule) in seen:
            raise EvidenceError(f"{where} stands twice; take one of the two out, or do the run again")
        seen.add((name, trial.rule))
        if (name, trial.rule) not in right:
            raise EvidenceError(f"{where}: {PLAN} has no such trial of this rule; do the run again")
        problem = rule_problem(trial.rule, trial.rule_sha256, books)
        problem = problem or next(_differences(trial, right[name, trial.rule], sha256), None)
        if problem:
            raise EvidenceError(f"{where}: {problem}; do the run again")
    if lost := sorted(set(right) - seen):
        raise EvidenceError(
            f"{path}: there is no line of {lost[0][1]}, {lost[0][0]!r}; the file was cut: do the run again"
        )
    return Ledger().plus(trials).trials


@dataclass(frozen=True)
class _Planned:
    """One trial of the plan, and its observations' figures."""

    metric: str
    rules: tuple[str, ...]
    n: int
    p: float
    verdict: str


def _planned(folder: Path) -> Mapping[str, _Planned]:
    """Read the planned trial of each experiment, with its outcome.

    Raises:
        EvidenceError: a table cannot be read, they do not fit together, or a test cannot be made; names the file.
    """
    observations = observations_of(folder / OBSERVATIONS)
    path = folder / PLAN
    plan = read_table(path, PLAN_COLUMNS, ["alpha", "overlap"])
    if twice := plan["experiment"][plan["experiment"].duplicated()].tolist():
        raise EvidenceError(f"{path}: {twice[0]!r} stands twice; do the run again")
    treated = set(observations.loc[observations["arm"] == TREATED, "experiment"])
    if odd := sorted(treated ^ set(plan["experiment"].astype(str))):
        raise EvidenceError(f"{path}: {odd[0]!r} is in one of it and {OBSERVATIONS}, and not in the other; "
                            "do the run again")  # fmt: skip
    found = {}
    for line in plan.fillna({"rules": ""}).astype({"experiment": str, "metric": str, "rules": str}).to_dict("records"):
        own = observations[observations["experiment"] == line["experiment"]]
        try:
            found[line["experiment"]] = _tested(own, line)
        except (StatisticsError, ValueError, TypeError) as error:
            raise EvidenceError(f"{folder / OBSERVATIONS}: {line['experiment']}: {error}; do the run again") from error
    return found


def _tested(own: pd.DataFrame, line: Mapping) -> _Planned:
    alpha, overlap = float(line["alpha"]), float(line["overlap"])
    if not 0 < alpha < 1:
        raise StatisticsError(f"alpha={alpha} in {PLAN} does not lie between 0 and 1")
    if not math.isnan(overlap) and not 0 < overlap < 1:
        raise StatisticsError(f"overlap={overlap} in {PLAN} does not lie between 0 and 1")
    pairs = pair(own, FAULTED, TREATED, line["metric"])
    result = arms_test(
        pairs.baseline.tolist(),
        pairs.treated.tolist(),
        metric=line["metric"],
        higher_is_better=_direction(own, line["metric"]),
        alpha=alpha,
        overlap=None if math.isnan(overlap) else overlap,
    )
    return _Planned(line["metric"], tuple(line["rules"].split()), result.n, result.p, result.verdict)


def _direction(own: pd.DataFrame, metric: str) -> bool:
    told = own.loc[own["metric"] == metric, "higher_is_better"].unique()
    if len(told) != 1:
        raise StatisticsError(f"{metric}: the observations give {len(told)} directions; give one")
    return bool(told[0])


def _rules(folder: Path) -> RuleBook:
    config = RunConfig.beside(folder)
    try:
        own = config.rule_book() if config is not None else None
    except RuleError as error:
        raise EvidenceError(f"{error}; name the run's rules: --rules FILE") from error
    return own if own is not None else RuleBook.load(ledger=Ledger())


def _differences(trial: Trial, right: _Planned, sha256: str) -> Iterator[str]:
    if trial.observations_sha256 != sha256:
        yield f"{OBSERVATIONS} is not the file that it was computed from (its SHA-256 differs)"
    if trial.comparison != BENCHMARK:
        yield f"comparison is {trial.comparison!r}; a trial of a fault is {BENCHMARK!r}"
    for name in ("metric", "n", "verdict"):
        if (one := getattr(trial, name)) != (other := getattr(right, name)):
            yield f"{name} is {one}; the observations give {other}"
    both_unknown = math.isnan(trial.p) and math.isnan(right.p)
    if not both_unknown and not math.isclose(trial.p, right.p, rel_tol=_TOLERANCE, abs_tol=1e-15):
        yield f"p is {trial.p}; the observations give {right.p}"
