"""Proofs that run in the background while an agent does something else."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, cast

from flowgrad.agents.answers import NotRequired, Proven, TypedDict
from flowgrad.agents.plain import plain
from flowgrad.agents.proof_runs import ProofRun
from flowgrad.agents.proving import prove
from flowgrad.errors import FlowGradError
from flowgrad.lines import told_line

MOST_AT_ONCE = 1
"""Number of proofs that run at a time."""
_SAID_BYTES, _SAID_LINES = 4_096, 20

State = Literal["running", "finished", "failed", "cancelled"]


class ProofState(TypedDict):
    """State of a proof, and what it showed once it is finished."""

    proof: str
    """Name of the proof, for `proof` and `cancel_proof`."""
    state: State
    seconds: float
    """Time since its start."""
    folder: str
    """Run folder that it writes."""
    overrides: list[str]
    said: list[str]
    """Last lines that it printed, or, as long as there are none, that it wrote into its log."""
    proven: NotRequired[Proven]
    problem: NotRequired[str]
    """Reason why there is no verdict."""


@dataclass
class _Kept:
    run: ProofRun
    log: IO[bytes]
    cancelled: bool = False
    ended: float = 0.0
    verdict: dict[str, Any] = field(default_factory=dict)


@dataclass
class Proofs:
    """The proofs of one server."""

    root: Path
    """Folder of the checkout whose pipelines run them."""
    kept: dict[str, _Kept] = field(default_factory=dict)
    starting: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def start(self, overrides: list[str]) -> ProofState:
        """Start a proof.

        Raises:
            FlowGradError: another one runs, there are no pipelines, a word is no override, or the run's folder is not
                inside the root.
        """
        for word in overrides:
            if word.startswith("-") or "=" not in word or "\0" in word:
                raise FlowGradError(f"{word!r} is no override; write path=value, such as optimizer.lr=0.01")
            if word.lstrip("+~").startswith("hydra."):
                raise FlowGradError(f"{word!r}: settings of Hydra are not taken; the run's folder is chosen for you")
        with self.starting:
            running = [name for name, one in self.kept.items() if one.run.process.poll() is None]
            if len(running) >= MOST_AT_ONCE:
                raise FlowGradError(f"{running[0]} still runs; wait for it, or cancel it")
            log = tempfile.TemporaryFile()  # noqa: SIM115
            try:
                run = ProofRun.start(overrides, self.root, log, own_group=True)
            except BaseException:
                log.close()
                raise
            name = f"proof-{len(self.kept) + 1}"
            self.kept[name] = _Kept(run, log)
        return self.state(name)

    def state(self, name: str) -> ProofState:
        """State of a proof.

        Raises:
            FlowGradError: there is no such proof.
        """
        kept = self._of(name)
        run, code = kept.run, kept.run.process.poll()
        if code is not None and not kept.ended:
            kept.ended = time.monotonic()
            run.end()
        told: dict[str, Any] = {
            "proof": name,
            "state": "running" if code is None else "cancelled" if kept.cancelled else "failed" if code else "finished",
            "seconds": round((kept.ended or time.monotonic()) - run.began, 1),
            "folder": os.path.relpath(run.folder),
            "overrides": list(run.overrides),
            "said": _said(kept.log) or _logged(run.folder / "run.log"),
        }
        if told["state"] == "failed":
            told["problem"] = f"the run ended with exit code {code}; `said` holds its words"
        if told["state"] == "finished":
            kept.verdict = kept.verdict or _verdict(run.folder)
            told |= kept.verdict
        return cast(ProofState, told)

    def cancel(self, name: str) -> ProofState:
        """End a proof and everything that it started; nothing happens to one that has ended.

        Raises:
            FlowGradError: there is no such proof.
        """
        kept = self._of(name)
        if kept.run.process.poll() is None:
            kept.cancelled = True
            kept.run.end()
        return self.state(name)

    def end(self) -> None:
        """End all proofs."""
        for name in self.kept:
            self.cancel(name)

    def _of(self, name: str) -> _Kept:
        if name not in self.kept:
            told = ", ".join(self.kept) or "none was started"
            raise FlowGradError(f"there is no proof {name!r}; there are: {told}")
        return self.kept[name]


def _verdict(folder: Path) -> dict[str, Any]:
    try:
        return {"proven": prove(os.path.relpath(folder))}
    except FlowGradError as error:
        return {"problem": str(error)}


def _logged(path: Path) -> list[str]:
    """Last lines of a run's log; none as long as there is no such file."""
    if path.is_symlink() or not path.is_file():
        return []
    try:
        with path.open("rb") as log:
            return _said(log)
    except OSError:
        return []


def _said(log: IO[bytes]) -> list[str]:
    size = os.fstat(log.fileno()).st_size
    data = os.pread(log.fileno(), _SAID_BYTES, max(0, size - _SAID_BYTES))
    lines = [told_line(line) for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
    return cast(list[str], plain(lines[-_SAID_LINES:]))
