"""The tracker of a student beside its teacher."""

from flowgrad.trackers.distillation.tracker import DistillationTracker

__all__ = ["DistillationTracker"]
