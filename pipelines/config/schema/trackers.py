"""Types of the trackers of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from omegaconf import MISSING

from pipelines.config.schema.limits import COUNT, TIMES, Limit


@dataclass
class TrackerSettings:
    """Settings of a tracker."""


@dataclass
class BoostingTrackerSettings(TrackerSettings):
    """A booster and its columns."""

    window: Annotated[int, TIMES] = 25
    """Number of rounds in a window of the gains by column."""
    features: bool = False
    """Whether missing terms of two columns are searched for too."""
    written_after: list[str] = MISSING
    """Columns that are written down after the target, as the user states."""
    known_in_time: list[str] = MISSING
    """Columns that are known when a prediction is made, however well they predict."""


@dataclass
class FlowTrackerSettings(TrackerSettings):
    """The tensors of a network."""

    schedule: Annotated[int | None, COUNT] = None
    """Period of the sampled steps; null: the tracker's own schedule."""


@dataclass
class DistillationTrackerSettings(TrackerSettings):
    """The layers of a student."""

    probe: Annotated[int, Limit(8, 10**9)] = MISSING
    """Number of validation rows that both models are compared on, at most."""


@dataclass
class EmbeddingTrackerSettings(TrackerSettings):
    """Embedding tables, by attribute name of the model."""

    tables: list[str] = MISSING
