"""What a tracker saw: named scalars and per-row tables, with the vocabulary that declares them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd


@dataclass(frozen=True)
class Measure:
    """One name that a tracker measures. Rules may use these names and no others."""

    name: str
    """Identifier used in rule conditions and as `metric/@name` in reports."""
    unit: str
    """`share` (0..1), `count`, `ratio`, `cosine` (-1..1), `loss`, `norm`, `flag` (0 or 1), `epochs`, ..."""
    description: str
    """One sentence: what it is, and what it is not."""
    per_row: bool = False
    """True for a column of the row table (usable in a rule's `rows` condition), False for a scalar."""


@dataclass(frozen=True)
class Measurements:
    """All that one tracker saw of one subject up to one step."""

    kind: str
    """Kind of subject, which is also the rules' `subject`: `embedding`, `training`, ..."""
    subject: str
    """Name of what was watched, e.g. `item_emb`; becomes `report/@layer`."""
    scalars: Mapping[str, float]
    """Name -> value. A value that is not known yet is NaN, which makes every comparison on it false."""
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """`rows`: one line per table row, indexed by row id, one column per `per_row` measure (NaN: not known)."""
    step: int = 0
    """Optimizer steps seen."""
