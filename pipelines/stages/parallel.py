"""Does independent work on several processes."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import sys
import threading
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import closing
from functools import partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from omegaconf import DictConfig

from flowgrad import exits
from flowgrad.errors import FlowGradError
from pipelines.output import interrupts

_EVERY = 0.5
"""Seconds between two looks for an interrupt, while a worker is waited for: one that is raised in a finalizer, or in a
callback of a library, is lost there, and training may take hours.
"""
_YIELDS = 5
"""Niceness of a worker: the process that it works for says what comes next, and goes first where cores are short."""
Given = TypeVar("Given")
Result = TypeVar("Result")
Loaded = TypeVar("Loaded")


class Pool:
    """Processes that do work in the background, each one run at a time; a pool of one does it in this process, when the
    result is waited for.
    """

    def __init__(self, workers: int, data: Any) -> None:
        """Make a pool; processes start with the first work.

        Args:
            workers: processes, at most.
            data: what the work is done on; it is sent to each process once.
        """
        self._data = data
        self._threads = ThreadPoolExecutor(workers) if workers > 1 else None
        self._own = threading.local()
        self._workers: list[_Worker] = []
        self._starting = threading.Lock()
        self._closed = False
        self._ahead: deque[Callable[[], None]] = deque()
        self._waiting: deque[Callable[[], None]] = deque()

    def begin(self, work: Callable[[Given, Any], Result], run: Given, *, ahead: bool = False) -> Callable[[], Result]:
        """Have `work(run, data)` done, after what was begun before, or ahead of what was not begun so.

        Returns:
            A call that waits for the result, and raises what the work raised; or a FlowGradError where the process was
            killed, as a system short of memory does.
        """
        if self._threads is None:
            return partial(work, run, self._data)
        future: Future[Result] = Future()
        (self._ahead if ahead else self._waiting).append(partial(_fulfil, future, partial(self._done, work, run)))
        self._threads.submit(self._do_next)
        return partial(_waited_for, future)

    def close(self) -> None:
        """End the processes, whatever they do."""
        if self._threads is None:
            return
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._starting:
            self._closed = True
        for worker in self._workers:
            worker.close()

    def _do_next(self) -> None:
        """Do what comes next when a thread is free."""
        with self._starting:
            do = (self._ahead or self._waiting).popleft()
        do()

    def _done(self, work: Callable[[Given, Any], Result], run: Given) -> Result:
        """Have the process of this thread do it."""
        worker: _Worker | None = getattr(self._own, "worker", None)
        if worker is None:
            with self._starting, interrupts.deferred():
                if self._closed:
                    raise CancelledError
                worker = self._own.worker = _Worker(work.__name__, _context())
                self._workers.append(worker)
            worker.send((self._data,))
        worker.send((work, run))
        result: Result = worker.answer()
        return result


def _fulfil(future: Future[Result], work: Callable[[], Result]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)


def _waited_for(future: Future[Result]) -> Result:
    while not wait([future], timeout=_EVERY).done:
        exits.raise_again()
    return future.result()


def parallel_map(
    work: Callable[[Given, Loaded], Result], runs: Sequence[Given], data: Loaded, workers: int
) -> Iterator[Result]:
    """Call `work(run, data)` for each run, in the order given, on several processes; their number changes no result.

    Raises:
        FlowGradError: a process was killed, as a system short of memory does.
        Exception: the error of the first run that failed.
    """
    pool = Pool(min(workers, len(runs)), data)
    with closing(pool):
        for result in [pool.begin(work, run) for run in runs]:
            exits.raise_again()
            yield result()


def run_isolated(function: Callable[[Given], Result], argument: Given) -> Result:
    """Call `function(argument)` in a fresh process, which is gone when this returns or raises.

    Raises:
        FlowGradError: the process was killed, as a system short of memory does.
        Exception: the error of the function.
    """
    with interrupts.deferred():
        worker = _Worker(function.__name__, multiprocessing.get_context("spawn"))
    with closing(worker):
        worker.send(())
        worker.send((function, argument))
        result: Result = worker.answer()
        return result


def import_ahead(modules: Sequence[str]) -> None:
    """Start a server that imports the modules once for all workers of pools to come, while this process goes on; it
    ends with this process. Nothing where systems have no such server, or it runs already.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return
    global _ahead
    multiprocessing.set_forkserver_preload(["pipelines.stages.leaving_at_once", *modules])
    with interrupts.deferred():
        forkserver.ensure_running()
    _ahead = True


def imports_ahead() -> bool:
    """Whether a server imports, or has imported, for the workers of pools."""
    return _ahead


_ahead = False


def _context() -> Any:
    """Way to start a worker of a pool."""
    return multiprocessing.get_context("forkserver" if imports_ahead() else "spawn")


def workers_for(config: DictConfig, seconds: float) -> int:
    """Processes for work that one alone would do in so many seconds: `config.workers`, else one where starting others
    takes longer than they save, else one a core.
    """
    return config.workers or (1 if seconds < _STARTING and not imports_ahead() else cores())


_STARTING = 6.0
"""Seconds that a process takes until it trains, where it has to import torch."""


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Worker:
    """A process that does the work that it is sent, one item after another.

    It is spawned, or forked by a server that trains nothing: a forked child of a process that has used OpenMP hangs
    when it trains. Its data come by a pipe of its own and not as arguments of the process: it reads those only when it
    has imported torch, and a writer of more than a pipe holds to a process that died before waits for ever, as it holds
    the other end open too.
    """

    def __init__(self, name: str, context: Any) -> None:
        self._name = name
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,))
        with theirs:  # closed here, so that the end of the process ends the waiting
            self.process.start()
        self.close = weakref.finalize(self, _end, self.process, self.connection)
        """Finalizer that ends it, whatever it does; so does the end of this process, or of the last reference to the
        worker.
        """

    def send(self, message: Any) -> None:
        """Send a message that can be pickled.

        Raises:
            FlowGradError: the process is gone.
        """
        try:
            self.connection.send_bytes(_pickled(message))
        except OSError:
            raise self._gone() from None

    def answer(self) -> Any:
        """Wait for the result of the next item.

        Raises:
            FlowGradError: the process is gone.
            Exception: the error of the function.
        """
        try:
            while not self.connection.poll(_EVERY):
                exits.raise_again()
            result, error = self.connection.recv()
        except (EOFError, OSError):
            raise self._gone() from None
        if error is not None:
            raise error
        return result

    def _gone(self) -> FlowGradError:
        self.process.join()
        code = self.process.exitcode
        return FlowGradError(f"{self._name} ended without a result (exit code {code}); was memory short?")


def _end(process: BaseProcess, connection: Connection) -> None:
    process.terminate()
    process.join()
    connection.close()


def _serve(connection: Connection) -> None:
    """Serve as a worker until it is ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    if hasattr(os, "nice"):
        os.nice(_YIELDS)
    interrupts.end_after(parent.join)  # a parent that is killed cannot end its workers; they would wait for ever
    gc.disable()  # imports make no garbage, and a lot to search for it
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # the state of the server is that of each of its workers
    shared = connection.recv()  # data of all runs, or nothing
    gc.freeze()
    gc.enable()
    while True:
        try:
            function, given = connection.recv()
        except EOFError:
            return
        try:
            answer = function(given, *shared), None
            sent = _pickled(answer)
        except Exception as error:
            sent = _pickled((None, _that_travels(error)))
        connection.send_bytes(sent)


def _pickled(message: Any) -> bytes:
    """Pickle a message by value.

    The pickler of `multiprocessing`, which `Connection.send` takes, moves the memory of a tensor to where others find
    it, while another thread of this process may train on it and hold arrays over the memory that it had.
    """
    return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)


def _that_travels(error: Exception) -> Exception:
    """Make the error fit to travel, with its traceback as a note; another error stands in its place where it cannot be
    pickled.
    """
    error.add_note("".join(traceback.format_exception(error)).rstrip())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        other = RuntimeError(f"{type(error).__name__}: {error}")
        other.__notes__ = error.__notes__
        return other
    return error
