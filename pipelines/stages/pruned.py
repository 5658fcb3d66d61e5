"""Holds what came of leaving overrides out of a prescription."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields

import pandas as pd

from flowgrad.report import OverrideAblation
from flowgrad.statistics import Ablation
from pipelines.config.compose import key_of

KEPT, DROPPED = "kept", "dropped"
"""Outcomes of leaving a part out."""
_REPORTED = ("n", "loss", "ci_low", "ci_high", "p", "share", "share_low", "share_high")
"""Figures of a test that a report carries."""


@dataclass(frozen=True)
class Part:
    """Overrides that were left out together. The fields of texts and numbers are columns of `shares.csv`."""

    overrides: str
    """The overrides, separated by spaces."""
    rules: str
    """Ids of the rules behind them, separated by spaces."""
    left_out_of: str
    """Arm that they were left out of."""
    arm: str
    """Arm without them; empty where there can be none."""
    outcome: str = KEPT
    because: str = ""
    """The reason for the outcome, where none was measured."""
    lost: float = math.nan
    """Share of the gain that is lost without them and without all that was dropped before."""
    paths: tuple[str, ...] = ()
    found: Ablation | None = None
    """Test of the runs without them; None where there were none."""

    @property
    def decides(self) -> bool:
        """Whether it says of each of its overrides what became of it."""
        return len(self.paths) == 1 or self.outcome == DROPPED


@dataclass(frozen=True)
class Pruned:
    """Overrides that are proven, and those that are not."""

    kept: tuple[str, ...]
    """Overrides that stay, in the order in which they were prescribed."""
    dropped: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    """Every part that was left out, in the order tried; of an override the last one decides."""
    metric: str = ""
    observations: pd.DataFrame | None = None
    """Values of every run on the validation rows; columns `OBSERVATION_COLUMNS`."""
    reason: str = ""
    """The reason why nothing was left out, where nothing could be."""

    def ablations(self, observations_sha256: str) -> dict[str, OverrideAblation]:
        """Make the test of each override as a report carries it, by the override."""
        deciding = {path: part for part in self.parts if part.decides for path in part.paths}
        return {
            override: self._reported(deciding[key_of(override)], observations_sha256)
            for override in (*self.kept, *self.dropped)
            if key_of(override) in deciding
        }

    def _reported(self, part: Part, observations_sha256: str) -> OverrideAblation:
        told = OverrideAblation(
            part.outcome, part.arm, part.left_out_of, because=part.because, observations_sha256=observations_sha256
        )
        if part.found is None:
            return told
        figures = {name: getattr(part.found, name) for name in _REPORTED}
        return OverrideAblation(**{**asdict(told), **figures, "metric": self.metric})

    def table(self) -> pd.DataFrame:
        """Make the table of all parts that were left out, a line a test."""
        unknown = dict.fromkeys((field.name for field in fields(Ablation)), math.nan)
        return pd.DataFrame(
            [
                {"overrides": part.overrides, "outcome": part.outcome, "metric": self.metric}
                | (unknown if part.found is None else asdict(part.found))
                | {name: getattr(part, name) for name in ("lost", "rules", "left_out_of", "arm", "because")}
                for part in self.parts
            ]
        )
