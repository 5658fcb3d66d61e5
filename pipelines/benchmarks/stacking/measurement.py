"""Times one case: a seed alone, and seeds trained together."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig

from pipelines.benchmarks.overhead.memory import peak_bytes, reset_peak
from pipelines.stages.outcomes import divided
from pipelines.stages.parallel import Pool
from pipelines.trainers.trainer import Trained, trainer_of

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class StackPlan:
    """Everything that the measurement of a case depends on; it is sent to a process of its own."""

    config: DictConfig
    seeds: tuple[int, ...]
    """Seeds that are trained together; the first is trained alone too."""
    rounds: int
    """Number of times that each way is timed."""
    workers: int
    """Number of processes that share the stacks, as those of a proof do."""


@dataclass(frozen=True)
class Times:
    """Times of one way of training, a value a round."""

    wall: tuple[float, ...]
    """Seconds that passed."""
    cpu: tuple[float, ...]
    """Seconds that the processor spent on it in this process."""
    peak_bytes: int | None
    """Rise of the peak of this process's resident memory, at most; None where the system does not say."""


@dataclass(frozen=True)
class Stacked:
    """Result of one case."""

    stack: int
    """Number of seeds in the largest stack."""
    steps: int
    """Number of optimizer steps of the first seed."""
    alone: Times
    together: Times
    shared: Times
    """Times of the same stacks on several processes, which are started before."""
    difference: float
    """Largest relative difference of a validation loss between a seed in its stack and alone."""


def measure(plan: StackPlan) -> Stacked:
    """Load the data, train in turns, and compare the figures of every seed."""
    trainer = trainer_of(plan.config)
    data = trainer.load()
    stacks = divided(plan.config, plan.seeds, data)
    alone = [trainer.train(data, seed) for seed in plan.seeds]
    together = [one for seeds in stacks for one in trainer.train_stack(data, seeds)]
    with closing(Pool(plan.workers, data)) as pool:
        ways: list[Callable[[], Any]] = [
            lambda: trainer.train(data, plan.seeds[0]),
            lambda: [trainer.train_stack(data, seeds) for seeds in stacks],
            lambda: [wait() for wait in [pool.begin(_train, (plan.config, seeds)) for seeds in stacks]],
        ]
        ways[-1]()  # starts the processes
        timed: list[list[tuple[float, float, int | None]]] = [[] for _ in ways]
        for place in range(plan.rounds):
            for way in range(len(ways))[:: 1 if place % 2 else -1]:
                timed[way].append(_timed(ways[way]))
    times = [_times(one) for one in timed]
    return Stacked(max(map(len, stacks)), alone[0].steps, times[0], times[1], times[2], _difference(alone, together))


def _train(stack: tuple[DictConfig, Sequence[int]], data: Any) -> None:
    config, seeds = stack
    trainer_of(config).train_stack(data, seeds)


def _timed(run: Callable[[], Any]) -> tuple[float, float, int | None]:
    """Wall and processor seconds of a call, and the bytes by which it drove the peak."""
    gc.collect()
    known = reset_peak(_CPU)
    before = peak_bytes(_CPU) if known else 0
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return wall, cpu, peak_bytes(_CPU) - before if known else None


def _times(timed: Sequence[tuple[float, float, int | None]]) -> Times:
    wall, cpu, peaks = zip(*timed, strict=True)
    return Times(wall, cpu, max((peak for peak in peaks if peak is not None), default=None))


def _difference(alone: Sequence[Trained], together: Sequence[Trained]) -> float:
    """Largest relative difference of a validation loss; infinite where runs are not of one length."""
    largest = 0.0
    for one, other in zip(alone, together, strict=True):
        if one.steps != other.steps or len(one.validation_losses) != len(other.validation_losses):
            return float("inf")
        for expected, found in zip(one.validation_losses, other.validation_losses, strict=True):
            largest = max(largest, abs(found - expected) / abs(expected))
    return largest
