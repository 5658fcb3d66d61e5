"""Types of what watches a run."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING


@dataclass
class TrackerSettings:
    """What is watched."""


@dataclass
class BoostingTrackerSettings(TrackerSettings):
    """A booster and its columns."""

    window: int = 25
    """Rounds a window of the gains by column."""
    features: bool = False
    """Look for terms of two columns that are missing, too."""
    written_after: list[str] = MISSING
    """Columns that are written down after the target, as whoever knows the table says."""
    known_in_time: list[str] = MISSING
    """Columns that are known when a prediction is made, however much they tell."""


@dataclass
class FlowTrackerSettings(TrackerSettings):
    """The tensors of a network."""

    schedule: int | None = None
    """Look at every so-many-th step; null: by the tracker's own schedule."""


@dataclass
class DistillationTrackerSettings(TrackerSettings):
    """The layers of a student."""

    probe: int = MISSING
    """Validation rows that both models are compared on, at most."""


@dataclass
class EmbeddingTrackerSettings(TrackerSettings):
    """Embedding tables, by attribute name of the model."""

    tables: list[str] = MISSING
    auto_fix: bool = False
    """Damp the gradients of zombie rows while training; every arm then trains with trackers attached."""
