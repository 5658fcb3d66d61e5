"""Runs a bare arm and a watched one in turns, whatever they train."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch

from pipelines.benchmarks.overhead.memory import held_bytes, peak_bytes, reset_peak


class TimedArm(Protocol):
    """A model in training."""

    watcher: Any
    """Function that is called after each step; None: bare."""

    def twin(self) -> Self:
        """Make an arm that trains the same weights in the same memory."""

    def train(self, batches: list[Any]) -> None:
        """Take one step a batch."""

    def weights(self) -> list[torch.Tensor]:
        """Weights in training."""

    def tensors(self) -> list[torch.Tensor]:
        """Tensors that the model and its optimizer hold, whether watched or not."""


class Batches(Protocol):
    """Source of batches."""

    def draw(self, count: int) -> list[Any]:
        """Draw the next `count` batches, on the device."""


@dataclass(frozen=True)
class Measured:
    """Figures of a comparison."""

    bare_ms: tuple[float, ...]
    """Milliseconds per step, one figure a block."""
    watched_ms: tuple[float, ...]
    """Milliseconds per step of the watched arm, paired with `bare_ms`."""
    steps: int
    """Number of steps taken by each arm."""
    held_bytes: int
    """Bytes that the watcher held at the end of a block, at most."""
    weight_bytes: int
    """Size of the weights in training, in bytes."""
    peak_bytes: int | None
    """Rise of the peak in bytes, temporaries included; None where the system does not say."""
    cpu_ratio: float
    """Ratio of all CPU time of the watched steps, threads together, to that of the bare ones."""


def pooled(parts: Sequence[Measured]) -> Measured:
    """Put the figures of several processes together: all blocks, the most that was held, and the mean CPU ratio."""
    peaks = [part.peak_bytes for part in parts if part.peak_bytes is not None]
    return Measured(
        bare_ms=tuple(one for part in parts for one in part.bare_ms),
        watched_ms=tuple(one for part in parts for one in part.watched_ms),
        steps=sum(part.steps for part in parts),
        held_bytes=max(part.held_bytes for part in parts),
        weight_bytes=parts[0].weight_bytes,
        peak_bytes=max(peaks, default=None),
        cpu_ratio=sum(part.cpu_ratio for part in parts) / len(parts),
    )


def compare(
    bare: TimedArm,
    batches: Batches,
    attach: Callable[[Any], Any],
    *,
    steps: int,
    block: int,
    warmup: int,
    device: torch.device,
) -> Measured:
    """Time a bare arm and its watched twin in this process.

    Args:
        bare: the arm; it is trained.
        batches: of which each step of either arm gets its own.
        attach: makes the watcher of an arm; None where there is no watcher.
        steps: of each arm, a multiple of two blocks.
        block: steps of one arm before the other has its turn.
        warmup: steps before the watcher attaches, twice.
        device: where the arm is.
    """
    peak = _warm_up(bare, batches, warmup, device)
    watched = bare.twin()
    known = reset_peak(device) and peak is not None
    watcher = watched.watcher = attach(watched)
    held = 0
    wall: tuple[list[float], list[float]] = ([], [])
    cpu = [0.0, 0.0]
    for pair in range(steps // block):
        # Each its own: the second arm would find the rows of a shared batch in the cache.
        own = (batches.draw(block), batches.draw(block))
        bare.train(batches.draw(1))  # drawing has filled the cache with other things
        turns = list(enumerate(zip((bare, watched), own, strict=True)))
        for number, (arm, drawn) in turns if pair % 2 == 0 else reversed(turns):
            seconds, cpu_seconds = _timed(arm, drawn, device)
            wall[number].append(seconds / block * 1e3)
            cpu[number] += cpu_seconds
        held = max(held, held_bytes(watcher, watched.tensors()))
    return Measured(
        bare_ms=tuple(wall[0]),
        watched_ms=tuple(wall[1]),
        steps=steps,
        held_bytes=held,
        weight_bytes=sum(weight.nbytes for weight in watched.weights()),
        peak_bytes=peak_bytes(device) - peak if known and peak is not None else None,
        cpu_ratio=cpu[1] / cpu[0],
    )


def _warm_up(arm: TimedArm, batches: Batches, steps: int, device: torch.device) -> int | None:
    """Train the arm bare, and return the peak of a bare step in bytes."""
    arm.train(batches.draw(steps))
    # Zeros that the optimizer allocated take no memory before they are written to; that is not the watcher's doing.
    for tensor in arm.tensors():
        if not tensor.is_sparse:
            tensor.detach().add_(0)
    gc.collect()
    drawn = batches.draw(steps)
    known = reset_peak(device)
    arm.train(drawn)
    return peak_bytes(device) if known else None


def _timed(arm: TimedArm, batches: list[Any], device: torch.device) -> tuple[float, float]:
    """Measure the seconds that the block takes, and the CPU seconds of this process within it."""
    _wait(device)
    start, cpu_start = time.perf_counter(), time.process_time()
    arm.train(batches)
    _wait(device)
    return time.perf_counter() - start, time.process_time() - cpu_start


def _wait(device: torch.device) -> None:
    """Wait for a GPU, which works on after the call that gave it the work has returned."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
