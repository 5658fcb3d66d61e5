"""Folders of a reproduction that were edited, cut or swapped between two calls: a run is done anew, or is as it was."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra.core.global_hydra import GlobalHydra

from pipelines.benchmarks.claims import reproduction, runs
from pipelines.benchmarks.robustness.attack import Attack, Fault, Place, Refused
from pipelines.benchmarks.robustness.base import KILLED
from pipelines.benchmarks.robustness.damage_files import damage_bytes, damage_json, damage_lines, replace_path
from pipelines.benchmarks.robustness.kinds.reports import printed
from pipelines.config.code_fingerprint import source_sha256
from pipelines.sweeps.finished import hashes, seal

_RUN = "run"
_READ = "pipelines.benchmarks.claims.readings.difference, comparison: treated_vs_baseline, metric: mse"
_SHOWN = ("claim", "verdict", "test", "n", "effect", "ci_low", "ci_high", "p", "p_adjusted", "seconds", "command")
_PLACES: dict[str, Callable[[Path], Any]] = {
    "gone": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "empty": lambda path: path.write_bytes(b""),
    "/dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path),
}
_TABLES = ("observations.csv", "significance.csv", "report.xml", "config.yaml", "prescription.yaml")


class _AgainError(Exception):
    """The run would be done anew."""


def draw(rng: np.random.Generator, base: Path) -> Attack:
    """The run's record, a file of it, or the whole folder; with hashes made anew, or not."""
    way, hashed, seed = int(rng.integers(8)), bool(rng.random() < 0.5), int(rng.integers(2**31))
    name, kind = _TABLES[int(rng.integers(len(_TABLES)))], list(_PLACES)[int(rng.integers(len(_PLACES)))]
    if way == 0:
        return _attack(f"record, value {seed}", base, lambda top: _record_value(top, seed))
    if way == 1:
        return _attack(f"record, bytes {seed}", base, lambda top: damage_bytes(top / f"{_RUN}.json", seed))
    if way == 2:
        file = (f"{_RUN}.json", f"{_RUN}.log", "claims.csv", "claims.xml", _RUN)[seed % 5]
        return _attack(f"{file} is {kind}", base, lambda top: replace_path(top / file, _PLACES[kind]))
    if way == 3:
        return _attack(f"{name} is {kind}", base, lambda top: replace_path(top / _RUN / name, _PLACES[kind]), hashed)
    if way == 4:
        other = _TABLES[seed % len(_TABLES)]
        return _attack(f"{name} is {other}", base, lambda top: _swapped(top / _RUN, name, other), hashed)
    if way == 5:
        return _attack(f"{name}, lines {seed}", base, lambda top: damage_lines(top / _RUN / name, seed), hashed)
    if way == 6:
        return _attack(f"{name}, bytes {seed}", base, lambda top: damage_bytes(top / _RUN / name, seed), hashed)
    table = ("observations.csv", "significance.csv")[seed % 2]
    return _attack(f"{table}, figure {seed}", base, lambda top: _figure(top / _RUN / table, seed), hashed)


def _attack(tried: str, base: Path, change: Callable[[Path], Any], hashed: bool = False) -> Attack:
    def perform(place: Place) -> None:
        top = place.given / "claims"
        shutil.copytree(base / "killed", top / _RUN)
        _write_record(top)
        wanted = _reproduced(place, top)
        change(top)
        if hashed:
            _write_record(top)
        try:
            found = _reproduced(place, top)
        except _AgainError:
            raise Refused("it is done anew") from None
        if found != wanted:
            raise Fault("accepted", f"other claims: {found.splitlines()[-1][:200]}")

    return Attack(f"reproduction: {tried}{', hashed again' if hashed else ''}", perform)


def _reproduced(place: Place, top: Path) -> str:
    """The claims of the folder, computed in this process.

    Raises:
        _AgainError: the run is to be done anew.
        Refused: the command refused.
    """
    listed = ",".join(f"'{override}'" for override in KILLED)
    claim = f"{{statement: s,runs: [{_RUN}],read: {{_target_: {_READ}}}}}"
    GlobalHydra.instance().clear()
    runs_of: Any = reproduction
    runs_of.perform = _again
    code = reproduction.main(
        [f"folder={top}", f"+claims.runs.{_RUN}=[{listed}]", f"+claims.claims.lower={claim}", "only=[lower]"]
    )
    text = printed(place)
    if "Traceback" in text:
        raise Fault("traceback", text[-400:])
    if code == 2:
        errors = [line for line in text.splitlines() if line.startswith("error: ")]
        if len(errors) != 1:
            raise Fault("traceback", f"exit code 2, {len(errors)} lines that begin with error: {text[-300:]}")
        raise Refused(errors[0])
    table = pd.read_csv(top / "claims.csv", dtype=str)
    if code:
        raise Refused(str(table["reason"].iloc[0]))
    return table[list(_SHOWN)].to_csv(index=False)


def _again(*given: Any) -> Any:
    raise _AgainError


def _write_record(top: Path) -> None:
    """A folder as a run leaves it."""
    told = {
        "command": runs.command(KILLED),
        "source": source_sha256(),
        "seconds": 1.0,
        "files": hashes(top / _RUN),
    }
    (top / f"{_RUN}.json").write_text(json.dumps({**told, "sha256": seal(told)}))


def _record_value(top: Path, seed: int) -> None:
    damage_json(top / f"{_RUN}.json", seed)


def _swapped(folder: Path, name: str, other: str) -> None:
    one, two = (folder / name).read_bytes(), (folder / other).read_bytes()
    (folder / name).write_bytes(two)
    (folder / other).write_bytes(one)


def _figure(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = pd.read_csv(path)
    columns = table.select_dtypes("number").columns
    column, at = columns[int(rng.integers(len(columns)))], int(rng.integers(len(table)))
    values = table[column].to_numpy(dtype=float, copy=True)
    values[at] = values[at] * float(rng.choice([0.5, 0.99, -1, 1.01, np.inf, np.nan])) + 1e-3
    table[column] = values
    table.to_csv(path, index=False)
