"""Files of trials: damaged ones, and several processes that add to one at once."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from flowgrad.evidence.ledger import COLUMNS, SHIPPED, Ledger, Trial
from pipelines.benchmarks.robustness.attack import Attack, Fault, Place
from pipelines.benchmarks.robustness.damage import bytes_damaged, lines_damaged
from pipelines.benchmarks.robustness.kinds.reports import judge

_TEXTS = ("", "nan", "inf", "-1", "9" * 30, "1e400", "x" * 5000, "\0", "=1+1", '"', "confirmed", "٣", "1_0")


def draw(rng: np.random.Generator, base: Path) -> Attack:
    """A field, a line or bytes of the shipped ledger damaged; or several writers, some of them killed."""
    way = int(rng.integers(8))
    if way < 2:
        return _together(rng)
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()[:40]
    text = "\n".join(lines) + "\n"
    if way < 5:
        at, column = int(rng.integers(1, len(lines))), int(rng.integers(len(COLUMNS)))
        put = _TEXTS[int(rng.integers(len(_TEXTS)))]
        fields = lines[at].split(",")
        fields[column] = put
        lines[at] = ",".join(fields)
        return _read(f"ledger: {COLUMNS[column]}={put[:20]!r} in line {at + 1}", ("\n".join(lines) + "\n").encode())
    if way == 5:
        made, tried = lines_damaged(text, rng)
        return _read(f"ledger: {tried}", made.encode())
    data, tried = bytes_damaged(text.encode(), rng)
    return _read(f"ledger: {tried}", data)


def _read(tried: str, data: bytes) -> Attack:
    def perform(place: Place) -> None:
        file = place.given / "trials.csv"
        file.write_bytes(data)
        judge(place, ["evidence", "show", str(file)], must=False)

    return Attack(tried, perform)


def _together(rng: np.random.Generator) -> Attack:
    """Each adds its trials one after the other; a killed one loses none that it had added, and none of the others."""
    writers, each = int(rng.integers(2, 7)), int(rng.integers(3, 12))
    killed = float(rng.uniform(0, 0.2)) if rng.random() < 0.5 else None
    told = f"ledger: {writers} processes add {each} trials each"
    if killed is not None:
        told += f", the first killed after {killed:.3f} s"

    def perform(place: Place) -> None:
        file = place.given / "trials.csv"
        pids = []
        for writer in range(writers):
            pid = os.fork()
            if not pid:
                _add(file, writer, each)
            pids.append(pid)
        if killed is not None:
            time.sleep(killed)
            os.kill(pids[0], signal.SIGKILL)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        if any(code not in ((0, -signal.SIGKILL) if place_ == 0 else (0,)) for place_, code in enumerate(codes)):
            raise Fault("traceback", f"the processes ended with {codes}")
        held = {trial.rule for trial in Ledger.load(file).trials} if file.exists() else set()
        first = 0 if codes[0] == 0 else 1
        lost = {f"w{writer}_{n}" for writer in range(first, writers) for n in range(each)} - held
        if lost:
            raise Fault("loss", f"{len(lost)} of {writers * each} trials are lost")
        if left := [path.name for path in place.given.iterdir() if path != file and not path.name.startswith(".")]:
            raise Fault("stray_file", f"left {left}")

    return Attack(told, perform)


def _add(file: Path, writer: int, each: int) -> None:
    code = 1
    try:
        trial = Trial("r", "0" * 16, "e", "c_vs_d", "mse", 6, 0.01, "confirmed", "1" * 64)
        for number in range(each):
            Ledger.extend(file, [replace(trial, rule=f"w{writer}_{number}")])
        code = 0
    finally:
        os._exit(code)
