"""Disks that are full, and files that cannot be written: what was there stays whole, and it is said."""

from __future__ import annotations

import os
import resource
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from hydra.core.global_hydra import GlobalHydra
from torch import nn

from flowgrad.compression import Recipe, read_packed, write_packed
from flowgrad.errors import FlowGradError
from flowgrad.evidence.ledger import Ledger, Trial
from flowgrad.files import write_atomically
from pipelines import run as application
from pipelines.benchmarks.robustness.attack import Attack, Fault, Place, Refused
from pipelines.benchmarks.robustness.base import KILLED
from pipelines.benchmarks.robustness.kinds.overrides import half_written
from pipelines.benchmarks.robustness.kinds.reports import printed
from pipelines.output.tables import write_table

_TRIAL = Trial("r", "0" * 16, "e", "c_vs_d", "mse", 6, 0.01, "confirmed", "1" * 64)
_LEAST_LINE = 1000
"""Bytes that a file may always have: the attack's own standard error is one."""
_ROOM = (0, 1, 10, 100, 400, 1000, 3000, 10_000, 30_000, 60_000, 100_000)
"""Bytes that a file of a library call may have."""


def draw(rng: np.random.Generator, base: Path) -> Attack:
    """A library call, a command or a run that writes files of at most so many bytes, or whose folder goes meanwhile."""
    way = int(rng.integers(10))
    if way == 0:
        return _run_of(int(rng.integers(_LEAST_LINE, 300_000)), base)
    if way == 1:
        return _run_deleted(float(rng.uniform(0.2, 4)))
    if way == 2:
        return _run_in_the_way(rng)
    name = list(_WRITERS)[int(rng.integers(len(_WRITERS)))]
    return _call(name, _ROOM[int(rng.integers(len(_ROOM)))], old=bool(rng.random() < 0.7))


@contextmanager
def _room(most: int) -> Iterator[None]:
    """Files hold at most so many bytes meanwhile, as on a disk that is full; Python ignores the signal for it."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def _table(file: Path) -> None:
    write_table(pd.DataFrame({"p": np.arange(300) / 7, "name": "x"}), file.parent, file.name)


def _packed(file: Path) -> None:
    torch.manual_seed(0)
    write_packed(nn.Linear(40, 30), file)


def _added(file: Path) -> None:
    Ledger.extend(file, [replace(_TRIAL, rule=f"new{place}") for place in range(30)])


_WRITERS: dict[str, Callable[[Path], Any]] = {
    "bytes": lambda file: write_atomically(file, bytes(20_000)),
    "a recipe": lambda file: Recipe().write(file),
    "a packed model": _packed,
    "tables": _table,
    "a ledger": _added,
}


def _call(name: str, most: int, *, old: bool) -> Attack:
    def perform(place: Place) -> None:
        file = place.given / "file"
        if old:
            _WRITERS[name](file)
            if name == "a ledger":
                Ledger((_TRIAL,)).write(file)
        before = {path.name: path.read_bytes() for path in place.given.iterdir()}
        try:
            with _room(most):
                _WRITERS[name](file)
        except (OSError, FlowGradError) as error:
            _check_left(place, name, before, file)
            raise Refused(str(error)) from None
        if name == "a packed model":
            read_packed(nn.Linear(40, 30), file)
        if name == "a ledger" and len(Ledger.load(file).trials) != 30 + old:
            raise Fault("loss", "trials are lost, and nothing was said")

    return Attack(f"disk: {name}{' over an old one' if old else ''}, files of {most} bytes", perform)


def _check_left(place: Place, name: str, before: dict[str, bytes], file: Path) -> None:
    now = {path.name: path.read_bytes() for path in place.given.iterdir()}
    if strays := [left for left in now if left.startswith(".")]:
        raise Fault("stray_file", f"left {strays}")
    if lost := set(before) - set(now):
        raise Fault("loss", f"{lost} gone")
    changed = [left for left in now if now[left] != before.get(left)]
    if changed and name != "tables":
        raise Fault("loss", f"refused, and {changed} changed")
    if any(not now[left].rstrip().endswith((b"x", b"|", b"}")) for left in changed):
        raise Fault("loss", f"half-written: {changed}")


def _run_of(most: int, base: Path) -> Attack:
    def perform(place: Place) -> None:
        with _room(most):
            code = _ran(place)
        _judge_run(place, code)
        _check_whole(place, base)

    return Attack(f"disk: a run, files of {most} bytes", perform)


def _run_deleted(after: float) -> Attack:
    def perform(place: Place) -> None:
        timer = threading.Timer(after, lambda: shutil.rmtree(place.run, ignore_errors=True))
        timer.daemon = True
        timer.start()
        _judge_run(place, _ran(place))

    return Attack(f"disk: a run whose folder is deleted after {after:.2f} s", perform)


_NAMES = ("run.log", "observations.csv", "config.yaml", "report.xml", "significance.csv", "prescription.yaml", ".hydra",
          ".hydra/config.yaml", ".hydra/overrides.yaml", "learning_curves.png", "rows_item_emb.csv")  # fmt: skip
_INSTEAD: dict[str, Callable[[Path], Any]] = {
    "a pipe": lambda path: os.mkfifo(path),
    "a folder": lambda path: (path / "sub").mkdir(parents=True),
    "a link to itself": lambda path: path.symlink_to(path),
    "/dev/full": lambda path: path.symlink_to("/dev/full"),
    "a link to nowhere": lambda path: path.symlink_to("/nonexistent/x"),
}


def _run_in_the_way(rng: np.random.Generator) -> Attack:
    name, kind = _NAMES[int(rng.integers(len(_NAMES)))], list(_INSTEAD)[int(rng.integers(len(_INSTEAD)))]

    def perform(place: Place) -> None:
        path = place.run / name
        path.parent.mkdir(parents=True)
        _INSTEAD[kind](path)
        code = _ran(place)
        _judge_run(place, code)
        if not (place.run / "report.xml").is_file():
            raise Fault("loss", "it ended well, and there is no report")

    return Attack(f"disk: {kind} in the place of {name} of a run", perform)


def _ran(place: Place) -> int:
    GlobalHydra.instance().clear()
    return application.main([*KILLED, "workers=1", f"hydra.run.dir={place.run}"])


def _judge_run(place: Place, code: int) -> None:
    """Nothing, where it ended well.

    Raises:
        Refused: it refused in one line.
        Fault: it did not, or left half of a file.
    """
    text = printed(place)
    if "Traceback" in text:
        raise Fault("traceback", text[text.index("Traceback") :][-600:])
    if place.run.is_dir() and (broken := half_written(place.run)):
        raise Fault("loss", f"half-written: {', '.join(broken)}")
    left = [path.name for path in place.run.rglob(".*.part")] if place.run.is_dir() else []
    if left:
        raise Fault("stray_file", f"left {left}")
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    if code == 2 and len(errors) == 1:
        raise Refused(errors[0])
    if code:
        raise Fault("traceback", f"exit code {code}, {len(errors)} lines that begin with error: {text[-300:]}")


def _check_whole(place: Place, base: Path) -> None:
    wanted = base / "killed" / "observations.csv"
    if wanted.exists() and (place.run / "observations.csv").read_bytes() != wanted.read_bytes():
        raise Fault("loss", "other observations")
