"""Keeps the leaves of a booster's first round, against what its settings ask of each."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from flowgrad.trackers.boosting.forest import Floats, Forest, Integers
from flowgrad.trackers.boosting.told import StatedFacts


def _none() -> Floats:
    return np.zeros(0)


@dataclass(frozen=True)
class FirstRound:
    """Leaves of the first round's trees, of which there are several for several classes; none where it was not seen."""

    tree: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Tree that each leaf is in; shape (leaves,)."""
    sizes: Floats = field(default_factory=_none)
    """Size of each leaf's value, learning rate included."""
    hessians: Floats = field(default_factory=_none)
    """Sum of hessians of each leaf."""
    rows: Floats = field(default_factory=_none)
    """Number of training rows of each leaf; NaN where the library keeps none."""

    @classmethod
    def of(cls, found: Forest, number: Integers) -> FirstRound:
        """Take the leaves of the trees whose `number`, the round, is 1."""
        own = number[found.leaf_tree] == 1
        return cls(found.leaf_tree[own], found.leaf_sizes[own], found.hessians[own], found.rows[own])

    @property
    def hessian(self) -> float:
        """Sum of hessians of all training rows, their number for squared errors; of several trees, the largest one's.
        NaN where it is not known.
        """
        return self._most(self.hessians)

    def room(self, told: StatedFacts) -> dict[str, float]:
        """Figures on how far these settings let the trees grow: `leaf_room` and `leaf_limit`."""
        room = self.hessian / told.least_hessian if told.least_hessian > 0 else math.nan
        # Where rows are weighted, CatBoost shows the sum of their weights.
        rows = self._most(self.rows)
        of_rows = rows / told.least_rows if told.least_rows > 0 and rows.is_integer() else math.nan
        return {"leaf_room": room, "leaf_limit": float(np.fmin(room, of_rows))}

    def gain(self, error: float, told: StatedFacts) -> float:
        """Share of the training rows' squared error that this round took away, from the error after it: of leaves that
        step a share r of the way to their mean residual m, (2 r - r^2) m^2. Where squares are not what trees are fitted
        to, or values hold more than the step, it is the most that a step of that share may take. NaN where rows are
        weighted, as a sum that is no whole number shows: their errors are not to be set beside those of others.

        Args:
            error: mean squared error after the round.
            told: by the library; its rate is r.
        """
        rate = told.rate
        if not 0 < rate < 1 or error <= 0:
            return math.nan
        # LightGBM adds the mean of the target to the first tree's values.
        if not told.squares or told.framework == "lightgbm" or not self.hessian > 0 or len(np.unique(self.tree)) != 1:
            return 1 - (1 - rate) ** 2
        if not math.isclose(self.hessian, round(self.hessian), rel_tol=1e-6):
            return math.nan
        taken = (2 / rate - 1) * float(self.hessians @ self.sizes**2) / self.hessian
        return taken / (error + taken)

    def _most(self, of_leaves: Floats) -> float:
        if not len(self.tree):
            return math.nan
        # LightGBM gives a tree of one leaf no hessians.
        return float(np.max(np.bincount(self.tree, of_leaves))) or math.nan
