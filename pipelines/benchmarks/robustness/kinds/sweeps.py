"""Sweeps whose finished jobs were edited, cut or swapped: a job is done anew, or the table has it as it was."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from pipelines.benchmarks.robustness.attack import Attack, Fault, Place, Refused
from pipelines.benchmarks.robustness.damage_files import damage_bytes, damage_json, damage_lines, replace_path
from pipelines.sweeps.job_record import FILE, JOBS, is_done, read_record, write_record
from pipelines.sweeps.table import collect

_RATES = {"a": 0.01, "b": 0.02, "c": 0.04}
_PLACES: dict[str, Callable[[Path], Any]] = {
    "gone": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "empty": lambda path: path.write_bytes(b""),
    "/dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path),
    "brackets": lambda path: path.write_bytes(b"[" * 100_000),
}


def draw(rng: np.random.Generator, base: Path) -> Attack:
    """The mark of a job, a file of it, its folder, or the list of the jobs."""
    way, seed = int(rng.integers(8)), int(rng.integers(2**31))
    job = list(_RATES)[int(rng.integers(len(_RATES)))]
    kind = list(_PLACES)[int(rng.integers(len(_PLACES)))]
    if way < 2:
        return _attack(f"mark of {job}, value {seed}", base, lambda top: damage_json(top / job / FILE, seed))
    if way == 2:
        return _attack(f"mark of {job}, bytes {seed}", base, lambda top: damage_bytes(top / job / FILE, seed))
    if way == 3:
        return _attack(f"list of jobs, value {seed}", base, lambda top: damage_json(top / JOBS, seed))
    if way == 4:
        name = (FILE, f"../{JOBS}", "significance.csv", "prescription.yaml", "observations.csv", ".")[seed % 6]
        return _attack(f"{name} of {job} is {kind}", base, lambda top: replace_path(top / job / name, _PLACES[kind]))
    if way == 5:
        other = list(_RATES)[seed % len(_RATES)]
        return _attack(f"{job} is a copy of {other}", base, lambda top: _copied(top / other, top / job))
    name = ("significance.csv", "prescription.yaml", "observations.csv", "report.xml")[seed % 4]
    change = damage_bytes if way == 6 else damage_lines
    return _attack(f"{name} of {job}, {change.__name__} {seed}", base, lambda top: change(top / job / name, seed))


def _attack(tried: str, base: Path, change: Callable[[Path], Any]) -> Attack:
    def perform(place: Place) -> None:
        top = place.given / "sweep"
        for job in _RATES:
            shutil.copytree(base / "killed", top / job)
            write_record(top / job, _config(job), [f"optimizer.lr={_RATES[job]}", "x=1"])
        (top / JOBS).write_text(json.dumps(list(_RATES)))
        kept = {
            job: {path.name: path.read_bytes() for path in (top / job).iterdir() if path.is_file()} for job in _RATES
        }
        wanted = _lines_of(top)
        change(top)
        collect(top, 0.05)
        for job in _RATES:
            read_record(top / job)
        done = [job for job in _RATES if is_done(top / job, _config(job))]
        replace_path(top / JOBS, lambda path: path.write_text(json.dumps(list(_RATES))))  # as a sweep that goes on does
        found = _lines_of(top)
        for job in done:
            now = {name: (top / job / name).read_bytes() for name in kept[job] if name != FILE}
            if now != {name: data for name, data in kept[job].items() if name != FILE}:
                raise Fault("accepted", f"{job} counts as done, and a file of it was changed")
            if found.get(job) != wanted[job]:
                raise Fault("accepted", f"{job} counts as done, and its line is another: {found.get(job)}")
        if len(done) < len(_RATES):
            raise Refused(f"only {', '.join(done) or 'none'} of the jobs is done")

    return Attack(f"sweep: {tried}", perform)


def _lines_of(top: Path) -> dict[str, str]:
    """The lines by job, without what is adjusted over all jobs or depends on what else there is."""
    table = collect(top, 0.05).drop(columns=["p_sweep", "verdict", "overrides"]).astype({"n": float})
    return {str(job): part.to_csv(index=False) for job, part in table.groupby("job")}


def _config(job: str) -> DictConfig:
    return OmegaConf.create({"name": "x", "optimizer": {"lr": _RATES[job]}})


def _copied(one: Path, other: Path) -> None:
    if one != other:
        shutil.rmtree(other)
        shutil.copytree(one, other)
