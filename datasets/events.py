"""Puts interactions in order of time, and splits them for models that predict what a user does next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.ratings import Ratings
from datasets.tables import TEST, TRAIN, VALIDATION
from flowgrad.errors import FlowGradError

SPLITS = ("leave_one_out", "time")
_LEAST = 3
"""Number of events of a user who has one to test and one to validate on."""


@dataclass(frozen=True, eq=False)
class Events:
    """Interactions in order of user and then of time; equal times keep the order of the rows of the source.

    A user may meet an item again: each time is an event of its own.
    """

    users: NDArray[np.int64]
    """Code of the user of each event, shape (events,)."""
    items: NDArray[np.int64]
    """Code of the item of each event, shape (events,)."""
    parts: NDArray[np.int64]
    """`datasets.tables.TRAIN`, `VALIDATION` or `TEST`, shape (events,): never falls along a user's events."""


def split_events(
    ratings: Ratings, split: str = "leave_one_out", *, validation_share: float = 0.1, test_share: float = 0.1
) -> Events:
    """Split each user's events by time.

    - `leave_one_out`: each user's last event to test, the one before to validation. Users with fewer than three events
      are trained on only. Where no pair occurs twice it is `datasets.ratings.leave_one_out`.
    - `time`: the latest `test_share` of all events to test, the latest `validation_share` of the others to validation;
      events of one moment stay together, on the earlier side of a border.

    Args:
        ratings: with times; their values are not read.
        split: one of `SPLITS`.
        validation_share: share of all events, `time` only.
        test_share: share of all events, `time` only.

    Raises:
        FlowGradError: an unknown split, or a part that would be empty.
    """
    if split not in SPLITS:
        raise FlowGradError(f"dataset.split={split!r}: a user's next item is predicted; use {' or '.join(SPLITS)}")
    frame = ratings.frame
    user, item, time = (frame[name].to_numpy() for name in ("user", "item", "timestamp"))
    order = np.lexsort((time, user))  # stable
    user, item, time = user[order], item[order], time[order]
    parts = _last_apart(user) if split == "leave_one_out" else _late_apart(time, validation_share, test_share)
    for name, part in (("training", TRAIN), ("validation", VALIDATION), ("test", TEST)):
        if not (parts == part).any():
            raise FlowGradError(
                f"dataset.split={split} on {ratings.name!r}: its {len(user)} events leave the {name} part empty; "
                f"{'no user has three events' if split == 'leave_one_out' else 'they stand at too few moments'}"
            )
    return Events(user, item, parts)


def _last_apart(user: NDArray[np.int64]) -> NDArray[np.int64]:
    ends = np.flatnonzero(np.diff(user, append=-1))
    counts = np.diff(ends, prepend=-1)
    last = ends[counts >= _LEAST]
    parts = np.full(len(user), TRAIN)
    parts[last], parts[last - 1] = TEST, VALIDATION
    return parts


def _late_apart(time: NDArray[np.generic], validation_share: float, test_share: float) -> NDArray[np.int64]:
    ordered = np.sort(time)
    n_test, n_validation = round(test_share * len(time)), round(validation_share * len(time))
    first_test = ordered[len(time) - 1 - n_test]
    first_validation = ordered[max(0, len(time) - 1 - n_test - n_validation)]
    return np.where(time > first_test, TEST, np.where(time > first_validation, VALIDATION, TRAIN))
