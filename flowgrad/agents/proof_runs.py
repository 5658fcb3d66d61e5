"""Runs the pipelines of a checkout to prove a change, so that nothing of the run outlives who asked for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from flowgrad.agents.answers import Proven
from flowgrad.agents.proving import prove
from flowgrad.errors import FlowGradError

PIPELINES = Path("pipelines", "run.py")
"""File that a checkout with the pipelines has."""
_FOLDER = "hydra.run.dir"
_LIFELINE = "FLOWGRAD_LIFELINE"
"""Environment variable of `pipelines.output.interrupts.end_with_lifeline`: a run ends when the other end closes."""
_STANDARD_ERROR = 2
_PATIENCE = 10.0
"""Seconds that a run has to end after it was asked to."""


@dataclass
class ProofRun:
    """A run of `python -m pipelines.run` that proves a change."""

    folder: Path
    """Folder that it writes into."""
    overrides: tuple[str, ...]
    process: subprocess.Popen[bytes]
    began: float
    """Time of its start, of `time.monotonic`."""
    _lifeline: int
    _ending: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def start(cls, overrides: Sequence[str], root: Path, output: IO[bytes] | int, *, own_group: bool) -> ProofRun:
        """Start a run.

        Args:
            overrides: what is run and what is changed, as of the command line of the pipelines.
            root: folder of the checkout.
            output: file or descriptor that its output and errors are written to.
            own_group: whether Ctrl-C of a terminal does not reach it.

        Raises:
            FlowGradError: as `planned`.
        """
        folder, words = planned(overrides, root)
        theirs, ours = os.pipe()
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.run", *words],
                cwd=root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, _LIFELINE: str(theirs)},
                pass_fds=(theirs,),
                start_new_session=own_group,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        return cls(folder, tuple(words), process, time.monotonic(), ours)

    def end(self) -> None:
        """End the run: it is asked first, and its lifeline is cut where it does not answer."""
        with self._ending:  # two threads may ask for it
            if self._lifeline < 0:
                return
            if self.process.poll() is None:
                with suppress(ProcessLookupError):
                    self.process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(_PATIENCE)
            os.close(self._lifeline)
            self._lifeline = -1
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_PATIENCE)
                return
            self.process.kill()
            self.process.wait()


def planned(overrides: Sequence[str], root: Path) -> tuple[Path, list[str]]:
    """Choose the folder of a run, and the overrides that send it there.

    Raises:
        FlowGradError: there are no pipelines in `root`, or no experiment is named.
    """
    if not (root / PIPELINES).is_file():
        raise FlowGradError(
            f"{root}: there is no {PIPELINES} in it, so no proof can be run here; name a checkout of FlowGrad, or "
            "train your own script on several seeds with and without the change"
        )
    if not any(one.startswith("experiment=") for one in overrides):
        raise FlowGradError(
            "name what is run, such as experiment=movielens_mf, and the change, such as 'trial=[optimizer.lr=0.01]'"
        )
    given = [one.partition("=")[2] for one in overrides if one.lstrip("+").startswith(f"{_FOLDER}=")]
    if given:
        return root / given[-1], list(overrides)
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{time.monotonic_ns() // 1000 % 10**6}"
    folder = Path("outputs", "proofs", name)
    return root / folder, [*overrides, f"{_FOLDER}={folder.as_posix()}"]


def run_proof(overrides: Sequence[str]) -> Proven:
    """Run a proof in this folder and answer what it showed; its own words go to standard error.

    Raises:
        FlowGradError: there are no pipelines here, or the run failed.
    """
    run = ProofRun.start(overrides, Path.cwd(), _STANDARD_ERROR, own_group=False)
    try:
        code = run.process.wait()
    finally:
        run.end()
    if code:
        raise FlowGradError(f"the run ended with exit code {code}; what it said stands above")
    return prove(os.path.relpath(run.folder))
