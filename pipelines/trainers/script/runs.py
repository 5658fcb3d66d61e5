"""Makes the runs of a script, each in a folder of its own, and keeps those that gave a result."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flowgrad.errors import FlowGradError
from flowgrad.files import locked, write_atomically
from pipelines.trainers.script.process import run
from pipelines.trainers.script.reading import MLFLOW, OUTPUT, MetricPlace, NoMetricError

_logger = logging.getLogger(__name__)
RESULT = "result.json"
"""File of a finished run; without it a run is made again."""


@dataclass(frozen=True)
class ScriptRun:
    """Result of a script on one seed."""

    folder: Path
    metrics: Mapping[str, float]
    """Value of each metric; empty where the run failed."""
    failure: str
    """The reason why there is no result; empty where there is one."""
    seconds: float


@dataclass(frozen=True)
class Plan:
    """The process that is run for one arm and seed, and its folder."""

    words: tuple[str, ...]
    """Words of the command, with `{folder}` where the run's folder belongs."""
    cwd: str
    environment: Mapping[str, str]
    identity: str
    """Hash of the files that the script rests on."""
    copies: Mapping[str, str]
    """Text of each file that stands in the folder before the run, by name."""
    timeout: float
    retries: int

    @property
    def key(self) -> str:
        """Name of the run's folder: runs of one name are one run."""
        said = [self.words, self.cwd, sorted(self.environment.items()), self.identity, sorted(self.copies.items()),
                sys.version]  # fmt: skip
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def made(plan: Plan, runs: Path, metrics: Sequence[MetricPlace], needed: str = "") -> ScriptRun:
    """Make a run, or give what it gave before. A run that fails is tried again, and keeps its folder.

    Args:
        plan: what is run.
        runs: folder of all runs.
        metrics: what is read when it ended well.
        needed: file that it must write, besides.

    Raises:
        FlowGradError: there is no such program, or no such folder.
    """
    folder = (runs / plan.key).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, wait=True):
        known = _known(folder, metrics)
        if known is not None and (not needed or (folder / needed).is_file()):
            return known
        failure, began = "", time.perf_counter()
        for attempt in range(plan.retries + 1):
            if attempt:
                _logger.warning("%s: tried again: %s", folder.name, failure)
            failure = _attempt(plan, folder)
            if not failure:
                seconds = time.perf_counter() - began
                try:
                    found = {one.name: one.read(folder) for one in metrics}
                    if needed and not (folder / needed).is_file():
                        raise NoMetricError(f"it wrote no {needed} into {{folder}}")
                except NoMetricError as error:
                    failure = str(error)
                    continue
                _keep(folder, found, seconds)
                return ScriptRun(folder, found, "", seconds)
        return ScriptRun(folder, {}, failure, time.perf_counter() - began)


def _attempt(plan: Plan, folder: Path) -> str:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    for name, content in plan.copies.items():
        write_atomically(folder / name, content.encode())
    words = [word.replace("{folder}", str(folder)) for word in plan.words]
    cwd = Path(plan.cwd.replace("{folder}", str(folder)))
    if not cwd.is_dir():
        raise FlowGradError(f"training.cwd={plan.cwd}: there is no such folder")
    own = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / MLFLOW}", "PYTHONUNBUFFERED": "1"}
    return run(words, cwd, {**plan.environment, **own}, folder / OUTPUT, plan.timeout)


def _keep(folder: Path, found: Mapping[str, float], seconds: float) -> None:
    told = {"metrics": {name: repr(value) for name, value in found.items()}, "seconds": seconds}
    write_atomically(folder / RESULT, json.dumps(told, indent=2).encode())


def _known(folder: Path, metrics: Sequence[MetricPlace]) -> ScriptRun | None:
    """A finished run, its metrics read anew from what it left."""
    try:
        seconds = float(json.loads((folder / RESULT).read_text("utf-8"))["seconds"])
        return ScriptRun(folder, {one.name: one.read(folder) for one in metrics}, "", seconds)
    except (OSError, ValueError, KeyError, TypeError, NoMetricError):
        return None
