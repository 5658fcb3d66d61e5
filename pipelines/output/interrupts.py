"""Answers Ctrl-C when nothing is half done, and never loses it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any


@contextmanager
def deferred() -> Iterator[None]:
    """Defer an interrupt that comes meanwhile to the end. Processes started here never get one: Ctrl-C reaches every
    process of the group, and it is their parent that ends them.
    """
    if threading.current_thread() is not threading.main_thread():
        with _blocked():
            yield
        return
    came: list[tuple[int, Any]] = []
    before = signal.signal(signal.SIGINT, lambda *received: came.append(received))
    try:
        with _blocked():
            yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
        if came and callable(before):
            before(*came[0])


@contextmanager
def _blocked() -> Iterator[None]:
    """Block the interrupt in this thread; processes inherit that. One that comes meanwhile is delivered at the end, or
    to another thread.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it starts with the first process, and lets interrupts through again then
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_after(wait: Callable[[], Any]) -> None:
    """End this process when `wait`, called in a thread, returns: the process that it works for is gone."""

    def watch() -> None:
        wait()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def end_with_sweep() -> None:
    """End this process with the one that started it, where it is a worker of joblib: those outlive a sweep that is
    killed.
    """
    global _watching
    if _watching or not type(multiprocessing.current_process()).__name__.startswith("Loky"):
        return
    _watching = True
    sweep = int(os.environ.get(SWEEP, os.getppid()))

    def wait() -> None:
        while os.getppid() == sweep:
            time.sleep(_EVERY)

    end_after(wait)


@contextmanager
def lifeline() -> Iterator[tuple[int, dict[str, str]]]:
    """Make a descriptor to hand on to a child, and variables to add to its environment, so that it ends with this
    process: the child's `end_with_lifeline` sees the other end close, whoever kills whom.
    """
    theirs, ours = os.pipe()
    try:
        yield theirs, {_LIFELINE: str(theirs)}
    finally:
        os.close(theirs)
        os.close(ours)


def end_with_lifeline() -> None:
    """End with the process that handed on its `lifeline`, where there is one."""
    theirs = os.environ.pop(_LIFELINE, None)
    if theirs is not None:
        end_after(lambda: os.read(int(theirs), 1))


SWEEP = "FLOWGRAD_SWEEP"
"""Environment variable with the number of the process that a command line was given to."""
_LIFELINE = "FLOWGRAD_LIFELINE"
_EVERY = 0.5
"""Seconds between two checks of who the parent is."""
_watching = False
