"""Holds what the callbacks of all libraries have in common: the tracker that they pass rounds to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from flowgrad.trackers.boosting import BoostingTracker


class TrackerCallback:
    """A callback of a tracker. A copy has a tracker of its own: scikit-learn copies an estimator for each fit of a
    search or a cross-validation, and one tracker tells of one training.
    """

    def __init__(self, tracker: BoostingTracker) -> None:
        super().__init__()
        self._tracker = tracker

    @property
    def tracker(self) -> BoostingTracker:
        """The tracker that rounds are passed to."""
        return self._tracker

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(self._tracker.anew())
