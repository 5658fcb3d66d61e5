"""The tracker of gradient boosters; each library's own is imported where it is used."""

from flowgrad.trackers.boosting.tracker import BoostingTracker

__all__ = ["BoostingTracker"]
