"""One comparison: a bare arm and a watched one, in turns."""

from __future__ import annotations

import gc
import math
import time
from dataclasses import dataclass

import torch

from pipelines.overhead.cases import Arm, Batch, Case, ZipfBatches
from pipelines.overhead.memory import held_bytes, peak_bytes, reset_peak
from pipelines.overhead.watchers import PEER_INTERVAL, attacher


@dataclass(frozen=True)
class Plan:
    """All that a comparison depends on; it is sent to a process of its own."""

    case: Case
    watcher: str
    """`tracker`, `peer`, `peer_interval`, or `none` for a control: two bare arms."""
    steps: int
    """Of each arm."""
    block: int
    """Steps of one arm before the other has its turn."""
    warmup: int
    """Steps of each arm, bare, before the watcher attaches."""
    exponent: float
    """Of Zipf's law."""
    seed: int
    threads: int
    device: str
    epoch_steps: int | None
    """The tracker's epochs; None: it is told of none."""


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
    table_bytes: int
    """The table's weights."""
    peak_bytes: int | None
    """Rise of the peak, temporaries included; None where the system does not tell."""


def whole_rounds(steps: int, block: int, watcher: str) -> int:
    """Steps rounded up so that each arm begins as often, and the peer's interval is whole.

    >>> whole_rounds(600, 25, "tracker"), whole_rounds(610, 25, "tracker"), whole_rounds(50, 20, "peer_interval")
    (600, 650, 200)
    """
    unit = 2 * block
    if watcher == "peer_interval":
        unit = math.lcm(unit, PEER_INTERVAL)
    return -(-steps // unit) * unit


def measure(plan: Plan) -> Measured:
    """Run the comparison in this process; sets its number of threads."""
    torch.set_num_threads(plan.threads)
    device = torch.device(plan.device)
    attach = attacher(plan.watcher, plan.epoch_steps)
    batches = ZipfBatches(plan.case, plan.exponent, plan.seed, device)
    bare = Arm(plan.case, plan.seed, device)
    peak = _warm_up(bare, batches, plan.warmup, device)
    watched = bare.twin()
    known = reset_peak(device) and peak is not None
    watcher = watched.watcher = attach(watched.table)
    held = 0
    times: tuple[list[float], list[float]] = ([], [])
    steps = whole_rounds(plan.steps, plan.block, plan.watcher)
    for pair in range(steps // plan.block):
        # Each its own: the second arm would find the rows of a shared batch in the cache.
        own = (batches.draw(plan.block), batches.draw(plan.block))
        bare.train(batches.draw(1))  # drawing has filled the cache with other things
        turns = [(times[0], bare, own[0]), (times[1], watched, own[1])]
        for series, arm, drawn in turns if pair % 2 == 0 else reversed(turns):
            series.append(_milliseconds(arm, drawn, device))
        held = max(held, held_bytes(watcher, watched.tensors()))
    return Measured(
        bare_ms=tuple(times[0]),
        watched_ms=tuple(times[1]),
        steps=steps,
        held_bytes=held,
        table_bytes=watched.table.weight.nbytes,
        peak_bytes=peak_bytes(device) - peak if known and peak is not None else None,
    )


def _warm_up(arm: Arm, batches: ZipfBatches, steps: int, device: torch.device) -> int | None:
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


def _milliseconds(arm: Arm, batches: list[Batch], device: torch.device) -> float:
    """Wall time per step."""
    _wait(device)
    start = time.perf_counter()
    arm.train(batches)
    _wait(device)
    return (time.perf_counter() - start) / len(batches) * 1e3


def _wait(device: torch.device) -> None:
    """A GPU works on after the call that gave it the work has returned."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
