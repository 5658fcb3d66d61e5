"""Two processes that train together, for tests of distributed runs."""

from __future__ import annotations

from torch import multiprocessing

IMPORTED = ("torch._dynamo", "torch.distributed", "torch.nn.parallel", "pytest", "flowgrad.watching", "flowgrad.integrations.session")  # fmt: skip


def run_two(work, *arguments):
    """Call `work(rank, *arguments)` in a process for each of two ranks, and raise what one raised.

    Both are forked from a process that has imported torch and used nothing of it: a fresh Python takes four seconds
    until it trains.
    """
    multiprocessing.set_forkserver_preload([*IMPORTED])
    multiprocessing.start_processes(work, arguments, 2, start_method="forkserver")
