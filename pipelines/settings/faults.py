"""Types of known faults that are laid into a run."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING


@dataclass
class FaultSettings:
    """A known fault, put in to see whether it is found. No fix may touch it."""

    kind: str = MISSING
    """See `faults.py` in `pipelines/training`, `pipelines/boosting` and `pipelines/distillation`."""
    strength: float = 0.0
    """What it means depends on the kind."""
    seed: int = 0
    """Of all that is drawn for it, such as which rows; the same for every arm and seed of training."""


@dataclass
class RowFaultSettings(FaultSettings):
    """A fault of rows of an embedding table."""

    table: str = "item_emb"
    """Table whose rows get it."""
    share: float = 0.05
    """Of the rows with at least `least` training ratings."""
    least: int = 20
    """Training ratings."""


@dataclass
class LayerFaultSettings(FaultSettings):
    """Damage to one layer of a student."""

    layer: str = MISSING


@dataclass
class ColumnFaultSettings(FaultSettings):
    """A fault of columns that are added to a table."""

    noise: float = 0.0
    """Standard deviation of what is added to the target, or to a copied column, over its own."""
