"""Keeps the ledger of validated fixes: one line a trial, from which the confidence of every rule follows.

The shipped ledger, `flowgrad/conf/evidence.csv`, holds this project's own trials (docs/evidence.md); users add theirs
in a file of their own. A trial counts for the rule that it tried: for one with the same condition and fix
(`Rule.sha256`). A rule whose threshold or fix was changed starts from the prior again.

Several processes may add to one file at once: each holds its folder while it reads, adds and writes.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from flowgrad.csv_tables import read_lines
from flowgrad.errors import EvidenceError
from flowgrad.evidence.chances import Chances, fitted
from flowgrad.evidence.confidence import Confidence, posterior
from flowgrad.files import locked, write_atomically
from flowgrad.lazy import LazyModule

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")  # imported where a table is made

SHIPPED = Path(__file__).parents[1] / "conf" / "evidence.csv"
VERDICTS = ("confirmed", "refuted", "inconclusive")
KEPT, DROPPED = PLACES = ("kept", "dropped")
"""Verdicts on a single override: whether it earned its place."""
BENCHMARK = "treated_vs_faulted"
"""Comparison of the trials of a benchmark: one file of observations holds many of them, distinguished by their
experiment.
"""
_OF_NUMBERS = frozenset("0123456789.e+-naif")
"""Characters that a number is written in; Python reads digits of any script, and spaces and underscores beside them."""
_ON = " on "
"""Text between model and data."""
PATIENCE = 120.0
"""Number of seconds to wait for others that write into a ledger's folder."""


@dataclass(frozen=True)
class Trial:
    """One validated prescription, for one of its rules; each field is a column of the file."""

    rule: str
    """Id of the rule."""
    rule_sha256: str
    """`Rule.sha256` at the time."""
    experiment: str
    """Name of the experiment."""
    comparison: str
    metric: str
    n: int
    """Number of pairs."""
    p: float
    """P-value, adjusted."""
    verdict: str
    """Verdict, one of `VERDICTS`; of a single override one of `PLACES`."""
    observations_sha256: str
    """SHA-256 of the file that the test was computed from."""
    override: str = ""
    """Override that was left out, as `path=value`; empty for the whole fix of the rule. Its verdict is one of
    `PLACES`.
    """
    share: float | None = None
    """Share of the gain that was lost without the override, in the mean; None for a whole fix, or where it is not
    known.
    """
    tried_on: str = ""
    """Model and data that it was tried on, as `DeepFM on flights`; empty where they are not known."""

    @property
    def key(self) -> tuple[str, ...]:
        """Key that distinguishes trials: the same observations of a comparison count once, whatever the run's id."""
        part = (self.experiment.partition(": ")[2] or self.experiment) if self.comparison == BENCHMARK else ""
        return (self.rule, self.rule_sha256, part, self.comparison, self.observations_sha256, self.override)


_OF_OVERRIDES, _OF_PAIRS = ("override", "share"), ("tried_on",)
"""Columns of single overrides, and of models and data, which a file without any need not have."""
COLUMNS = tuple(field.name for field in fields(Trial) if field.name not in (*_OF_OVERRIDES, *_OF_PAIRS))
_HEADERS = tuple(
    (*COLUMNS, *of_overrides, *of_pairs) for of_overrides in ((), _OF_OVERRIDES) for of_pairs in ((), _OF_PAIRS)
)


@dataclass(frozen=True)
class Ledger:
    """Trials, each once, in the order they came."""

    trials: tuple[Trial, ...] = ()

    @classmethod
    def load(cls, *paths: str | Path) -> Ledger:
        """Load the trials of these files together; without paths, the shipped ones.

        Raises:
            EvidenceError: as `FILE:LINE: ...`, a file that cannot be read or a line that is no trial.
        """
        return cls(()).plus(trial for path in paths for trial in read_trials(path)) if paths else _shipped()

    @classmethod
    def extend(cls, path: str | Path, trials: Iterable[Trial]) -> tuple[Ledger, Ledger]:
        """Add trials to a file, which is made where it is missing; trials added by others meanwhile are kept.

        Args:
            path: of the file.
            trials: those that it holds already are passed over.

        Returns: The trials that the file held, and those that it holds now.

        Raises:
            EvidenceError: as `load`; or the folder is not there, or somebody else holds it for `PATIENCE` seconds.
        """
        target, found = Path(os.path.realpath(path)), tuple(trials)
        try:
            with _held(target.parent):
                before = cls.load(path) if target.exists() else cls()
                after = before.plus(found)
                after.write(target)
        except OSError as error:
            raise EvidenceError(f"{path}: cannot be written: {error.strerror or error}") from error
        return before, after

    def plus(self, trials: Iterable[Trial]) -> Ledger:
        """Ledger with further trials; those that it holds already are passed over."""
        held = {trial.key: trial for trial in self.trials}
        for trial in trials:
            held.setdefault(trial.key, trial)
        return Ledger(tuple(held.values()))

    def confidence(self, rule: str, sha256: str, case: str = "") -> Confidence:
        """Confidence in a rule's fix on the data at hand, by the trials of all rules.

        Args:
            rule: its id.
            sha256: its hash.
            case: model and data at hand, written as `Trial.tried_on` is; empty where they are not known.
        """
        own = self._trials_of.get((rule, sha256), [])
        told = [trial.verdict for trial in own]
        log_odds = self._chances.log_odds(_version(rule, sha256) if own else "", case.partition(_ON)[2])
        found = posterior(told.count("confirmed"), len(told), told.count("refuted"), log_odds)
        pairs = [trial.tried_on for trial in own if trial.tried_on]
        return replace(found, tried_on=_counted(pairs), near=nearest(case, pairs))

    def overrides(self, rule: str, sha256: str) -> dict[str, tuple[int, int]]:
        """Number of runs in which each override of a rule earned its place, and of those in which it was left out to
        see, by its path.
        """
        found = self._places.get((rule, sha256), {})
        return {path: (verdicts.count(KEPT), len(verdicts)) for path, verdicts in found.items()}

    @cached_property
    def _places(self) -> dict[tuple[str, str], dict[str, list[str]]]:
        found: dict[tuple[str, str], dict[str, list[str]]] = {}
        for trial in self.trials:
            if trial.override:
                path = trial.override.partition("=")[0]
                found.setdefault((trial.rule, trial.rule_sha256), {}).setdefault(path, []).append(trial.verdict)
        return found

    @cached_property
    def _chances(self) -> Chances:
        """Fit to all trials. A rule with another condition or fix is another one; all data not known are one set."""
        found: dict[tuple[str, str], list[str]] = {}
        for (rule, sha256), trials in self._trials_of.items():
            for trial in trials:
                case = _version(rule, sha256), trial.tried_on.partition(_ON)[2]
                found.setdefault(case, []).append(trial.verdict)
        return fitted({case: (told.count("confirmed"), len(told)) for case, told in found.items()})

    @cached_property
    def _trials_of(self) -> dict[tuple[str, str], list[Trial]]:
        found: dict[tuple[str, str], list[Trial]] = {}
        for trial in self.trials:
            if not trial.override:
                found.setdefault((trial.rule, trial.rule_sha256), []).append(trial)
        return found

    def table(self) -> pd.DataFrame:
        """Table of one line a trial, columns `COLUMNS`; with those of single overrides, and of models and data, where
        there are any.
        """
        table = pd.DataFrame([astuple(trial) for trial in self.trials], columns=[field.name for field in fields(Trial)])
        unused = [*(() if any(table["override"]) else _OF_OVERRIDES), *(() if any(table["tried_on"]) else _OF_PAIRS)]
        return table.drop(columns=unused)

    def write(self, path: str | Path) -> None:
        """Write the ledger as a file that `load` reads, whole or not at all."""
        write_atomically(path, self.table().to_csv(index=False, lineterminator="\n").encode())


def _version(rule: str, sha256: str) -> str:
    return f"{rule} {sha256}"


def case_of(model: str, data: str) -> str:
    """Write a model and data as `Trial.tried_on` has them; empty where one of them is not known."""
    return f"{model}{_ON}{data}" if model and data else ""


def nearest(case: str, pairs: Sequence[str]) -> str:
    """Tell how near a case is to what was tried: `pair` where its model was tried on its data, `model` or `data` where
    one of them was tried with another, else `neither`; empty where the case is not known, or nothing that was tried.

    >>> nearest("DeepFM on flights", ["DeepFM on movielens_clicks", "Dlrm on insteval_clicks"])
    'model'
    """
    if not case or not pairs:
        return ""
    model, _, data = case.partition(_ON)
    apart = [pair.partition(_ON) for pair in pairs]
    same = {
        "pair": case in pairs,
        "model": model in [one for one, _, _ in apart],
        "data": data in [d for _, _, d in apart],
    }
    return next((what for what, holds in same.items() if holds), "neither")


def _counted(pairs: Sequence[str]) -> str:
    return "; ".join(f"{pair}: {count}" for pair, count in Counter(pairs).items())


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    end = time.monotonic() + PATIENCE
    while True:
        with locked(folder) as held:
            if held is not None:
                yield
                return
        if time.monotonic() > end:
            raise EvidenceError(
                f"{folder}: somebody else has written there for {PATIENCE:g} seconds; wait for it, or name a file in "
                "another folder"
            )
        time.sleep(0.02)


@cache
def _shipped() -> Ledger:
    """The shipped trials, read once a process, as the shipped rules are."""
    return Ledger.load(SHIPPED)


def read_trials(path: str | Path) -> tuple[Trial, ...]:
    """Read every line of a file of trials, also those that stand twice.

    Raises:
        EvidenceError: as `Ledger.load`.
    """
    lines = read_lines(path)
    _, header = next(lines)
    if tuple(header) not in _HEADERS:
        told = ", ".join(header)[:300]
        right = (
            f"{', '.join(COLUMNS)}, and {' and '.join(_OF_OVERRIDES)} where there are single overrides, and "
            f"{_OF_PAIRS[0]} where models and data are known"
        )
        raise EvidenceError(f"{path}:1: the columns are {told}; they must be {right}")
    return tuple(_trial(f"{path}:{number}", dict(zip(header, values, strict=True))) for number, values in lines)


def _trial(where: str, line: Mapping[str, str]) -> Trial:
    given = {"override": "", "share": "", "tried_on": "", **line}
    right = PLACES if given["override"] else VERDICTS
    if given["verdict"] not in right:
        raise EvidenceError(f"{where}: verdict is {given['verdict'][:80]!r}; it must be {', '.join(right)}")
    if empty := [name for name in ("rule", "rule_sha256", "comparison", "observations_sha256") if not given[name]]:
        told = "rule and rule_sha256" if empty[0].startswith("rule") else empty[0]
        raise EvidenceError(f"{where}: {told} must not be empty")
    if odd := next((given[name] for name in ("n", "p", "share") if not set(given[name]) <= _OF_NUMBERS), None):
        named = "n and p, and share where there is one,"
        raise EvidenceError(f"{where}: {named} must be numbers, written in plain digits, not {odd[:40]!r}")
    try:
        # A trial that the gate objects to has no p, and its verdict is inconclusive; nor has an override without which
        # nothing could be trained.
        unknown = not given["p"] and given["verdict"] in ("inconclusive", KEPT)
        n, p = int(given["n"]), math.nan if unknown else float(given["p"])
        share = float(given["share"]) if given["share"] else None
    except ValueError as error:
        told = f"{given['n'][:40]!r} and {given['p'][:40]!r}"
        raise EvidenceError(f"{where}: n and p must be numbers, not {told}") from error
    if n < 2 or not (unknown or 0 <= p <= 1):
        raise EvidenceError(f"{where}: n={n} must be at least 2 and p={p} lie between 0 and 1")
    return Trial(**{**given, "n": n, "p": p, "share": share})  # type: ignore[arg-type]
