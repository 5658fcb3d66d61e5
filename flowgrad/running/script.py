"""Runs a Python script or module as `python` does, and says how it ended."""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from flowgrad.errors import FlowGradError

CRASHED, INTERRUPTED, TERMINATED = 1, 130, 143
_OWN = str(Path(__file__).parent)


def run(target: str, args: Sequence[str], *, module: bool) -> int:
    """Run a script or module to its end, as `__main__`; a crash is printed as Python prints it.

    Args:
        target: path of the script, or name of the module.
        args: its arguments.
        module: whether it is the name of a module.

    Returns:
        The exit code that Python would have ended with; 130 for an interrupt, 143 for SIGTERM.

    Raises:
        FlowGradError: there is no such script.
    """
    if not module and not Path(target).exists():
        raise FlowGradError(f"{target}: there is no such script; give the path of one, or -m and the name of a module")
    before = list(sys.argv), list(sys.path), sys.modules.get("__main__")
    sys.argv = [target, *args]
    sys.path[0] = os.getcwd() if module else str(Path(target).resolve().parent)
    try:
        with _signals():
            _execute(target, module=module)
        return 0
    except SystemExit as end:
        return _code(end)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BaseException as error:
        _print(error)
        return CRASHED
    finally:
        sys.argv, sys.path[:] = before[0], before[1]
        if before[2] is not None:
            sys.modules["__main__"] = before[2]


def _execute(target: str, *, module: bool) -> None:
    if module:
        runpy.run_module(target, run_name="__main__", alter_sys=True)
    elif Path(target).is_dir():
        runpy.run_path(target, run_name="__main__")
    else:
        main: Any = ModuleType("__main__")
        main.__file__, main.__builtins__ = target, __builtins__
        sys.modules["__main__"] = main
        exec(compile(Path(target).read_bytes(), target, "exec"), vars(main))


@contextmanager
def _signals() -> Iterator[None]:
    """Let an interrupt raise KeyboardInterrupt, and SIGTERM end the script as `sys.exit` does, so that its report is
    printed; a script may put other handlers in place.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _terminate(number: int, frame: Any) -> None:
    raise SystemExit(TERMINATED)


def _code(end: SystemExit) -> int:
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    print(end.code, file=sys.stderr)
    return 1


def _print(error: BaseException) -> None:
    """Print a crash without the lines of this file."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None and _is_own(trace):
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)


def _is_own(trace: TracebackType) -> bool:
    file = trace.tb_frame.f_code.co_filename
    return file.startswith(_OWN) or file == "<frozen runpy>"
