"""A bare arm and a watched one, in turns, whatever it is that they train."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch

from pipelines.overhead.memory import held_bytes, peak_bytes, reset_peak


class Arm(Protocol):
    """Something in training."""

    watcher: Any
    """Called after each step; None: bare."""

    def twin(self) -> Self:
        """An arm that trains the same weights in the same memory."""

    def train(self, batches: list[Any]) -> None:
        """One step a batch."""

    def weights(self) -> list[torch.Tensor]:
        """What is trained."""

    def tensors(self) -> list[torch.Tensor]:
        """What the model and its optimizer hold, whether watched or not."""


class Batches(Protocol):
    """Where batches come from."""

    def draw(self, count: int) -> list[Any]:
        """The next `count` batches, on the device."""


@dataclass(frozen=True)
class Measured:
    """What a comparison gives."""

    bare_ms: tuple[float, ...]
    """Per step, one figure a block."""
    watched_ms: tuple[float, ...]
    """As `bare_ms`, and paired with it."""
    steps: int
    """Taken by each arm."""
    held_bytes: int
    """The most that the watcher held at the end of a block."""
    weight_bytes: int
    """The weights in training."""
    peak_bytes: int | None
    """Rise of the peak, temporaries included; None where the system does not tell."""
    cpu_ratio: float
    """All CPU time of the watched steps, threads together, over that of the bare ones."""


def compare(
    bare: Arm,
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
        attach: makes the watcher of an arm; None where nothing watches.
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


def _warm_up(arm: Arm, batches: Batches, steps: int, device: torch.device) -> int | None:
    """Train the arm bare. Gives the peak of a bare step."""
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


def _timed(arm: Arm, batches: list[Any], device: torch.device) -> tuple[float, float]:
    """Seconds that the block takes, and CPU seconds of this process within it."""
    _wait(device)
    start, cpu_start = time.perf_counter(), time.process_time()
    arm.train(batches)
    _wait(device)
    return time.perf_counter() - start, time.process_time() - cpu_start


def _wait(device: torch.device) -> None:
    """A GPU works on after the call that gave it the work has returned."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
