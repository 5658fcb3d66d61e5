"""Makes one comparison: a bare network and a watched one, in turns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from pipelines.benchmarks.overhead.blocks import Measured, compare
from pipelines.benchmarks.overhead.networks.cases import Batches, NetworkArm, NetworkCase
from pipelines.benchmarks.overhead.networks.watchers import attaching


@dataclass(frozen=True)
class NetworkPlan:
    """Everything that a comparison depends on; it is sent to a process of its own."""

    case: NetworkCase
    watcher: str
    """Name of the watcher: one of `OWN` or `OTHERS`, or `none` for a control: two bare arms."""
    steps: int
    """Number of steps of each arm; rounded up to whole rounds: two blocks of either arm."""
    block: int
    """Number of steps of one arm before the other has its turn."""
    warmup: int
    """Number of steps of each arm, bare, before the watcher attaches."""
    seed: int
    threads: int
    device: str
    folder: Path
    """Folder where a watcher may keep files meanwhile."""


def measure(plan: NetworkPlan) -> Measured:
    """Run the comparison in this process; sets its number of threads."""
    torch.set_num_threads(plan.threads)
    device = torch.device(plan.device)
    with attaching(plan.watcher, plan.folder) as attach:
        return compare(
            NetworkArm(plan.case, plan.seed, device),
            Batches(plan.case, plan.seed, device),
            attach,
            steps=-(-plan.steps // (2 * plan.block)) * 2 * plan.block,
            block=plan.block,
            warmup=plan.warmup,
            device=device,
        )
