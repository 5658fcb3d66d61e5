"""The tracker of what a loop feeds its model: rows, targets, order, mode."""

from flowgrad.trackers.batches.tracker import BatchTracker

__all__ = ["BatchTracker"]
