"""Declares the types of measurements: named scalars and per-row tables, with the vocabulary that declares their
names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowgrad.lazy import LazyModule

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")  # imported where a table is made


@dataclass(frozen=True)
class Measure:
    """One name that a tracker measures. Rules may use these names and no others."""

    name: str
    """Identifier used in rule conditions and as `metric/@name` in reports."""
    unit: str
    """Unit of the measure: `share` (0..1), `count`, `ratio`, `cosine` (-1..1), `loss`, `norm`, `flag` (0 or 1),
    `epochs`, ...
    """
    description: str
    """One sentence that says what the measure is, and what it is not."""
    per_row: bool = False
    """True for a column of the row table (usable in a rule's `rows` condition), False for a scalar."""
    on_evaluation: bool = False
    """True where the figure rests on an evaluation: findings that use it say which metric was judged, and which way."""


@dataclass(frozen=True)
class Coverage:
    """Records of what a tracker saw, and of what it could not see."""

    seen: Mapping[str, float] = field(default_factory=dict)
    """Count of each kind of thing seen, by name: `steps`, `lookups`, `looks`, `validations`, ..."""
    unseen: Mapping[str, str] = field(default_factory=dict)
    """Reason why each thing was not seen, and how it can be, by name: `validation_loss`, `sampling_correction`, ..."""
    blind: str = ""
    """The reason why no verdict can rest on what was seen; empty where the tracker could have seen a fault."""
    stopped: bool = False
    """Whether the tracker stopped watching within the run: figures are of its first steps, and no rule judges them."""


@dataclass(frozen=True)
class Judged:
    """The evaluation that verdicts rest on."""

    metric: str
    """Name of the metric, e.g. `ndcg@10`."""
    direction: str
    """Direction of the metric: `higher` or `lower` is better; `unknown` where it was not given."""
    on: str = ""
    """Name of the evaluated set, e.g. `valid`."""
    model: str = ""
    """Name of the model judged: `last_iteration`, or the `best_iteration` that early stopping keeps."""

    def __str__(self) -> str:
        way = f" ({self.direction} is better)" if self.direction != "unknown" else " (of unknown direction)"
        return f"{self.metric}{way}{f' on {self.on}' if self.on else ''}"


@dataclass(frozen=True)
class Measurements:
    """Everything that one tracker measured of one subject up to one step."""

    kind: str
    """Kind of subject, which is also the rules' `subject`: `embedding`, `training`, ..."""
    subject: str
    """Name of the watched thing, e.g. `item_emb`; becomes `report/@layer`."""
    scalars: Mapping[str, float]
    """Scalars by name. A value that is not known yet is NaN, which makes every comparison on it false."""
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Table `rows`: one line per table row, indexed by row id, one column per `per_row` measure (NaN: not known)."""
    step: int = 0
    """Number of optimizer steps seen."""
    coverage: Coverage = field(default_factory=Coverage)
    """Coverage: what was seen, and what could not be."""
    judged: Judged | None = None
    """The evaluation that figures marked `on_evaluation` rest on; None where there is none."""
    framework: str = ""
    """Name of the library that trains: `torch`, `xgboost`, `lightgbm`, `catboost`; empty where there is none. Fixes are
    worded for it.
    """
