"""Processes of tests that are forked from one that has imported torch and used nothing of it: a fresh Python takes four
seconds until it trains.
"""

from __future__ import annotations

from torch import multiprocessing

IMPORTED = (
    "torch._dynamo",
    "torch.distributed",
    "torch.nn.parallel",
    "pytest",
    "flowgrad.testing",
    "flowgrad.watching",
    "flowgrad.integrations.session",
)
"""Modules that the process that is forked imports."""


def forked_from():
    """The context of `multiprocessing` whose processes are forked from that one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*IMPORTED])
    return context


def run_two(work, *arguments):
    """Call `work(rank, *arguments)` in a process for each of two ranks, and raise what one raised."""
    forked_from()
    multiprocessing.start_processes(work, arguments, 2, start_method="forkserver")


def run_forked(work, *arguments):
    """Call `work(*arguments)` in a process of its own; returns what it returns, and raises what it raised."""
    with forked_from().Pool(1) as pool:
        return pool.apply(work, arguments)
