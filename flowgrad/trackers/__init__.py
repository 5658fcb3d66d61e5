"""Trackers watch training. Packages such as torch, xgboost and lightgbm are imported where they are used."""

from flowgrad.trackers.base import Tracker
from flowgrad.trackers.boosting import BoostingTracker
from flowgrad.trackers.documents import joined, run_report, to_agent_xml
from flowgrad.trackers.training import TrainingTracker
from flowgrad.trackers.watching import TrackingStopped

__all__ = [
    "BoostingTracker",
    "Tracker",
    "TrackingStopped",
    "TrainingTracker",
    "joined",
    "run_report",
    "to_agent_xml",
]
