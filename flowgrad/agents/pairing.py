"""Tests two arms of two run folders over the seeds that both have, after the gate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd

from flowgrad.agents.answers import Test
from flowgrad.agents.plain import plain
from flowgrad.agents.tables import OBSERVATIONS
from flowgrad.errors import StatisticsError
from flowgrad.statistics import PRIMARY, Comparison, reason_of, significance
from flowgrad.verification.recomputation import observations_of
from flowgrad.verification.run_config import RunConfig

LEAST_SEEDS = 3
"""Number of common seeds below which no test is made: of two pairs an interval says nothing."""
BASELINE = "baseline"
_A, _B = "A", "B"


@dataclass(frozen=True)
class Arm:
    """An arm of a run."""

    folder: Path
    name: str
    """Name of the arm; empty: the only one, or `baseline`."""

    def observations(self) -> pd.DataFrame:
        """Values of this arm, one line a seed and metric.

        Raises:
            StatisticsError: it has none.
            EvidenceError: the table cannot be read.
        """
        every = observations_of(self.folder / OBSERVATIONS)
        arms = list(map(str, every["arm"].unique()))
        name = self.name or (arms[0] if len(arms) == 1 else BASELINE)
        own = every[every["arm"] == name]
        if own.empty:
            told = ", ".join(arms[:20])
            raise StatisticsError(
                f"{self.folder / OBSERVATIONS}: there is no arm {name!r}; there are {told}; name --arm"
            )
        if not pd.api.types.is_integer_dtype(own["seed"]):
            raise StatisticsError(f"{self.folder / OBSERVATIONS}: its seeds are no whole numbers, so they pair nothing")
        return own


def tested(one: Arm, other: Arm) -> list[Test]:
    """Test the metrics that both runs have, adjusted together; the seed is the unit.

    Raises:
        StatisticsError: the values are no pairs: too few common seeds, B is A, the runs hold splits that overlap by
            different shares, or no metric is common.
        EvidenceError: a table cannot be read.
    """
    before, after = one.observations(), other.observations()
    seeds = sorted(set(before["seed"]) & set(after["seed"]))
    if len(seeds) < LEAST_SEEDS:
        raise StatisticsError(
            f"A and B have {len(seeds)} seed(s) in common; a paired test needs {LEAST_SEEDS} at least"
        )
    metrics, overlap, alpha = _plan(one, other, before, after)
    both = pd.concat([_named(before, _A, seeds, metrics), _named(after, _B, seeds, metrics)], ignore_index=True)
    _refuse_copies(both, metrics)
    planned = [Comparison("B_vs_A", _A, _B, "compare")]
    table = significance(both, planned, metrics, alpha, power=None, overlap=overlap)
    return [_told(line, both, seeds) for _, line in table[table["test"].isin(PRIMARY)].iterrows()]


def _plan(one: Arm, other: Arm, before: pd.DataFrame, after: pd.DataFrame) -> tuple[list[str], float | None, float]:
    """Metrics that are tested, the overlap of splits, and the level: those of the configs, where these say them."""
    configs = [RunConfig.beside(arm.folder) for arm in (one, other)]
    overlaps = [None if config is None else config.of("comparison", "overlap") for config in configs]
    if overlaps[0] != overlaps[1]:
        raise StatisticsError(f"the splits of A overlap by {overlaps[0]}, those of B by {overlaps[1]}: no pairs")
    if not (overlaps[0] is None or (isinstance(overlaps[0], int | float) and 0 < overlaps[0] < 1)):
        raise StatisticsError(f"comparison.overlap is {overlaps[0]!r} in the configs, and must lie between 0 and 1")
    shared = [name for name in before["metric"].unique() if name in set(after["metric"])]
    if not shared:
        raise StatisticsError(f"A has the metrics {_few(before)}, and B {_few(after)}: none is common")
    decided = [] if configs[0] is None else [name for name in configs[0].metrics if name in shared]
    level = None if configs[0] is None else configs[0].of("comparison", "alpha")
    alpha = float(level) if isinstance(level, int | float) and 0 < level < 1 else 0.05
    return decided or shared, overlaps[0], alpha


def _few(observations: pd.DataFrame) -> str:
    return ", ".join(map(str, observations["metric"].unique()[:10]))


def _named(observations: pd.DataFrame, arm: str, seeds: list[int], metrics: list[str]) -> pd.DataFrame:
    own = observations[observations["seed"].isin(seeds) & observations["metric"].isin(metrics)]
    return own.assign(arm=arm, experiment="compare")


def _refuse_copies(both: pd.DataFrame, metrics: list[str]) -> None:
    wide = [both[both["arm"] == arm].groupby(["metric", "seed"])["value"].first() for arm in (_A, _B)]
    if wide[0].index.equals(wide[1].index) and wide[0].equals(wide[1]):
        raise StatisticsError(f"every value of B in {', '.join(metrics)} is A's to the last bit: one run, told twice")


def _told(line: pd.Series, both: pd.DataFrame, seeds: list[int]) -> Test:
    told: dict[str, Any] = {
        "metric": str(line["metric"]),
        "test": str(line["test"]),
        "n": int(line["n"]),
        "seeds": [int(seed) for seed in seeds],
        "before": float(line["baseline"]),
        "after": float(line["treated"]),
        **{name: float(line[name]) for name in ("difference", "ci_low", "ci_high", "p", "p_adjusted")},
        "wins": int(line["wins"]),
        "higher_is_better": bool(both.loc[both["metric"] == line["metric"], "higher_is_better"].iloc[0]),
        "verdict": str(line["verdict"]),
    }
    reason = reason_of(line)
    return cast(Test, plain(told | ({"reason": reason} if reason else {})))
