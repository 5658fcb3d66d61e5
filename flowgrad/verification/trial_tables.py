"""Computes `trials.csv`, which an experiment over many faults leaves, anew from the observations in its folder.

`trials.plan.csv` says what was planned: a line a trial, with the level and overlap of its test and the rules whose
fixes made the prescription. Verdicts follow from it and from `observations.csv`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from flowgrad.csv_tables import MOST_BYTES, read_table
from flowgrad.errors import EvidenceError, RuleError, StatisticsError
from flowgrad.evidence.ledger import BENCHMARK, Ledger, Trial, read_trials
from flowgrad.files import read_bounded
from flowgrad.rules import RuleBook
from flowgrad.statistics import arms_test, pair
from flowgrad.verification.provenance import rule_problem
from flowgrad.verification.recomputation import OBSERVATIONS, observations_of
from flowgrad.verification.run_config import RunConfig

TRIALS, PLAN = "trials.csv", "trials.plan.csv"
PLAN_COLUMNS = ("experiment", "metric", "alpha", "overlap", "rules")
TRIED_ON = "tried_on"
"""Column of the model and data, `Trial.tried_on`, which a plan of before need not have."""
FAULTED, TREATED = "faulted", "treated"
"""Arms that a trial compares."""
_DECIDED_BY = {"alpha": ("comparison",), "overlap": ("comparison", "dataset")}
"""Groups of a config that decide each figure of a test: splits overlap by the share of the data set that is kept."""
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
    run = _run_name(path, trials, planned)
    right = {(experiment, rule): one for experiment, one in planned.items() for rule in one.rules}
    books = book if book is not None else _rules(folder)
    sha256 = hashlib.sha256(read_bounded(folder / OBSERVATIONS, MOST_BYTES)).hexdigest()
    seen: set[tuple[str, str]] = set()
    for trial in trials:
        where = f"{path}: {trial.rule[:80]}, {trial.experiment[:200]!r}"
        name = trial.experiment[len(run) + 2 :] if trial.experiment.startswith(f"{run}: ") else ""
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
            f"{path}: there is no line of {lost[0][1][:80]}, {lost[0][0][:200]!r}; the file was cut: do the run again"
        )
    return Ledger().plus(trials).trials


def _run_name(path: Path, trials: Sequence[Trial], planned: Mapping[str, _Planned]) -> str:
    """What every trial's experiment begins with: the name of the run.

    Raises:
        EvidenceError: they begin with several names, with none, or with another than the run's config has.
    """
    config = RunConfig.beside(path.parent)
    found = {
        trial.experiment[: -len(name) - 2]: trial
        for trial in trials
        for name in planned
        if trial.experiment.endswith(f": {name}")
    }
    right = config.name if config is not None else ""
    if not right or "${" in right:
        right = next((name for name in found if ": " not in name), "")
    for name, trial in found.items():
        if name != right or not name.strip():
            told = f"the run's name is {right[:80]!r}" if right else "the name of a run is to stand before the colon"
            raise EvidenceError(f"{path}: {trial.rule[:80]}, {trial.experiment[:200]!r}: {told}; do the run again")
    return right


@dataclass(frozen=True)
class _Planned:
    """One trial of the plan, and its observations' figures."""

    metric: str
    rules: tuple[str, ...]
    n: int
    p: float
    verdict: str
    tried_on: str


def _planned(folder: Path) -> Mapping[str, _Planned]:
    """Read the planned trial of each experiment, with its outcome.

    Raises:
        EvidenceError: a table cannot be read, they do not fit together, or a test cannot be made; names the file.
    """
    observations = observations_of(folder / OBSERVATIONS)
    path = folder / PLAN
    plan = read_table(path, PLAN_COLUMNS, ["alpha", "overlap"])
    if twice := plan["experiment"][plan["experiment"].duplicated()].tolist():
        raise EvidenceError(f"{path}: {str(twice[0])[:200]!r} stands twice; do the run again")
    if plan["experiment"].isna().any():
        raise EvidenceError(f"{path}: a line names no experiment; do the run again")
    treated = set(observations.loc[observations["arm"] == TREATED, "experiment"])
    if odd := sorted(treated ^ set(plan["experiment"].astype(str))):
        raise EvidenceError(f"{path}: {odd[0][:200]!r} is in one of it and {OBSERVATIONS}, and not in the other; "
                            "do the run again")  # fmt: skip
    found = {}
    for problem in _against_config(plan, RunConfig.beside(folder)):
        raise EvidenceError(f"{path}: {problem}; do the run again")
    for line in _filled(plan).to_dict("records"):
        own = observations[observations["experiment"] == line["experiment"]]
        try:
            found[line["experiment"]] = _tested(own, line)
        except (StatisticsError, ValueError, TypeError) as error:
            where = f"{folder / OBSERVATIONS}: {line['experiment'][:200]!r}"
            raise EvidenceError(f"{where}: {str(error)[:300]}; do the run again") from error
    return found


def _filled(plan: pd.DataFrame) -> pd.DataFrame:
    whole = plan if TRIED_ON in plan else plan.assign(**{TRIED_ON: ""})
    texts = whole.astype({"rules": object, TRIED_ON: object}).fillna({"rules": "", TRIED_ON: ""})
    return texts.astype(dict.fromkeys(("experiment", "metric", "rules", TRIED_ON), str))


def _against_config(plan: pd.DataFrame, config: RunConfig | None) -> Iterator[str]:
    """Yield where the plan differs from the run's config, unless a setting of the job chooses anew what decides it."""
    if config is None:
        return
    job = str(config.values.get("job"))  # noqa: PD011
    for name, groups in _DECIDED_BY.items():
        wanted = config.of("comparison", name)
        known = isinstance(wanted, int | float) and not isinstance(wanted, bool)
        if known and not any(group in job for group in groups):
            for line in plan[~(plan[name] == float(wanted))].to_dict("records"):
                yield f"{str(line['experiment'])[:200]!r}: {name} is {line[name]}; {config.path.name} says {wanted}"


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
    return _Planned(line["metric"], tuple(line["rules"].split()), result.n, result.p, result.verdict, line[TRIED_ON])


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
        yield f"comparison is {trial.comparison[:80]!r}; a trial of a fault is {BENCHMARK!r}"
    for name in ("metric", "n", "verdict"):
        if (one := getattr(trial, name)) != (other := getattr(right, name)):
            yield f"{name} is {str(one)[:80]!r}; the observations give {str(other)[:80]!r}"
    if trial.tried_on != right.tried_on:
        yield f"tried_on is {trial.tried_on[:80]!r}; {PLAN} has {right.tried_on[:80]!r}"
    both_unknown = math.isnan(trial.p) and math.isnan(right.p)
    if not both_unknown and not math.isclose(trial.p, right.p, rel_tol=_TOLERANCE, abs_tol=1e-15):
        yield f"p is {trial.p}; the observations give {right.p}"
