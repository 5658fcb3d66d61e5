"""Measures the cost of a model: bytes on disk, and seconds a call."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from flowgrad.errors import FlowGradError


def saved_size(model: nn.Module) -> int:
    """Size of `torch.save(model.state_dict())` in bytes, also where torchao has quantised it. `write_packed` takes
    less.
    """
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.tell()


def latency(call: Callable[[], Any], *, repeats: int = 30, warm_up: int = 5) -> float:
    """Median time of a call in seconds, such as `lambda: model(batch)`, without gradients; an accelerator is waited
    for.

    Args:
        call: what is timed.
        repeats: times that it is.
        warm_up: calls before that are not timed.

    Raises:
        FlowGradError: `repeats` below 1.
    """
    if repeats < 1:
        raise FlowGradError(f"repeats={repeats}: must be 1 or more")
    seconds = []
    with torch.inference_mode():
        for place in range(warm_up + repeats):
            _wait()
            began = time.perf_counter()
            call()
            _wait()
            if place >= warm_up:
                seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
