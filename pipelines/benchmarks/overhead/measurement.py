"""Makes one comparison: a bare table and a watched one, in turns."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from pipelines.benchmarks.overhead.blocks import Measured, compare
from pipelines.benchmarks.overhead.cases import TableArm, TableCase, ZipfBatches
from pipelines.benchmarks.overhead.watchers import PEER_INTERVAL, attacher


@dataclass(frozen=True)
class TablePlan:
    """Everything that a comparison depends on; it is sent to a process of its own."""

    case: TableCase
    watcher: str
    """Name of the watcher: `tracker`, `peer`, `peer_interval`, or `none` for a control: two bare arms."""
    steps: int
    """Number of steps of each arm."""
    block: int
    """Number of steps of one arm before the other has its turn."""
    warmup: int
    """Number of steps of each arm, bare, before the watcher attaches."""
    exponent: float
    """Exponent of Zipf's law."""
    seed: int
    threads: int
    device: str
    epoch_steps: int | None
    """Number of steps in an epoch of the tracker; None: it has no epochs."""


def whole_rounds(steps: int, block: int, watcher: str) -> int:
    """Round steps up so that each arm begins as often, and the peer's interval is whole.

    >>> whole_rounds(600, 25, "tracker"), whole_rounds(610, 25, "tracker"), whole_rounds(50, 20, "peer_interval")
    (600, 650, 200)
    """
    unit = 2 * block
    if watcher == "peer_interval":
        unit = math.lcm(unit, PEER_INTERVAL)
    return -(-steps // unit) * unit


def measure(plan: TablePlan) -> Measured:
    """Run the comparison in this process; sets its number of threads."""
    torch.set_num_threads(plan.threads)
    device = torch.device(plan.device)
    attach = attacher(plan.watcher, plan.epoch_steps)
    return compare(
        TableArm(plan.case, plan.seed, device),
        ZipfBatches(plan.case, plan.exponent, plan.seed, device),
        lambda arm: attach(arm.table),
        steps=whole_rounds(plan.steps, plan.block, plan.watcher),
        block=plan.block,
        warmup=plan.warmup,
        device=device,
    )
