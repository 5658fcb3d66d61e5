"""The ledger of validated fixes: one line a trial, from which the confidence of every rule follows.

The shipped ledger, `flowgrad/conf/evidence.csv`, holds this project's own trials (docs/evidence.md); users add theirs
in a file of their own. A trial counts for the rule that it tried: for one with the same condition and fix
(`Rule.sha256`). A rule whose threshold or fix was changed starts from the prior again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from functools import cached_property
from pathlib import Path

import pandas as pd

from flowgrad.bounded_csv import read_csv
from flowgrad.errors import EvidenceError
from flowgrad.evidence import Confidence, posterior
from flowgrad.files import write_atomically

MOST_BYTES = 16 << 20
"""Of a file of trials: some 50,000 of them."""
SHIPPED = Path(__file__).parent / "conf" / "evidence.csv"
VERDICTS = ("confirmed", "refuted", "inconclusive")


@dataclass(frozen=True)
class Trial:
    """One validated prescription, as far as one of its rules goes. A column of the file each."""

    rule: str
    """Id."""
    rule_sha256: str
    """`Rule.sha256` at the time."""
    experiment: str
    """What was trained."""
    comparison: str
    metric: str
    n: int
    """Pairs."""
    p: float
    """Adjusted."""
    verdict: str
    """One of `VERDICTS`."""
    observations_sha256: str
    """Of the file that the test was computed from."""

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it from other trials: the same run counts once."""
        return (self.rule, self.rule_sha256, self.experiment, self.comparison, self.metric, self.observations_sha256)


COLUMNS = tuple(field.name for field in fields(Trial))


@dataclass(frozen=True)
class Ledger:
    """Trials, each once, in the order they came."""

    trials: tuple[Trial, ...] = ()

    @classmethod
    def load(cls, *paths: str | Path) -> Ledger:
        """The trials of these files together; without paths, the shipped ones.

        Raises:
            EvidenceError: as `FILE:LINE: ...`, a file that cannot be read or a line that is no trial.
        """
        return cls(()).plus(trial for path in (paths or (SHIPPED,)) for trial in _read(Path(path)))

    def plus(self, trials: Iterable[Trial]) -> Ledger:
        """With further trials; those that it holds already are passed over."""
        held = {trial.key: trial for trial in self.trials}
        for trial in trials:
            held.setdefault(trial.key, trial)
        return Ledger(tuple(held.values()))

    def confidence(self, rule: str, sha256: str) -> Confidence:
        """What the trials of this very rule say of its fix; the prior where there are none."""
        verdicts = self._verdicts.get((rule, sha256), [])
        return posterior(verdicts.count("confirmed"), len(verdicts), verdicts.count("refuted"))

    @cached_property
    def _verdicts(self) -> dict[tuple[str, str], list[str]]:
        found: dict[tuple[str, str], list[str]] = {}
        for trial in self.trials:
            found.setdefault((trial.rule, trial.rule_sha256), []).append(trial.verdict)
        return found

    def table(self) -> pd.DataFrame:
        """One line a trial, columns `COLUMNS`."""
        return pd.DataFrame([astuple(trial) for trial in self.trials], columns=list(COLUMNS))

    def write(self, path: str | Path) -> None:
        """As a file that `load` reads, whole or not at all."""
        write_atomically(path, self.table().to_csv(index=False, lineterminator="\n").encode())


def _read(path: Path) -> list[Trial]:
    try:
        table = read_csv(path, MOST_BYTES, dtype=str, keep_default_na=False)
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise EvidenceError(f"{path}: cannot be read: it is no UTF-8 text") from error
    except ValueError as error:
        raise EvidenceError(f"{path}:1: no evidence: {' '.join(str(error).split())}") from error
    if tuple(table.columns) != COLUMNS:
        raise EvidenceError(f"{path}:1: the columns are {', '.join(table.columns)}; they must be {', '.join(COLUMNS)}")
    return [_trial(f"{path}:{number}", values) for number, values in enumerate(table.itertuples(index=False), start=2)]


def _trial(where: str, values: Iterable[str]) -> Trial:
    given = dict(zip(COLUMNS, values, strict=True))
    if given["verdict"] not in VERDICTS:
        raise EvidenceError(f"{where}: verdict is {given['verdict']!r}; it must be {', '.join(VERDICTS)}")
    if not given["rule"] or not given["rule_sha256"]:
        raise EvidenceError(f"{where}: rule and rule_sha256 must not be empty")
    try:
        n, p = int(given["n"]), float(given["p"])
    except ValueError as error:
        raise EvidenceError(f"{where}: n and p must be numbers, not {given['n']!r} and {given['p']!r}") from error
    if n < 2 or not 0 <= p <= 1:
        raise EvidenceError(f"{where}: n={n} must be at least 2 and p={p} lie between 0 and 1")
    return Trial(**{**given, "n": n, "p": p})  # type: ignore[arg-type]
