"""Work that the tests of pools send to processes, which import nothing but this for it: a process that imported the
tests would import torch.
"""

import os
import signal
import sys
import time

import numpy as np

from flowgrad.errors import FlowGradError

BIG = bytes(1 << 22)
"""More than a pipe holds."""


def times(run, data):
    return run * len(data)


def slow_first(run, data):
    time.sleep(0.3 * (run == 0))
    return run


def killed(run, data):
    if run == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return run


class CannotTravelError(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def failing(run, data):
    if run == 1:
        raise FlowGradError(f"no such run {run}")
    if run == 3:
        raise CannotTravelError("left", "right")
    return run


class Deadly:
    """Data that ends whoever reads it, as a system short of memory does."""

    def __init__(self):
        self.rest = BIG

    def __reduce__(self):
        return os._exit, (7,)

    def __len__(self):
        return 1


def size(argument):
    return len(argument)


def told(run, data):
    """Parent, whether a module was there before, and a random number."""
    before = "colorsys" in sys.modules
    time.sleep(run)
    return os.getppid(), before, np.random.default_rng(np.random.get_state()[1]).random()  # noqa: NPY002


def os_id(run, data):
    time.sleep(0.05)
    return os.getpid()


def doubled(run, data):
    return data * run
