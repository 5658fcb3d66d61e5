"""Handles standard output and error that are closed, full, or not read any more."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO

UNREAD = 141
"""Exit code of a process whose output is not read any more, as of one that the signal for it ends (128 + SIGPIPE)."""


def keep_open() -> None:
    """Put the null device in the place of standard streams that are closed: the next file that is opened would take
    their number, and get the printed text.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def printed(text: str | None) -> int:
    """Print a text and return the exit code: 0, or 2 where standard output cannot be written, which is said."""
    try:
        print(text)
    except BrokenPipeError:
        return UNREAD
    except OSError as error:
        return unwritten(error)
    return 0


def unwritten(error: OSError) -> int:
    """Say that something could not be written, on standard error; gives the exit code 2."""
    _discard(sys.stdout)
    with suppress(OSError):
        what = error.filename if isinstance(error.filename, str) else "standard output"
        print(f"error: {what} cannot be written: {os.strerror(error.errno or 0)}", file=sys.stderr)
    return 2


def settled(code: int) -> int:
    """Return the exit code, once all that was printed is written out. Where that fails nothing is left over for the end
    of the process, which would complain of it once more.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            code = code or UNREAD
            _discard(stream)
        except OSError as error:
            _discard(stream)
            if stream is sys.stdout and not code:
                code = unwritten(error)
    return code


def _discard(stream: TextIO) -> None:
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        stream.flush()
