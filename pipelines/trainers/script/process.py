"""Runs one program to its end or its time limit; nothing of it stays behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flowgrad.errors import FlowGradError

_PATIENCE = 5.0
"""Seconds between a polite end and a hard one."""
_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux's prctl."""
_LIBRARY = ctypes.CDLL(None) if sys.platform.startswith("linux") else None


def run(words: Sequence[str], cwd: Path, environment: Mapping[str, str], output: Path, timeout: float) -> str:
    """Run a program, its output and errors together in a file.

    Returns:
        Why it ended as it should not; empty where it ended well.

    Raises:
        FlowGradError: there is no such program.
    """
    with output.open("wb") as stream, _terminable():
        try:
            process = subprocess.Popen(
                words, cwd=cwd, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=stream,
                stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=_with_parent if _LIBRARY else None,
            )  # fmt: skip
        except OSError as error:
            raise FlowGradError(f"training.command: {words[0]} cannot be run: {error.strerror or error}") from None
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            return f"it ran longer than training.timeout={timeout:g} seconds and was ended"
        finally:
            _end(process)
    if code:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"it ended with {how}: {last_line(output)}"
    return ""


def last_line(output: Path) -> str:
    """The last line that was printed, at most 200 characters of it."""
    with output.open("rb") as stream, suppress(OSError):
        stream.seek(max(0, output.stat().st_size - 65536))
        lines = stream.read().decode("utf-8", errors="replace").split("\n")
    told = [line.strip() for line in lines if line.strip()]
    return told[-1][:200] if told else "it printed nothing"


def _with_parent() -> None:
    assert _LIBRARY is not None
    _LIBRARY.prctl(_DEATH_SIGNAL, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the program and all that it started."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE)
    _signal(process, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        elif process.poll() is None:
            process.terminate()


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the program too: a worker of the proof is ended by it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _stop(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)
