"""Types of known faults that are injected into a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from omegaconf import MISSING

from pipelines.config.schema.limits import FROM_0, SCALE, SEED, SHARE


@dataclass
class FaultSettings:
    """A known fault, injected to see whether it is found. No fix may touch it."""

    kind: str = MISSING
    """Kind of the fault; see `faults.py` of each family in `pipelines/trainers`."""
    strength: Annotated[float, SCALE] = 0.0
    """Strength of the fault; each kind documents its unit."""
    seed: Annotated[int, SEED] = 0
    """Seed of all that is drawn for it, such as its rows; the same for every arm and seed of training."""


@dataclass
class RowFaultSettings(FaultSettings):
    """A fault of rows of an embedding table."""

    table: str = "item_emb"
    """Name of the table whose rows get it."""
    share: Annotated[float, SHARE] = 0.05
    """Share, in (0, 1], of the rows with at least `least` training ratings."""
    least: Annotated[int, FROM_0] = 20
    """Number of training ratings of a row, at least."""


@dataclass
class LayerFaultSettings(FaultSettings):
    """Damage to one layer of a student."""

    layer: str = MISSING


@dataclass
class ColumnFaultSettings(FaultSettings):
    """A fault of columns that are added to a table."""

    noise: Annotated[float, SCALE] = 0.0
    """Standard deviation of the noise on the target, or on a copied column, as a ratio to its own."""
