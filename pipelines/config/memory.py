"""Checks whether a model fits into memory before it is made: a process that takes too much is killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from flowgrad.errors import FlowGradError

_CGROUP = Path("/sys/fs/cgroup")
_COPIES = 4
"""Number of copies of each parameter: itself, its gradient, and the two moments of Adam."""
_GIB = 2**30


def check_parameters(what: str, make: Callable[[], torch.nn.Module | int]) -> None:
    """Refuse a model whose parameters, gradients and optimizer state do not fit.

    Args:
        what: name in errors of the settings that its size comes from.
        make: makes the model, or returns its number of parameters; a model is made without its weights.

    Raises:
        FlowGradError: the message says how much memory would be needed and how much there is.
    """
    with torch.device("meta"):
        made = make()
    count = made if isinstance(made, int) else sum(parameter.numel() for parameter in made.parameters())
    needed, there = _COPIES * 4 * count, available()
    if there is not None and needed > there:
        raise FlowGradError(
            f"{what}: {count:.3g} parameters take {needed / _GIB:.3g} GiB to train, and {there / _GIB:.3g} GiB of "
            "memory are free; make the model smaller"
        )


def available() -> int | None:
    """Number of bytes that this process may still take; None where the system does not say."""
    found = [amount for amount in (_of_system(), _of_group()) if amount is not None]
    return min(found) if found else None


def _of_system() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _of_group() -> int | None:
    """Number of bytes left to the container; None where there is no limit."""
    try:
        most = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return int(most) - used if most.isdigit() else None
