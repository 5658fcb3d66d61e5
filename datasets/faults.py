"""Puts known faults into real ratings, so that a diagnosis can be scored against the truth.

Each function takes training ratings as arrays of one length and the rows to spoil, and gives new arrays; nothing is
changed in place. Validation and test ratings are left alone: a fault is of the training.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from flowgrad.errors import FlowGradError

Ids = NDArray[np.int64]
Ratings = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TrainingRatings:
    """Ratings to train on."""

    users: Ids
    """Codes of users, shape (n,)."""
    items: Ids
    """Codes of items, shape (n,)."""
    ratings: Ratings
    """Ratings, shape (n,)."""

    def side(self, side: str) -> Ids:
        """Codes of the `users` or the `items`."""
        return self.users if side == "users" else self.items

    def take(self, index: Ids) -> TrainingRatings:
        """Select the ratings at `index`."""
        return TrainingRatings(self.users[index], self.items[index], self.ratings[index])


def choose_rows(exposures: Ids, share: float, least: int, rng: np.random.Generator) -> Ids:
    """Choose ids of the rows to spoil, ascending: a `share` of those with at least `least` exposures, spread evenly
    over their popularity (one is drawn from each stretch of 1 / share rows in order of exposures).

    Raises:
        FlowGradError: `share` outside (0, 1], or no row is exposed often enough.
    """
    if not 0 < share <= 1:
        raise FlowGradError(f"share={share}: must lie in (0, 1]")
    eligible = np.flatnonzero(exposures >= least)
    if not len(eligible):
        raise FlowGradError(f"least={least}: no row has so many training ratings (the most is {exposures.max()})")
    order = eligible[np.argsort(exposures[eligible], kind="stable")]
    count = max(1, round(share * len(order)))
    edges = np.linspace(0, len(order), count + 1).astype(int)
    chosen = [order[rng.integers(low, high)] for low, high in pairwise(edges)]
    return np.sort(np.array(chosen))


def random_labels(data: TrainingRatings, side: str, rows: Ids, rng: np.random.Generator) -> TrainingRatings:
    """Draw each rating of `rows` anew, evenly from the values that occur in the data."""
    spoiled = np.isin(data.side(side), rows)
    ratings = data.ratings.copy()
    ratings[spoiled] = rng.choice(np.unique(data.ratings), spoiled.sum())
    return TrainingRatings(data.users, data.items, ratings)


def flipped_labels(
    data: TrainingRatings, side: str, rows: Ids, rng: np.random.Generator, share: float = 1.0
) -> TrainingRatings:
    """Mirror a `share` of the ratings of `rows` (all by default) at the middle of the scale: 5 becomes 1."""
    spoiled = np.isin(data.side(side), rows) & (rng.random(len(data.ratings)) < share)
    ratings = np.where(spoiled, data.ratings.min() + data.ratings.max() - data.ratings, data.ratings)
    return TrainingRatings(data.users, data.items, ratings)


def never_sampled(data: TrainingRatings, side: str, rows: Ids) -> TrainingRatings:
    """Leave out the ratings of `rows`."""
    return data.take(np.flatnonzero(~np.isin(data.side(side), rows)))


def oversampled(data: TrainingRatings, side: str, rows: Ids, times: int) -> TrainingRatings:
    """Repeat each rating of `rows` so that it stands `times` over."""
    repeats = np.where(np.isin(data.side(side), rows), times, 1)
    return data.take(np.repeat(np.arange(len(repeats)), repeats))
