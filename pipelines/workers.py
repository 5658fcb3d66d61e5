"""Independent training runs on several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from omegaconf import DictConfig

from pipelines.data import Data
from pipelines.evaluation import evaluate
from pipelines.training.loop import train


@dataclass(frozen=True)
class Outcome:
    """What one run of the proof gives."""

    metrics: dict[str, float]
    """On the test ratings."""
    validation_losses: tuple[float, ...]
    """By epoch."""


def outcomes(runs: Sequence[tuple[DictConfig, int]], data: Data, workers: int) -> Iterator[Outcome]:
    """Train and evaluate each (config, seed), unwatched, in the order given. The number of workers changes no result.

    Processes are spawned: a forked child of a process that has used OpenMP hangs when it trains.
    """
    workers = min(workers, len(runs))
    if workers <= 1:
        yield from (_outcome(config, data, seed) for config, seed in runs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start, initargs=(data,)) as pool:
        try:
            with _interrupts_ignored():
                results = pool.map(_run, runs)
            yield from results
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _outcome(config: DictConfig, data: Data, seed: int) -> Outcome:
    trained = train(config, data, seed)
    metrics = evaluate(config.training.evaluation, config.training.cutoff, trained.model, data)
    return Outcome(metrics, trained.validation_losses)


_data: Data | None = None
"""The worker's copy, sent once and not with every run."""


def _start(data: Data) -> None:
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


def _run(run: tuple[DictConfig, int]) -> Outcome:
    assert _data is not None
    return _outcome(run[0], _data, run[1])
