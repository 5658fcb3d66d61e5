"""Trials of a benchmark that are added to a ledger: none enters that does not follow from its observations."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flowgrad.evidence.ledger import BENCHMARK, COLUMNS, Ledger, Trial
from flowgrad.rules import RuleBook
from flowgrad.statistics import OBSERVATION_COLUMNS, arms_test
from flowgrad.verification.recomputation import OBSERVATIONS
from flowgrad.verification.trial_tables import FAULTED, PLAN, PLAN_COLUMNS, TREATED, TRIALS
from pipelines.benchmarks.robustness.attack import Attack, Fault, Place, Refused
from pipelines.benchmarks.robustness.damage import bytes_damaged, lines_damaged
from pipelines.benchmarks.robustness.kinds.reports import judge

_TEXTS = (
    "", " ", "nan", "inf", "-1", "0", "1", "9" * 30, "1e400", "x" * 9999, "\0", "=1+1", '"', "confirmed", "refuted",
    "inconclusive", "٣", "1_0", "0x1", "None", "True", "a\nb", "../x", "mae", "row_effects", "popularity_skew", "1e-9",
)  # fmt: skip
_LEVELS = ("alpha", "overlap")
"""Columns of a plan that can change without a change of any verdict."""
_PLACES: dict[str, Callable[[Path], Any]] = {
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "/dev/full": lambda path: path.symlink_to("/dev/full"),
    "/dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to nowhere": lambda path: path.symlink_to(path.with_name("nowhere") / "x"),
    "no ledger": lambda path: path.write_bytes(b"a,b\n1,2\n"),
    "a ledger that was cut": lambda path: path.write_bytes(",".join(COLUMNS).encode() + b"\na,b"),
    "not there": lambda path: _below(path),
}


def _below(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_bytes(b"x")


def draw(rng: np.random.Generator, base: Path) -> Attack:
    """A field, a line or bytes of the three tables changed; one that is gone or no file; a ledger that cannot be."""
    files = _files(int(rng.integers(2**31)))
    way = int(rng.integers(10))
    if way < 4:
        tried, changed = _field(files, TRIALS, COLUMNS, rng)
        return _attack(f"{TRIALS}: {tried}", files | changed, must=True)
    if way == 4:
        tried, changed = _field(files, PLAN, PLAN_COLUMNS, rng)
        return _attack(f"{PLAN}: {tried}", files | changed, must=not tried.startswith(_LEVELS))
    if way in (5, 6):
        tried, changed = _field(files, OBSERVATIONS, OBSERVATION_COLUMNS, rng)
        if way == 5:
            return _attack(f"{OBSERVATIONS}: {tried}", files | changed, must=True)
        old, new = (hashlib.sha256(held[OBSERVATIONS]).hexdigest().encode() for held in (files, files | changed))
        changed[TRIALS] = files[TRIALS].replace(old, new)
        return _attack(f"{OBSERVATIONS}: {tried}, hashed again", files | changed)
    name = (TRIALS, PLAN, OBSERVATIONS)[int(rng.integers(3))]
    if way == 7:
        made, tried = lines_damaged(files[name].decode(), rng)
        return _attack(f"{name}: {tried}", files | {name: made.encode()})
    if way == 8:
        data, tried = bytes_damaged(files[name], rng)
        return _attack(f"{name}: {tried}", files | {name: data})
    kind = list(_PLACES)[int(rng.integers(len(_PLACES)))]
    if rng.random() < 0.5:
        return _attack(f"the ledger is {kind}", files, into=_PLACES[kind], must=True)
    return _attack(f"{name} is {kind}", files, {name: _PLACES[kind]}, must=True)


def _field(
    files: dict[str, bytes], name: str, columns: Sequence[str], rng: np.random.Generator
) -> tuple[str, dict[str, bytes]]:
    """One field changed to something else."""
    lines = list(csv.reader(io.StringIO(files[name].decode())))
    at, column = int(rng.integers(1, len(lines))), int(rng.integers(len(columns)))
    was = lines[at][column]
    near = (was + "x", was[:-1], was.upper() + "_", f"x: {was}", was + " ", f"0{was}", lines[at - 1][column])
    pool = [one for one in (*_TEXTS, *near, *near) if not _same(one, was)]
    lines[at][column] = pool[int(rng.integers(len(pool)))]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    put = lines[at][column].encode("ascii", "backslashreplace").decode()[:40]
    return f"{columns[column]}={put!r} in line {at + 1}", {name: text.getvalue().encode()}


def _same(one: str, other: str) -> bool:
    """Whether both mean the same where they are read as tables: numbers, truths, and gaps of names."""
    try:
        return math.isclose(float(one), float(other), rel_tol=1e-8)  # a p is held to nine digits
    except ValueError:
        return one.split() == other.split() or one.lower() == other.lower()


def _attack(
    tried: str,
    files: dict[str, bytes],
    put: dict[str, Callable[[Path], Any]] | None = None,
    *,
    into: Callable[[Path], Any] | None = None,
    must: bool = False,
) -> Attack:
    def perform(place: Place) -> None:
        folder, ledger = place.given / "run", place.given / "ledger" / "mine.csv"
        for made in (folder, ledger.parent):
            made.mkdir()
        for name, data in files.items():
            if put is None or name not in put:
                (folder / name).write_bytes(data)
            elif put[name] is not _PLACES["not there"]:  # it is missing then
                put[name](folder / name)
        if into is not None:
            into(ledger)
        try:
            judge(place, ["evidence", "add", str(folder), "--into", str(ledger)], must=must)
        except Refused:
            if into is None and ledger.exists():
                raise Fault("accepted", "refused, and something was added") from None
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if not Ledger.load(ledger).trials:
            raise Fault("loss", "nothing was added, and nothing was said")

    return Attack(f"trials: {tried}", perform)


def _files(seed: int) -> dict[str, bytes]:
    """The folder of a benchmark: of a few faults, each treated by two rules."""
    rng, rules = np.random.default_rng(seed), ("row_effects", "popularity_skew")
    faults = [f"fault {place}, diagnosis seed {int(rng.integers(9))}" for place in range(int(rng.integers(2, 5)))]
    observed, told, seeds = [], [], range(101, 101 + int(rng.integers(3, 9)))
    for fault in faults:
        worse, gain = 2 + 0.1 * rng.normal(size=len(seeds)), float(rng.uniform(-0.1, 0.3))
        arms = {FAULTED: worse, TREATED: worse - gain + 0.1 * rng.normal(size=len(seeds))}
        observed += [
            (fault, arm, at, "mse", value, False) for arm in arms for at, value in zip(seeds, arms[arm], strict=True)
        ]
        found = arms_test(*(arms[arm].tolist() for arm in arms), metric="mse", higher_is_better=False, alpha=0.05)
        told.append((f"b: {fault}", BENCHMARK, "mse", found.n, found.p, found.verdict))
    observations = pd.DataFrame(observed, columns=list(OBSERVATION_COLUMNS)).to_csv(index=False).encode()
    sha256 = hashlib.sha256(observations).hexdigest()
    lines = [(fault, "mse", 0.05, float("nan"), " ".join(rules)) for fault in faults]
    ledger = Ledger(tuple(Trial(rule, _book()[rule].sha256, *line, sha256) for line in told for rule in rules))
    return {
        OBSERVATIONS: observations,
        PLAN: pd.DataFrame(lines, columns=list(PLAN_COLUMNS)).to_csv(index=False).encode(),
        TRIALS: ledger.table().to_csv(index=False).encode(),
    }


@cache
def _book() -> RuleBook:
    return RuleBook.load(ledger=Ledger())
