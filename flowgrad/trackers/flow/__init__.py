"""The tracker of whole networks: a look at every tensor, at the steps that a schedule names."""

from flowgrad.trackers.flow.tracker import FlowTracker

__all__ = ["FlowTracker"]
