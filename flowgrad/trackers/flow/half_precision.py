"""Counts entries of weights of 16 bits that a step leaves as they were, because what it would add is rounded away."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

HALF = (torch.bfloat16, torch.float16)
_NAMES = ("entries", "of", "still")


class HalfPrecision:
    """Sums over sampled steps of the entries of trained weights of 16 bits that have a gradient."""

    def __init__(self) -> None:
        """Start with no step."""
        self.entries = 0.0
        """Share of the entries that ask for a gradient that are of 16 bits, at the last sampled step."""
        self.of = 0
        """Number of sampled steps with such weights."""
        self.still = 0.0
        """Sum over these steps of the share of entries with a gradient that did not change."""

    def note(self, parameters: Sequence[torch.Tensor], still: np.ndarray) -> None:
        """Note a sampled step.

        Args:
            parameters: all that are watched.
            still: share of the entries with a gradient that the step left as they were, of each tensor of 16 bits,
                shape (tensors,); NaN of others.
        """
        known = ~np.isnan(still)
        if not known.any():
            return
        sizes = np.array([one.numel() if one.requires_grad else 0 for one in parameters], dtype=float)
        self.entries = float(sizes[known].sum() / sizes.sum())
        self.of += 1
        self.still += float((still[known] * sizes[known]).sum() / sizes[known].sum())

    def scalars(self) -> dict[str, float]:
        """Figures of `flowgrad.measures.flow_passes.HALVES`."""
        return {"half_entries": self.entries, "half_unmoved": self.still / self.of if self.of else math.nan}

    def state_dict(self) -> dict[str, float]:
        """State for a checkpoint."""
        return {name: getattr(self, name) for name in _NAMES}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from a state that `state_dict` gave."""
        self.entries, self.of, self.still = float(state["entries"]), int(state["of"]), float(state["still"])


def share_still(moved: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Share of the entries with a gradient that a step did not move, 0-dim; NaN where none has one.

    >>> share_still(torch.tensor([0.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, 0.0])).item()
    0.5
    """
    asked = gradient != 0
    return (asked & (moved == 0)).sum() / asked.sum()
