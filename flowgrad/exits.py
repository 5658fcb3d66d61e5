"""Ends the process on Ctrl-C with one line and exit code 130, also while imports still run."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

INTERRUPTED = 130
"""Exit code of an interrupted process, as of one that the signal ends (128 + SIGINT)."""
PATIENCE = 6.0
"""Seconds after an interrupt by which the process is gone, whoever caught it, or whatever it waits for: files are
written whole or not at all, and its children end with it.
"""
_came = False


def leave_quietly() -> None:
    """Let an interrupt end the process at once with one line from now on: nothing is begun yet, or all is done."""
    signal.signal(signal.SIGINT, _leave)


@contextmanager
def leaving_quietly() -> Iterator[None]:
    """Let an interrupt end the process at once as long as this lasts, for imports: an exception raised in the middle of
    one may be caught there, and is lost then.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    leave_quietly()
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def answered(main: Callable[[], int]) -> int:
    """Run `main` and return its exit code; an interrupt meanwhile ends the process with 130, after one line where
    `main` printed none. Later interrupts leave quietly.
    """
    global _came
    _came = False
    signal.signal(signal.SIGINT, _interrupt)
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _leave)
    try:
        code = main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = INTERRUPTED
    finally:
        leave_quietly()
    if code == INTERRUPTED:
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, lambda *received: os._exit(INTERRUPTED))  # one line is printed already
        # Where it passed through code that C runs, Python would kill itself at its end with any exit code.
        _end(code)
    return code


def end(code: int) -> NoReturn:
    """End the process with the exit code, once its threads have ended and what was registered for its end is done.
    Python itself takes all modules down besides, which is of no use and takes half a second where torch is among them.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    _end(code)


def _end(code: int) -> NoReturn:
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def raise_again() -> None:
    """Raise an interrupt that came and was caught on its way by code that is not ours; call it now and then.

    Raises:
        KeyboardInterrupt: one came.
    """
    if _came:
        raise KeyboardInterrupt


def _interrupt(number: int, frame: Any) -> None:
    global _came
    if not _came and hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    _came = True
    raise KeyboardInterrupt


def _leave(number: int, frame: Any) -> None:
    print("interrupted", file=sys.stderr, flush=True)
    os._exit(INTERRUPTED)
