"""The tracker of a student and its teacher."""

from flowgrad.trackers.distillation.tracker import DistillationTracker

__all__ = ["DistillationTracker"]
