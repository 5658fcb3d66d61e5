"""Makes independent training runs on several processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import traceback
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any, TypeVar

from omegaconf import DictConfig

from flowgrad import exits
from flowgrad.errors import FlowGradError
from pipelines.output import interrupts

if TYPE_CHECKING:  # of torch, which a process imports when it trains
    from flowgrad.report import Treated
    from pipelines.trainers.trainer import Dataset

_EVERY = 0.5
"""Seconds between two looks for an interrupt, while a worker is waited for: one that is raised in a finalizer, or in a
callback of a library, is lost there, and training may take hours.
"""
Given = TypeVar("Given")
Result = TypeVar("Result")
Loaded = TypeVar("Loaded", bound="Dataset")


@dataclass(frozen=True)
class Outcome:
    """Outcome of one run of the proof."""

    metrics: dict[str, float]
    """Metrics on the test ratings, by name."""
    by_user: tuple[float, ...]
    """First of the metrics by user."""
    validation_losses: tuple[float, ...]
    """Validation loss of each epoch."""
    treated: tuple[Treated, ...] = ()
    """Changes that findings made while it trained."""
    steps: int = 0
    """Number of optimizer steps, or rounds."""
    failure: str = ""
    """The reason why the run gave no result, `Evaluation.failure`."""


def outcomes(runs: Sequence[tuple[DictConfig, int]], data: Dataset, workers: int) -> Iterator[Outcome]:
    """Train and evaluate each (config, seed), unwatched, in the order given."""
    return parallel_map(outcome, runs, data, workers)


def parallel_map(
    work: Callable[[Given, Loaded], Result], runs: Sequence[Given], data: Loaded, workers: int
) -> Iterator[Result]:
    """Call `work(run, data)` for each run, in the order given, on several processes; their number changes no result.

    Raises:
        FlowGradError: a process was killed, as a system short of memory does.
        Exception: the error of the first run that failed.
    """
    workers = min(workers, len(runs))
    if workers <= 1:
        for run in runs:
            exits.raise_again()
            yield work(run, data)
        return
    with _started(workers, work) as pool:
        for worker in pool:
            worker.send((data,))
        yield from _in_order(pool, work, runs)


def run_isolated(function: Callable[[Given], Result], argument: Given) -> Result:
    """Call `function(argument)` in a fresh process, which is gone when this returns or raises.

    Raises:
        FlowGradError: the process was killed, as a system short of memory does.
        Exception: the error of the function.
    """
    with _started(1, function) as (worker,):
        worker.send(())
        worker.send((0, function, argument))
        return worker.answer()[1]


def workers_for(config: DictConfig, seconds: float) -> int:
    """Processes for work that one alone would do in so many seconds: `config.workers`, else one where starting others
    takes longer than they save, else one a core.
    """
    return config.workers or (1 if seconds < _STARTING else cores())


_STARTING = 6.0
"""Seconds that a process takes until it trains: it imports torch."""


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def outcome(run: tuple[DictConfig, int], data: Dataset) -> Outcome:
    """Train and evaluate one (config, seed), unwatched."""
    from pipelines.trainers.trainer import trainer_of

    config, seed = run
    trainer = trainer_of(config)
    trained = trainer.train(data, seed)
    found = trainer.evaluate(trained, data, seed)
    return Outcome(
        found.metrics, found.by_user, trained.validation_losses, trained.treated, trained.steps, found.failure
    )


class _Worker:
    """A process that does the work that it is sent, one item after another.

    It is spawned: a forked child of a process that has used OpenMP hangs when it trains. Its data come by a pipe of its
    own and not as arguments of the process: it reads those only when it has imported torch, and a writer of more than a
    pipe holds to a process that died before waits for ever, as it holds the other end open too.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,))
        with theirs:  # closed here, so that the end of the process ends the waiting
            self.process.start()
        self.end = weakref.finalize(self, _end, self.process, self.connection)
        """Finalizer that ends it, whatever it does; so does the end of this process, or of the last reference to the
        worker.
        """

    def send(self, message: Any) -> None:
        """Send a message that can be pickled.

        Raises:
            FlowGradError: the process is gone.
        """
        try:
            self.connection.send(message)
        except OSError:
            raise self._gone() from None

    def answer(self) -> tuple[int, Any]:
        """Wait for the next item done, and return its place and its result.

        Raises:
            FlowGradError: the process is gone.
            Exception: the error of the function.
        """
        try:
            while not self.connection.poll(_EVERY):
                exits.raise_again()
            place, result, error = self.connection.recv()
        except (EOFError, OSError):
            raise self._gone() from None
        if error is not None:
            raise error
        return place, result

    def _gone(self) -> FlowGradError:
        self.process.join()
        code = self.process.exitcode
        return FlowGradError(f"{self._name} ended without a result (exit code {code}); was memory short?")


def _end(process: BaseProcess, connection: Connection) -> None:
    process.terminate()
    process.join()
    connection.close()


@contextmanager
def _started(count: int, function: Callable[..., Any]) -> Iterator[list[_Worker]]:
    """Start so many workers, which are gone at the end."""
    pool: list[_Worker] = []
    try:
        with interrupts.deferred():
            pool += [_Worker(function.__name__) for _ in range(count)]
        yield pool
    finally:
        for worker in pool:
            worker.end()


def _in_order(
    pool: Sequence[_Worker], work: Callable[[Given, Loaded], Result], runs: Sequence[Given]
) -> Iterator[Result]:
    waiting = iter(enumerate(runs))
    busy = list(pool)
    for worker in pool:
        place, run = next(waiting)
        worker.send((place, work, run))
    done: dict[int, Result] = {}
    for place in range(len(runs)):
        exits.raise_again()
        while place not in done:
            answering = wait([worker.connection for worker in busy], timeout=_EVERY)
            exits.raise_again()
            for worker in [worker for worker in busy if worker.connection in answering]:
                at, result = worker.answer()
                done[at] = result
                given = next(waiting, None)
                if given is None:
                    busy.remove(worker)
                else:
                    worker.send((given[0], work, given[1]))
        yield done.pop(place)


def _serve(connection: Connection) -> None:
    """Serve as a worker until it is ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    interrupts.end_after(parent.join)  # a parent that is killed cannot end its workers; they would wait for ever
    shared = connection.recv()  # data of all runs, or nothing
    while True:
        try:
            place, function, given = connection.recv()
        except EOFError:
            return
        try:
            answer = place, function(given, *shared), None
            sent = ForkingPickler.dumps(answer)
        except Exception as error:
            sent = ForkingPickler.dumps((place, None, _that_travels(error)))
        connection.send_bytes(sent)


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
