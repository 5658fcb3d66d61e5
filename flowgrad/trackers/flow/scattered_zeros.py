"""Counts entries of weights that are exactly zero among others that are not, as pruning leaves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from flowgrad.trackers.flow.look import apart, fetch
from flowgrad.trackers.flow.parameters import Watched, unit_axis

_WORTH = 0.1
"""Share of such zeros from which the weights are read at sampled steps as well."""
_FEWEST = 256
"""Number of other entries below which it cannot be told whether small ones are missing among them."""
_GAP = 0.1
"""Ratio of the smallest size of these to their median from which small ones are missing: of so many that are drawn from
a normal or an even distribution, one in a million layers reaches it."""


class ScatteredZeros:
    """Reads the weights before the first step, before the first one behind every epoch and, where there are such zeros,
    before those that are sampled. What stands between two steps does not count: a mask that is put on before each pass
    is off behind the step, and a network that was tuned without one may be pruned once more at the end.

    Rows of a weight that are zero as a whole (padding, a layer that begins at zero) do not count. Zeros that are there
    before the first step are those of pruning where the smallest of the other entries are missing, too, and not all of
    these have one size; else an initialiser has drawn them so, and the weight is passed over.
    """

    def __init__(self, watched: Sequence[Watched]) -> None:
        """Start without a reading."""
        self._weights = [one.parameter for one in watched if unit_axis(one) is not None]
        self._size = np.array([one.numel() for one in self._weights], dtype=float)
        self._passed_over = np.zeros(len(self._weights), dtype=bool)
        self._most = np.zeros(len(self._weights))
        """Largest number of zeros of each weight."""
        self._later = np.zeros(len(self._weights))
        """Number of them before the last step that was read."""
        self._begun = False
        self._asked = True
        """Whether the weights are read before the next step in any case."""

    def end_epoch(self) -> None:
        """Note that an epoch ends: what prunes, prunes between two epochs."""
        self._asked = True

    def before(self, *, due: bool) -> None:
        """Note that a step is about to be taken, which is sampled where it is `due`."""
        if not self._weights or not (self._asked or (due and self._followed)):
            return
        self._asked = False
        self._later = np.where(self._passed_over, 0.0, _scattered(self._weights))
        if not self._begun:
            self._begun = True
            many = self._later > _WORTH * self._size
            drawn = [bool(much) and _is_drawn(weight) for weight, much in zip(self._weights, many, strict=True)]
            self._passed_over = np.array(drawn)
            self._later = self._later * ~self._passed_over
        self._most = np.maximum(self._most, self._later)

    @property
    def _followed(self) -> bool:
        return bool((self._most > _WORTH * self._size).any())

    def scalars(self) -> dict[str, float]:
        """Figures of `flowgrad.measures.flow_passes.ZEROS`, of the weight that has lost the most zeros."""
        if not self._weights:
            return {"zeros_most": 0.0, "zeros_left": 0.0}
        worst = int((self._most - self._later).argmax())
        return {
            "zeros_most": float(self._most[worst] / self._size[worst]),
            "zeros_left": float(self._later[worst] / self._size[worst]),
        }

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {
            "most": self._most.tolist(),
            "later": self._later.tolist(),
            "passed_over": self._passed_over.tolist(),
            "begun": self._begun,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self._most, self._later = np.array(state["most"], float), np.array(state["later"], float)
        self._passed_over, self._begun = np.array(state["passed_over"], bool), state["begun"]


@apart
def _scattered(weights: Sequence[torch.Tensor]) -> np.ndarray:
    """Number of zeros of each weight in rows that hold other numbers too, shape (weights,)."""
    by_device: dict[torch.device, list[int]] = {}
    for i, weight in enumerate(weights):
        by_device.setdefault(weight.device, []).append(i)
    found = np.zeros(len(weights))
    for group in by_device.values():
        found[group] = fetch(torch.stack([_zeros(weights[i].detach()) for i in group]))
    return found


def _zeros(weight: torch.Tensor) -> torch.Tensor:
    rows = weight.flatten(1)
    others = (rows != 0).sum(1)
    return ((rows.shape[1] - others) * (others > 0)).sum().double()


@apart
def _is_drawn(weight: torch.Tensor) -> bool:
    """Whether an initialiser may have left the zeros of a weight: the other entries come as near to zero as any, are
    too few to tell, or are all of one size.
    """
    sizes = weight.detach().abs().flatten()
    sizes = sizes[sizes > 0].float()
    if len(sizes) < _FEWEST:
        return True
    least, most = (float(one) for one in torch.aminmax(sizes))
    return least < _GAP * float(sizes.median()) or most - least < 1e-6 * most
