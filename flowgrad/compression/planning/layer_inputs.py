"""Computes second moments of the inputs of a model's layers, which say what a change of weights does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from flowgrad.compression.planning.gptq import is_small

_MOST_NUMBERS = 2**22
"""Numbers in patches that are unfolded at once, at most; of a larger batch the first are taken."""


def input_moments(model: nn.Module, names: Mapping[str, nn.Parameter], run: Callable[[], Any]) -> dict[str, np.ndarray]:
    """Mean of x x' over the inputs x of each layer, float64, shape (weights of a unit, the same), by name.

    For a convolution x is a patch. Left out are weights that something else than one `nn.Linear`, `nn.Conv1d` or
    `nn.Conv2d` without groups holds, layers that are too large (`compensation.is_small`), that are not called (some,
    such as attention, use their weights by other ways) or not with dense tensors.

    Args:
        model: whose layers are watched.
        names: its weights.
        run: calls the model on all batches.
    """
    held: dict[int, list[nn.Module]] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                held.setdefault(id(parameter), []).append(module)
    seen: dict[str, _Sum] = {}
    hooks = []
    for name, parameter in names.items():
        owners = held.get(id(parameter), [])
        if len(owners) == 1 and _watchable(owners[0], parameter):
            seen[name] = _Sum()
            hooks.append(owners[0].register_forward_hook(seen[name].add, with_kwargs=True))
    try:
        with torch.no_grad():
            run()
    finally:
        for one in hooks:
            one.remove()
    return {name: one.mean() for name, one in seen.items() if one.count}


class _Sum:
    """Sum of x x' over the inputs x of one layer."""

    def __init__(self) -> None:
        self.total: torch.Tensor | float = 0.0
        self.count = 0
        self._lost = False

    def add(self, layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any], _: Any) -> None:
        """Add the inputs of one call; the arguments are those of a forward hook."""
        x = given[0] if given else named.get("input")
        if self._lost or not isinstance(x, torch.Tensor) or x.layout != torch.strided or x.is_nested:
            self._lost, self.count = True, 0
            return
        # The sum is in full precision in any model: the digits that half precision drops distinguish weights.
        with torch.autocast(x.device.type, enabled=False):
            lines = _lines(layer, x.detach().cpu() if x.device.type == "mps" else x.detach())
            lines = lines.double() if lines.is_cuda else lines
            self.total = self.total + (lines.T @ lines).double()
        self.count += len(lines)

    def mean(self) -> np.ndarray:
        """Mean of x x' over all inputs, shape (weights of a unit, the same)."""
        assert isinstance(self.total, torch.Tensor)
        return (self.total / self.count).cpu().numpy()


def _watchable(owner: nn.Module, parameter: nn.Parameter) -> bool:
    """Whether the layer may be watched; a subclass is not, as it may do to its inputs what it likes."""
    if type(owner) not in (nn.Linear, nn.Conv1d, nn.Conv2d) or owner._parameters.get("weight") is not parameter:
        return False
    if isinstance(owner, nn.Conv1d | nn.Conv2d) and not (owner.groups == 1 and owner.padding_mode == "zeros"):
        return False
    return is_small(len(parameter), parameter[0].numel())


def _lines(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Inputs of a unit as lines, shape (inputs, weights of a unit), float32."""
    x = x.float()
    if isinstance(layer, nn.Linear):
        return x.reshape(-1, x.shape[-1])
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    kernel, dilation, stride = layer.kernel_size, layer.dilation, layer.stride
    if x.dim() == len(kernel) + 1:  # no batch
        x = x[None]
    x = functional.pad(x, _padding(layer))
    if len(kernel) == 1:  # as pictures of one line
        x, kernel, dilation, stride = x[:, :, None], (1, *kernel), (1, *dilation), (1, *stride)
    places = [(n - d * (k - 1) - 1) // s + 1 for n, d, k, s in zip(x.shape[2:], dilation, kernel, stride, strict=True)]
    numbers = x.shape[1] * math.prod(kernel) * math.prod(places)
    x = x[: max(1, _MOST_NUMBERS // max(numbers, 1))]
    patches = functional.unfold(x, kernel, dilation=dilation, stride=stride)
    return patches.transpose(1, 2).reshape(-1, patches.shape[1])


def _padding(layer: nn.Conv1d | nn.Conv2d) -> list[int]:
    """Padding as `functional.pad` takes it: before and after, from the last dimension on."""
    found: list[int] = []
    for place in reversed(range(len(layer.kernel_size))):
        if isinstance(layer.padding, str):
            whole = layer.dilation[place] * (layer.kernel_size[place] - 1) if layer.padding == "same" else 0
            found += [whole // 2, whole - whole // 2]
        else:
            found += [int(layer.padding[place])] * 2
    return found
