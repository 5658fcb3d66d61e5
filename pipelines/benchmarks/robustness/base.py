"""Runs that attacks start from: one whose report is forged, one that is killed over and over."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from flowgrad.errors import FlowGradError
from pipelines.config.code_fingerprint import ROOT

_SMALL = (
    "dataset=synthetic", "dataset.n_users=100", "dataset.n_items=60", "dataset.n_ratings=2500", "seeds.test=[1,2,3]",
    "tuned=null",
)  # fmt: skip
REPORTED = (
    "experiment=movielens_mf", *_SMALL, "rounds=1", "training.epochs=4", "training.early_stopping=true",
    "training.batch_size=512",
)  # fmt: skip
"""Finds something, changes it and proves it: its report holds validations."""
KILLED = (
    "experiment=movielens_mf", *_SMALL, 'trial=["model.dim=8","optimizer.lr=0.02"]', "training.epochs=2",
)  # fmt: skip
"""Trains three arms of three seeds; on how many processes changes no result."""
_LONGEST = 300.0
"""Seconds that one of these runs may take, on the slowest machine."""


def prepare(folder: Path) -> None:
    """Make both runs, `reported/` and `killed/`.

    Raises:
        FlowGradError: one failed.
    """
    for name, overrides in (("reported", REPORTED), ("killed", KILLED)):
        code, said = command([*overrides, "workers=1", f"hydra.run.dir={folder / name}"])
        if code:
            raise FlowGradError(f"the run {name!r} that attacks start from ended with code {code}: {said[-300:]}")


def command(overrides: list[str]) -> tuple[int, str]:
    """Exit code and standard error of a run in a process of its own."""
    ended = subprocess.run(
        started(overrides), capture_output=True, text=True, timeout=_LONGEST, cwd=ROOT, env=environment(), check=False
    )
    return ended.returncode, ended.stderr


def started(overrides: list[str]) -> list[str]:
    """The command of a run."""
    return [sys.executable, "-m", "pipelines.run", *overrides]


def environment() -> dict[str, str]:
    """Environment of such a run: one thread, so that it gives the same on every machine."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
