"""The runs that claims rest on: each once, and none again that was finished before."""

from __future__ import annotations

import json
import logging
import math
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from flowgrad import exits
from flowgrad.errors import FlowGradError
from flowgrad.files import locked, without_waiting, write_atomically
from pipelines.benchmarks.claims.verification import contradiction
from pipelines.config.code_fingerprint import ROOT, source_sha256
from pipelines.output import interrupts
from pipelines.output.run_folder import in_use
from pipelines.sweeps.finished import damage, hashes, read_json, seal

_logger = logging.getLogger(__name__)
_EVERY = 0.5
"""Seconds between two looks for an interrupt."""


@dataclass(frozen=True)
class FinishedRun:
    """A run that came to its end, well or not."""

    folder: Path
    command: str
    seconds: float
    reason: str
    """Why it failed; empty otherwise."""


def command(overrides: Sequence[str]) -> str:
    """Write the command that a person types to do the same."""
    return " ".join(["python -m pipelines.run", *map(shlex.quote, overrides)])


def done(folder: Path, run: str, overrides: Sequence[str]) -> FinishedRun | None:
    """The run, where it was finished before with these overrides and this source code, and verifies: every file that it
    left is there as it was, and its tables and reports follow from its observations.
    """
    told = read_json(folder / f"{run}.json")
    if not isinstance(told, dict) or (told.get("command"), told.get("source")) != (command(overrides), source_sha256()):
        return None
    seconds = told.get("seconds")
    known = isinstance(seconds, int | float) and math.isfinite(seconds) and seconds >= 0
    reason = "" if known and told.get("sha256") == seal(told) else f"{run}.json is not as it was left"
    if reason := reason or damage(folder / run, told.get("files")) or contradiction(folder / run):
        _logger.warning("%s is done anew: %s", run, reason)
        return None
    return FinishedRun(folder / run, command(overrides), float(seconds or 0), "")


def perform(folder: Path, run: str, overrides: Sequence[str], lock: int, workers: int | None = None) -> FinishedRun:
    """Run it in a process of its own, into `folder/run`; what it prints goes to `folder/run.log`.

    Args:
        folder: where all runs stand.
        run: its name.
        overrides: of `python -m pipelines.run`.
        lock: descriptor that the process holds as long as it lives.
        workers: processes that it may start, which change no result; None: as its config says.
    """
    began = time.monotonic()
    (folder / f"{run}.json").unlink(missing_ok=True)
    given = [] if workers is None else [f"workers={workers}"]
    words = [sys.executable, "-m", "pipelines.run", *given, *overrides, f"hydra.run.dir={folder / run}"]
    with open(folder / f"{run}.log", "wb", opener=without_waiting) as log, interrupts.lifeline() as (line, added):
        code = _exit_code(words, log, (lock, line), {**os.environ, **added})
    seconds = time.monotonic() - began
    if code:
        return FinishedRun(
            folder / run, command(overrides), seconds, f"exit code {code}: {_last_line(folder / f'{run}.log')}"
        )
    told = {
        "command": command(overrides),
        "source": source_sha256(),
        "seconds": round(seconds, 1),
        "files": hashes(folder / run),
    }
    write_atomically(folder / f"{run}.json", json.dumps({**told, "sha256": seal(told)}, indent=1).encode())
    return FinishedRun(folder / run, command(overrides), seconds, "")


_live: set[subprocess.Popen[bytes]] = set()
"""Processes of runs; an error ends them."""


def _exit_code(words: Sequence[str], log: IO[bytes], kept: tuple[int, ...], environment: Mapping[str, str]) -> int:
    process = subprocess.Popen(
        words, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, pass_fds=kept, env=dict(environment)
    )
    _live.add(process)
    try:
        return process.wait()
    finally:
        process.kill()
        process.wait()
        _live.discard(process)


def several(finish: Callable[[str], FinishedRun], runs: Sequence[str], at_once: int) -> list[FinishedRun]:
    """Call `finish` for each run, so many at a time; an interrupt, or an error, ends all of them."""
    if at_once == 1 or len(runs) < 2:
        return [finish(run) for run in runs]
    pool = ThreadPoolExecutor(at_once)
    try:
        made = [pool.submit(finish, run) for run in runs]
        while wait(made, timeout=_EVERY, return_when=FIRST_EXCEPTION).not_done:
            exits.raise_again()
            for one in made:
                if one.done():
                    one.result()
        return [one.result() for one in made]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list(_live):
            process.kill()


@contextmanager
def writing(folder: Path) -> Iterator[int]:
    """Nobody else writes into the folder meanwhile. Gives the lock's descriptor.

    Raises:
        FlowGradError: somebody does: another reproduction, or a run that outlived one that was killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder) as lock:
        if lock is None:
            raise FlowGradError(in_use(folder))
        yield lock


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"
