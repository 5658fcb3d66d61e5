"""Trackers watch training. The one for embeddings needs torch and is imported where it is used."""

from flowgrad.trackers.base import Tracker
from flowgrad.trackers.training import TrainingTracker

__all__ = ["Tracker", "TrainingTracker"]
