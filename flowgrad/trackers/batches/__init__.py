"""The tracker of a loop's batches: rows, targets, order, mode."""

from flowgrad.trackers.batches.tracker import BatchTracker

__all__ = ["BatchTracker"]
