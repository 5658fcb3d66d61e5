"""The tracker of whole networks: it samples every tensor, at the steps that a schedule names."""

from flowgrad.trackers.flow.tracker import FlowTracker

__all__ = ["FlowTracker"]
