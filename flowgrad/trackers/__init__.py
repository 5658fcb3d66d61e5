"""Trackers watch training. Each is imported when it is asked for, and packages such as torch, xgboost and lightgbm
where they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowgrad.lazy import lazy_names

if TYPE_CHECKING:
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

__getattr__ = lazy_names(
    __name__,
    {
        "BoostingTracker": "flowgrad.trackers.boosting",
        "Tracker": "flowgrad.trackers.base",
        "TrackingStopped": "flowgrad.trackers.watching",
        "TrainingTracker": "flowgrad.trackers.training",
        "joined": "flowgrad.trackers.documents",
        "run_report": "flowgrad.trackers.documents",
        "to_agent_xml": "flowgrad.trackers.documents",
    },
)
