"""Says how far apart the columns of data are that dense layers are given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

_ROWS = 512
"""Number of rows of a larger batch that are read, about."""
_FEWEST_ROWS, _FEWEST_COLUMNS = 8, 4
MOST = 8
"""Number of layers that are given data, and read, at most."""
_SHAPING = ("View", "UnsafeView", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
"""Operations of the graph behind which the same numbers stand."""


class InputColumns:
    """Root mean square of each column of the data that linear layers are given, at their first use.

    Data are a tensor that no layer of this pass made and that asks for no gradient, by itself or as a part of what is
    put side by side (`torch.cat`): what layers make has the size that they were initialised for.
    """

    def __init__(self) -> None:
        """Start with no layer."""
        self._found: list[Tensor] = []
        """Largest and median root mean square of the columns of each layer's input, shape (2,) each."""

    def note(self, module: nn.Module, args: tuple[Any, ...], *, made: bool) -> None:
        """Note what a module is given at its first use, and whether a module of the same pass had made it."""
        given = args[0] if args else None
        if not isinstance(module, nn.Linear) or not isinstance(given, Tensor) or made or len(self._found) == MOST:
            return
        if _fits(given) and _holds_data(given):
            self._read(given)

    def _read(self, given: Tensor) -> None:
        with torch.no_grad():
            rows = given.detach().reshape(-1, given.shape[-1])
            rows = rows[:: max(1, len(rows) // _ROWS)].float()
            sizes = rows.square().mean(0).sqrt()
            self._found.append(torch.stack([sizes.amax(), sizes.median()]))

    def scalars(self) -> dict[str, float]:
        """Figures of `flowgrad.measures.flow_passes.COLUMNS`, of the layer with the largest column."""
        found = [pair for pair in map(Tensor.tolist, self._found) if math.isfinite(pair[0])]
        largest, median = max(found, default=(math.nan, math.nan))
        return {"columns_largest": largest, "columns_median": median}

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint: two numbers of each layer."""
        return {"found": [pair.tolist() for pair in self._found]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self._found = [torch.tensor(pair) for pair in state["found"]]


def _fits(given: Tensor) -> bool:
    if given.layout != torch.strided or not given.is_floating_point() or given.dim() < 2:
        return False
    return given.shape[-1] >= _FEWEST_COLUMNS and given.numel() >= _FEWEST_ROWS * given.shape[-1]


def _holds_data(given: Tensor) -> bool:
    if not given.requires_grad:
        return True
    node = given.grad_fn
    while node is not None and node.name().startswith(_SHAPING):
        node = node.next_functions[0][0]
    return node is not None and node.name().startswith("Cat") and any(one is None for one, _ in node.next_functions)
