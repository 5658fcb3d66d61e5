"""Says whether weights are as initialisers draw them, or were trained before they were watched."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from flowgrad.trackers.flow.look import PART, apart, fetch
from flowgrad.trackers.flow.parameters import Watched, unit_axis
from flowgrad.trackers.flow.samples import sampled

_SPREAD_OF_UNIFORM = math.sqrt(3)
"""Ratio of the largest entry of a uniform distribution around zero to its root mean square."""
_ERRORS = 4.0
"""Number of standard errors that a figure may be off."""
_FEWEST = 30
"""Number of entries below which the shape of a distribution is not judged."""


@apart
def freshness(watched: Sequence[Watched]) -> np.ndarray:
    """Flags of tensors that are as initialisers leave them: 1 or 0, NaN for biases and small tensors.

    A weight is fresh where its entries are uniform around zero, or where its layer's bias is one number throughout or
    uniform within PyTorch's default bound. Without a bias, and with one that a batch normalisation takes off again, so
    that it never gets a gradient, entries of a normal distribution around zero decide. A scale of a normalisation is
    fresh where it is one number throughout.

    Args:
        watched: the tensors, before any step.

    Returns:
        Shape (tensors,).
    """
    figures = _figures([one.parameter for one in watched])
    at = {one.name: i for i, one in enumerate(watched)}
    found = np.full(len(watched), math.nan)
    for i, one in enumerate(watched):
        path, _, own = one.name.rpartition(".")
        if one.parameter.dim() < 2:
            if own == "weight" and one.parameter.numel() >= 2:
                found[i] = float(figures[i].constant)
            continue
        bias = at.get(f"{path}.{own.replace('weight', 'bias')}".removeprefix("."), -1) if "weight" in own else -1
        decides = bias >= 0 and not _is_taken_off(watched, bias)
        found[i] = _fresh(figures[i], figures[bias] if decides else None, _bound(one))
    return found


def _is_taken_off(watched: Sequence[Watched], bias: int) -> bool:
    """Whether a batch normalisation of as many channels comes right behind a bias."""
    behind = watched[bias + 1] if bias + 1 < len(watched) else None
    return (
        behind is not None
        and isinstance(behind.owner, _BatchNorm)
        and behind.parameter.numel() == watched[bias].parameter.numel()
    )


class _Shape:
    """Shape of the distribution of a tensor's entries."""

    def __init__(self, count: int, mean: float, square: float, fourth: float, low: float, high: float) -> None:
        self.count = count
        self.constant = low == high
        self.largest = max(abs(low), abs(high))
        self.rms = math.sqrt(square) if square > 0 else 0.0
        self.kurtosis = fourth / square**2 if square > 0 else math.nan
        self.shift = abs(mean) / self.rms * math.sqrt(count) if self.rms else 0.0
        """Mean in units of its standard error."""

    @property
    def uniform(self) -> bool:
        """Whether it could be uniform around zero."""
        slack = 1 + _ERRORS * 0.447 / math.sqrt(self.count)
        return self.rms > 0 and self.shift < _ERRORS and self.largest / self.rms <= _SPREAD_OF_UNIFORM * slack

    @property
    def normal(self) -> bool:
        """Whether it could be normal around zero."""
        return self.shift < _ERRORS and abs(self.kurtosis - 3) < _ERRORS * math.sqrt(24 / self.count)


def _fresh(weight: _Shape, bias: _Shape | None, bound: float) -> float:
    if weight.count < _FEWEST:
        return math.nan
    if weight.constant or weight.uniform:
        return 1.0
    if bias is not None and (bias.count > 1 or not bias.rms):  # one number alone is constant, whatever it is
        return float(bias.constant or (bias.largest <= bound * (1 + 1e-4) and bias.uniform))
    return float(weight.normal)


def _bound(watched: Watched) -> float:
    """Bound of PyTorch's default biases."""
    axis = unit_axis(watched)
    if axis is None:
        return math.nan
    return 1 / math.sqrt(max(watched.parameter.numel() / watched.parameter.shape[axis], 1))


def _figures(parameters: Sequence[torch.Tensor]) -> list[_Shape]:
    by_device: dict[torch.device, list[int]] = {}
    for i, parameter in enumerate(parameters):
        by_device.setdefault(parameter.device, []).append(i)
    found = np.zeros((len(parameters), 5))
    counts = [0] * len(parameters)
    for group in by_device.values():
        parts = []
        for i in group:
            values = _entries(parameters[i].detach())
            counts[i] = values.numel()
            parts.append(_moments(values))
        found[group] = fetch(torch.stack(parts))
    return [_Shape(max(n, 1), *row) for n, row in zip(counts, found.tolist(), strict=True)]


def _entries(weight: torch.Tensor) -> torch.Tensor:
    values = torch.view_as_real(weight) if weight.is_complex() else weight
    return (values.reshape(-1) if values.numel() <= PART else sampled(values)).float()


def _moments(values: torch.Tensor) -> torch.Tensor:
    if not values.numel():
        return torch.zeros(5, device=values.device)
    square = values * values
    low, high = torch.aminmax(values)
    return torch.stack([values.mean(), square.mean(), (square * square).mean(), low, high])
