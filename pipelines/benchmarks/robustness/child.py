"""An attack in a process of its own, with limits, and what came of it."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import logging
import os
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flowgrad.errors import FlowGradError
from pipelines.benchmarks.robustness.attack import RAN, REFUSED, Attack, Fault, Kind, Place, Refused

_HELD = ("RssAnon:", "RssShmem:")
_EVERY = 0.005
"""Seconds between two checks of the process."""
_AFTERWARDS = 5.0
"""Seconds for which processes that it started may go on."""
_OF_OTHERS = (".rustup",)
"""What pip leaves in the home of whoever has Rust: it asks for its version."""
_STILL = 1.0
"""Seconds since the last step within which a training goes on."""
_LONGEST_LINE = 2000
"""Characters of an error: more fill a screen."""
_DEATH = 1
"""PR_SET_PDEATHSIG: the signal that the process gets when its parent ends."""


@dataclass(frozen=True)
class Came:
    """Outcome of an attack."""

    outcome: str
    """`refused`, `ran`, or one of `FAULTS`."""
    said: str
    """The refusal, or what went wrong."""
    seconds: float
    mebibytes: float
    """Beyond what the process had at the start."""


def attempt(attack: Attack, kind: Kind, folder: Path) -> Came:
    """Perform an attack in a forked process.

    Args:
        attack: what is tried.
        kind: its limits.
        folder: made, and removed afterwards.
    """
    place = Place(folder)
    for one in (place.work, place.given, place.folder / "temporary"):
        one.mkdir(parents=True)
    try:
        return _watched(attack, kind, place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _watched(attack: Attack, kind: Kind, place: Place) -> Came:
    began = time.monotonic()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: they only wait
        pid = os.fork()
    if not pid:
        _child(attack, place)
    with _killed_at_last(pid):
        ended, most, start, trains = "", 0.0, _resident(os.getpid()), _Training(place.training, kind.training)
        whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        while True:
            done, status, usage = os.wait4(pid, os.WNOHANG)
            if done:
                most = max(most, usage.ru_maxrss / 1024 - whole)  # of what came and went between two looks
                break
            most = max(most, _resident(pid) - start)
            ended = ended or _beyond(kind, trains, time.monotonic() - began, most)
            if ended:
                os.kill(pid, signal.SIGKILL)
            time.sleep(_EVERY)
        seconds = time.monotonic() - began
        outcome, said = _outcome(place, ended, status, kind, most)
        if not ended and outcome in (REFUSED, RAN) and (left := _left(pid)):
            outcome, said = "hang", f"{left} process(es) still there {_AFTERWARDS:g} s afterwards"
    if outcome in (REFUSED, RAN) and (strays := _strays(place, whole=not ended)):
        outcome, said = "stray_file", f"wrote {', '.join(strays[:5])}"
    return Came(outcome, said, seconds, max(most, 0.0))


class _Training:
    """Whether an attack has been training for so long, and still does."""

    def __init__(self, mark: Path, seconds: float) -> None:
        self._mark, self._seconds, self._first = mark, seconds, 0.0

    def long(self) -> bool:
        """Ask again and again."""
        try:
            last = self._mark.stat().st_mtime
        except OSError:
            return False
        self._first = self._first or time.time()
        return time.time() - self._first > self._seconds and time.time() - last < _STILL


def _beyond(kind: Kind, trains: _Training, seconds: float, mebibytes: float) -> str:
    if mebibytes > kind.mebibytes:
        return "memory"
    if trains.long():
        return "training"
    return "hang" if seconds > kind.seconds else ""


def _outcome(place: Place, ended: str, status: int, kind: Kind, most: float) -> tuple[str, str]:
    if ended == "memory" or most > kind.mebibytes:
        return "memory", f"took {most:.0f} MiB more than at the start; {kind.mebibytes:g} are allowed"
    if ended == "training":
        return RAN, "it trains"
    if ended:
        return "hang", f"no end after {kind.seconds:g} s"
    try:
        outcome, said = json.loads((place.folder / "outcome").read_bytes())
    except (OSError, ValueError):
        return "traceback", f"the process ended with status {os.waitstatus_to_exitcode(status)}: {_tail(place.err)}"
    return outcome, said


def _tail(path: Path) -> str:
    return " | ".join(path.read_text(errors="backslashreplace").splitlines()[-3:]) if path.exists() else ""


def _child(attack: Attack, place: Place) -> None:
    """What the process does; it never returns."""
    code = 1
    try:
        os.setsid()
        faulthandler.disable()  # a dump of all threads of its bench tells nothing
        ctypes.CDLL(None).prctl(_DEATH, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _confined(place)
        found = _performed(attack, place)
        (place.folder / "outcome").write_text(json.dumps(found))
        code = 0
    finally:
        os._exit(code)


def _confined(place: Place) -> None:
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for number, path in ((0, os.devnull), (1, place.out), (2, place.err)):
        handle = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ["HOME"] = str(place.work)
    os.environ.update(dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9"))  # nothing is fetched
    os.environ["FLOWGRAD_CACHE"] = os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(place.folder / "cache")
    os.environ["TMPDIR"] = str(place.folder / "temporary")
    os.chdir(place.work)


def _performed(attack: Attack, place: Place) -> tuple[str, str]:
    try:
        attack.perform(place)
    except Fault as fault:
        return fault.kind, str(fault)
    except (FlowGradError, Refused) as error:
        text = str(error)
        if len(text.splitlines()) != 1 or len(text) > _LONGEST_LINE:
            return "traceback", f"{len(text.splitlines())} lines, {len(text)} characters: {text[:300]!r}"
        return REFUSED, text
    except BaseException as error:
        return "traceback", told(error)
    return RAN, ""


def told(error: BaseException) -> str:
    """An error that was not expected, and where it comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{Path(one.filename).name}:{one.lineno}" for one in reversed(frames[-6:]))
    return f"{type(error).__name__}: {str(error)[:300]} ({where})"


def _resident(pid: int) -> float:
    """MiB of memory that the process holds, without its files; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith(_HELD)) / 1024


@contextlib.contextmanager
def _killed_at_last(pid: int) -> Iterator[None]:
    """Whatever happens, the process and all of its session are gone at the end."""
    try:
        yield
    finally:
        _kill_session(pid)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _kill_session(session: int) -> None:
    for pid in members(session):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _left(pid: int) -> int:
    """Processes of the session that do not end by themselves."""
    end = time.monotonic() + _AFTERWARDS
    while (count := len(members(pid))) and time.monotonic() < end:
        time.sleep(0.05)
    return count


def members(session: int) -> list[int]:
    """Processes of a session that still run."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session and fields[0] not in "ZX":
                    found.append(int(entry.name))
    return found


def _strays(place: Place, *, whole: bool) -> list[str]:
    """Files where none may be; of one that was ended, temporary files may be left."""
    folders = [place.work, place.folder / "temporary"] if whole else [place.work]
    found = (path.relative_to(place.folder) for folder in folders for path in sorted(folder.rglob("*")))
    return [str(path) for path in found if path.parts[1] not in _OF_OTHERS]
