"""Independent training runs on several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from omegaconf import DictConfig

from flowgrad.errors import FlowGradError
from flowgrad.trackers.embedding.guard import Intervention
from pipelines.program import Dataset, program_of

Given = TypeVar("Given")
Result = TypeVar("Result")
Loaded = TypeVar("Loaded", bound=Dataset)


@dataclass(frozen=True)
class Outcome:
    """What one run of the proof gives."""

    metrics: dict[str, float]
    """On the test ratings."""
    by_user: tuple[float, ...]
    """The first of them by user."""
    validation_losses: tuple[float, ...]
    """By epoch."""
    interventions: tuple[tuple[str, Intervention], ...] = ()
    """What `tracker.auto_fix` did, by table."""


def outcomes(runs: Sequence[tuple[DictConfig, int]], data: Dataset, workers: int) -> Iterator[Outcome]:
    """Train and evaluate each (config, seed), unwatched, in the order given."""
    return each(outcome, runs, data, workers)


def each(
    work: Callable[[Given, Loaded], Result], runs: Sequence[Given], data: Loaded, workers: int
) -> Iterator[Result]:
    """`work(run, data)` of each run, in the order given, on several processes; their number changes no result.

    Processes are spawned: a forked child of a process that has used OpenMP hangs when it trains.
    """
    workers = min(workers, len(runs))
    if workers <= 1:
        yield from (work(run, data) for run in runs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start, initargs=(data,)) as pool:
        try:
            with _interrupts_ignored():
                results = pool.map(_run, [work] * len(runs), runs)
            yield from results
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def alone(function: Callable[[Given], Result], argument: Given) -> Result:
    """`function(argument)` in a fresh process, which is gone when this returns or raises.

    Raises:
        FlowGradError: the process was killed, as a system short of memory does.
        Exception: whatever the function raised.
    """
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sending, function, argument), daemon=True)
    with _interrupts_ignored():
        process.start()
    sending.close()  # so that the end of the process ends the waiting
    try:
        result, error = receiving.recv()
    except EOFError:
        process.join()
        raise FlowGradError(
            f"{function.__name__} ended without a result (exit code {process.exitcode}); was memory short?"
        ) from None
    finally:
        process.terminate()
        process.join()
        receiving.close()
    if error is not None:
        raise error
    return result


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def outcome(run: tuple[DictConfig, int], data: Dataset) -> Outcome:
    """Train and evaluate one (config, seed), unwatched."""
    config, seed = run
    program = program_of(config)
    trained = program.train(config, data, seed)
    found = program.evaluate(config, trained, data, seed)
    return Outcome(found.metrics, found.by_user, trained.validation_losses, trained.interventions)


_data: Dataset | None = None
"""The worker's copy, sent once and not with every run."""


def _answer(sending: Connection, function: Callable[[Any], Any], argument: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    result, failure = None, None
    try:
        result = function(argument)
    except Exception as error:
        failure = error
    sending.send((result, failure))


def _start(data: Dataset) -> None:
    global _data
    _data = data
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot end its workers; they would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ctrl-C reaches every process of the group. Workers started here inherit that it is not theirs to answer."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _run(work: Callable[[Given, Dataset], Result], run: Given) -> Result:
    assert _data is not None
    return work(run, _data)
