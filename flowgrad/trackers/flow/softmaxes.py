"""Says whether a softmax within the model runs over the examples of a batch, by the graph of its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from flowgrad.trackers.graph import node_of, nodes

_MOST = 4
"""Number of passes whose graph is walked."""
_COUNTS = ("walked", "read", "over_rows")


class Softmaxes:
    """Counts of passes of the whole model whose graph holds a softmax, and of those where it runs over the examples."""

    def __init__(self) -> None:
        """Start with no pass."""
        self.walked = 0
        """Number of passes with one row of outputs an example whose graph was walked."""
        self.read = 0
        """Passes among them with a softmax on the way to the outputs."""
        self.over_rows = 0
        """Passes among them in which a softmax of several numbers an example runs over the examples instead."""

    def note(self, output: Any) -> None:
        """Read the output of a pass."""
        if self.walked >= _MOST:
            return
        if isinstance(output, tuple | list):
            output = next((part for part in output if isinstance(part, torch.Tensor)), None)
        if node_of(output) is None or output.dim() not in (1, 2) or len(output) < 2:
            return
        found = [_over(node, len(output)) for node in nodes(node_of(output)) if "SoftmaxBackward" in node.name()]
        self.walked += 1
        self.read += bool(found)
        self.over_rows += any(found)

    def scalars(self) -> dict[str, float]:
        """Figures of `flowgrad.measures.flow_passes.SOFTMAXES`."""
        return {
            "softmax_passes": float(self.read),
            "softmax_over_rows": self.over_rows / self.read if self.read else float("nan"),
        }

    def state_dict(self) -> dict[str, int]:
        """State for a checkpoint."""
        return {name: getattr(self, name) for name in _COUNTS}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a state that `state_dict` gave."""
        for name in _COUNTS:
            setattr(self, name, state[name])


def _over(node: Any, rows: int) -> bool:
    """Whether a softmax takes its shares along the first axis, which is as long as the batch, and no other axis is.

    One number an example may be a weight of the example among all, as of the instances of a bag.
    """
    shape = tuple(node._input_metadata[0].shape)
    return node._saved_dim == 0 and len(shape) > 1 and shape[0] == rows and rows not in shape[1:] and max(shape[1:]) > 1
