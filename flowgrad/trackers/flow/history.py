"""Keeps figures over time, in a bounded space."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np
import torch

LOOKS = 256
WINDOWS = 512
RECENT = 16
"""Number of losses kept before the first that is not finite."""


class History:
    """Figures of the sampled steps, or looks, shape (looks, figures, tensors). When full, every second one is dropped,
    the first one kept, so that the past gets coarser and the newest ones stay as they were.
    """

    def __init__(self, figures: int, tensors: int, capacity: int = LOOKS) -> None:
        """Start empty."""
        self._capacity = capacity
        self._steps: list[int] = []
        self._values = np.full((capacity, figures, tensors), math.nan, dtype=np.float32)

    def __len__(self) -> int:
        return len(self._steps)

    def append(self, step: int, values: np.ndarray) -> None:
        """Note a sampled step: `values` has shape (figures, tensors)."""
        if len(self._steps) == self._capacity:
            kept = self._values[::2].copy()
            self._steps = self._steps[::2]
            self._values[: len(kept)] = kept
        self._values[len(self._steps)] = values
        self._steps.append(step)

    @property
    def steps(self) -> np.ndarray:
        """Number of each sampled step kept, shape (looks,)."""
        return np.array(self._steps, dtype=int)

    def of(self, figure: int) -> np.ndarray:
        """One figure at the sampled steps kept, shape (looks, tensors)."""
        return self._values[: len(self._steps), figure].astype(float)

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {"steps": list(self._steps), "values": torch.from_numpy(self._values[: len(self._steps)].copy())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self._steps = list(state["steps"])
        self._values[: len(self._steps)] = state["values"].cpu().numpy()


class Losses:
    """Every loss of a run in at most `WINDOWS` windows of equal length, which double when there are too many."""

    def __init__(self) -> None:
        """Start without a loss."""
        self.first = math.nan
        self.nonfinite = 0
        self.told = 0
        """Number of losses noted."""
        self.lowest = math.nan
        """Lowest finite loss."""
        self.broken_at = 0
        """Number of the first loss that was not finite, from 1; 0 where all were."""
        self.recent: deque[float] = deque(maxlen=RECENT)
        """Last finite losses before that."""
        self._width = 1
        self._count: list[int] = []
        self._mean: list[float] = []
        self._square: list[float] = []

    def add(self, loss: float) -> None:
        """Note the loss of the next step."""
        self.told += 1
        if math.isnan(self.first):
            self.first = loss
        if not math.isfinite(loss):
            self.nonfinite += 1
            self.broken_at = self.broken_at or self.told
            return
        if not loss >= self.lowest:
            self.lowest = loss
        if not self.broken_at:
            self.recent.append(loss)
        if not self._count or self._count[-1] == self._width:
            if len(self._count) == WINDOWS:
                self._halve()
            self._count.append(0)
            self._mean.append(0.0)
            self._square.append(0.0)
        self._count[-1] += 1
        off = loss - self._mean[-1]
        self._mean[-1] += off / self._count[-1]
        self._square[-1] += off * (loss - self._mean[-1])

    def _halve(self) -> None:
        n, m, s = self.windows
        total = n[::2] + n[1::2]
        mean = (n[::2] * m[::2] + n[1::2] * m[1::2]) / total
        square = s[::2] + s[1::2] + (m[1::2] - m[::2]) ** 2 * n[::2] * n[1::2] / total
        self._width *= 2
        self._count, self._mean, self._square = [int(c) for c in total], mean.tolist(), square.tolist()

    @property
    def windows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Number of finite losses in each window, their mean, and the sum of their squared distances from it."""
        return np.array(self._count, dtype=float), np.array(self._mean), np.array(self._square)

    @property
    def before_break(self) -> list[float]:
        """Means of the windows of losses before the first that was not finite, and the last of these losses one by one;
        all where none broke.
        """
        told = self.broken_at - 1 if self.broken_at else self.told
        recent = list(self.recent)
        count, mean, _ = self.windows
        return [*mean[np.cumsum(count) <= told - len(recent)].tolist(), *recent]

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {
            "first": self.first,
            "nonfinite": self.nonfinite,
            "width": self._width,
            "count": list(self._count),
            "mean": list(self._mean),
            "square": list(self._square),
            "told": self.told,
            "lowest": self.lowest,
            "broken_at": self.broken_at,
            "recent": list(self.recent),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self.first, self.nonfinite, self._width = state["first"], state["nonfinite"], state["width"]
        self._count, self._mean, self._square = list(state["count"]), list(state["mean"]), list(state["square"])
        self.told, self.lowest, self.broken_at = state["told"], state["lowest"], state["broken_at"]
        self.recent = deque(state["recent"], maxlen=RECENT)
