"""Runs that are interrupted, ended or killed at any time: nothing goes on, nothing is half-written, nothing is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.benchmarks.robustness.attack import Attack, Fault, Place
from pipelines.benchmarks.robustness.base import KILLED, environment, started
from pipelines.benchmarks.robustness.child import members
from pipelines.benchmarks.robustness.kinds.overrides import half_written
from pipelines.config.code_fingerprint import ROOT

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
_AFTERWARDS = 5.0
"""Seconds within which all processes must be gone."""
_LONGEST = 120.0
_RUN, _SWEEP, _HELP = 12.0, 20.0, 3.0
"""Seconds over which kills are spread: what these commands take, more or less."""
_COMMANDS = (
    ("-m", "flowgrad", "--help"), ("-m", "flowgrad", "evidence", "show"), ("-m", "pipelines.run", "--help"),
    ("-m", "pipelines.publish", "--help"), ("-m", "pipelines.reproduce", "--help"),
)  # fmt: skip


def draw(rng: np.random.Generator, base: Path) -> Attack:
    """A run, a sweep on several processes, or a short command, and a signal to it or to its whole group."""
    way = int(rng.integers(8))
    number = _SIGNALS[int(rng.integers(len(_SIGNALS)))]
    share = float(rng.uniform(0.02, 1))
    if way == 0:
        words = list(_COMMANDS[int(rng.integers(len(_COMMANDS)))])
        return _short(words, number, share * _HELP)
    # Ctrl-C reaches the whole group; kill(1) one process.
    group = number == signal.SIGINT or bool(rng.random() < 0.3)
    if way == 1:
        return _sweep(number, share * _SWEEP, group)
    return _run(number, share * _RUN, group, base / "killed" / "observations.csv")


def _short(words: list[str], number: signal.Signals, after: float) -> Attack:
    def perform(place: Place) -> None:
        code, said = _killed([sys.executable, *words], place, number, after, group=True)
        _check_end(code, said, number, after=after)

    return Attack(f"kill: {' '.join(words[1:])}, {number.name} after {after:.2f} s", perform)


def _run(number: signal.Signals, after: float, group: bool, wanted: Path) -> Attack:
    def perform(place: Place) -> None:
        words = started([*KILLED, "workers=2", f"hydra.run.dir={place.run}"])
        code, said = _killed(words, place, number, after, group=group)
        _check_end(code, said, number, after=after)
        _check_files(place.run)
        again, told = _ended(started([*KILLED, "workers=1", f"hydra.run.dir={place.run}"]), place)
        if again:
            raise Fault("loss", f"a rerun into the same folder ends with code {again}: {told[-300:]}")
        if (place.run / "observations.csv").read_bytes() != wanted.read_bytes():
            raise Fault("loss", "a rerun into the same folder gives other observations")
        _check_files(place.run)
        # One that is younger than a few seconds may be somebody's who is just writing it.
        left = [path for path in place.run.rglob(".*.part") if time.time() - path.stat().st_mtime > _AFTERWARDS]
        if left:
            raise Fault("stray_file", f"left {', '.join(path.name for path in left)}")

    whom = "the group" if group else "the parent"
    return Attack(f"kill: a run, {number.name} to {whom} after {after:.2f} s", perform)


def _sweep(number: signal.Signals, after: float, group: bool) -> Attack:
    def perform(place: Place) -> None:
        overrides = ["-m", "launch=joblib", *KILLED, "workers=1", "optimizer.lr=0.01,0.02"]
        words = started([*overrides, f"hydra.sweep.dir={place.run}"])
        code, said = _killed(words, place, number, after, group=group)
        _check_end(code, said, number, after=after)
        _check_files(place.run)

    whom = "the group" if group else "the parent"
    return Attack(f"kill: a sweep of two jobs, {number.name} to {whom} after {after:.2f} s", perform)


def _killed(words: list[str], place: Place, number: signal.Signals, after: float, *, group: bool) -> tuple[int, str]:
    """Exit code and standard error, once nothing of it goes on."""
    with (place.folder / "told").open("w+") as told:
        process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=told, start_new_session=True, cwd=ROOT, env=_environment(place)
        )
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(after)
            if process.poll() is None:
                (os.killpg if group else os.kill)(process.pid, number)
            sent = time.monotonic()
            try:
                code = process.wait(2 * _AFTERWARDS)
            except subprocess.TimeoutExpired:
                raise Fault("hang", f"it goes on {2 * _AFTERWARDS:g} s after {number.name}") from None
            while (left := members(process.pid)) and time.monotonic() - sent < _AFTERWARDS + 2 * _AFTERWARDS:
                time.sleep(0.05)
            if left:
                raise Fault("hang", f"{len(left)} process(es) left, {_AFTERWARDS:g} s and more after {number.name}")
        finally:
            for pid in members(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
        told.seek(0)
        return code, told.read()


def _ended(words: list[str], place: Place) -> tuple[int, str]:
    ended = subprocess.run(
        words, capture_output=True, text=True, cwd=ROOT, env=_environment(place), timeout=_LONGEST, check=False
    )
    return ended.returncode, ended.stderr


def _environment(place: Place) -> dict[str, str]:
    """Environment with a folder for temporary files that is not checked: a killed process leaves some."""
    temporary = place.folder / "of_killed"
    temporary.mkdir(exist_ok=True)
    return {**environment(), "TMPDIR": str(temporary)}


def _check_end(code: int, said: str, number: signal.Signals, *, after: float) -> None:
    wanted: tuple[Any, ...] = (0, -number)
    if number == signal.SIGINT:
        # Python itself dies of it, with a traceback, in the first moments of its life.
        wanted = (0, 130, -number) if after < _BIRTH else (0, 130)
    if code not in wanted:
        raise Fault("traceback", f"exit code {code} after {number.name}: {said[-400:]}")
    if "Traceback" in said and not (after < _BIRTH):
        raise Fault("traceback", said[-500:])
    if sum("interrupted" in line for line in said.splitlines()) > 1:
        raise Fault("traceback", f"said more than once: {said[-300:]}")


_BIRTH = 0.3
"""Seconds that the interpreter takes to get to our first line, on a busy machine."""


def _check_files(folder: Path) -> None:
    if folder.exists() and (broken := half_written(folder)):
        raise Fault("loss", f"half-written: {', '.join(broken)}")
