"""Types of the comparison of arms, and of its seeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from omegaconf import MISSING

from pipelines.config.schema.limits import PART, POSITIVE, SEED, SHARE, Limit


@dataclass
class ComparisonSettings:
    """Settings of the comparison of arms."""

    metrics: list[str] = MISSING
    """Metrics tested; the first is the primary one."""
    alpha: Annotated[float, PART] = MISSING
    aa_offset: Annotated[int, Limit(1, 2**32 - 1)] = 1000
    """Offset of the A/A arm's seeds: it trains the baseline on `seeds.test` plus this."""
    overlap: Annotated[float | None, SHARE] = None
    """Share of their rows that the splits of two seeds have in common, for the corrected t-test; null: seeds are no
    splits, and the test is the plain one."""


@dataclass
class EvidenceSettings:
    """Settings of the validated runs that the findings' confidence rests on."""

    shipped: bool = True
    """Whether this project's own runs count, `flowgrad/conf/evidence.csv`."""
    files: list[str] = field(default_factory=list)
    """Further files of trials, as `python -m flowgrad evidence add` writes them."""
    prescribe_refuted: bool = False
    """Whether a fix is prescribed that made things worse more often than better."""


@dataclass
class PruningSettings:
    """Settings of what is left out of a prescription before its proof."""

    enabled: bool = True
    """Whether overrides are left out at all; false: everything that the rounds prescribed is proven."""
    margin: Annotated[float, PART] = 0.02
    """Share of the gain on validation data that may be lost, in the mean over `seeds.pruning`, by all that is left out
    together."""


@dataclass
class AutoSeedSettings:
    """Rule of how many seeds `test: auto` takes, fixed before any of them is seen."""

    pilot: Annotated[list[int], SEED] = field(default_factory=lambda: list(range(901, 907)))
    """Seeds that show how much the arms' difference varies, and are left out of the proof."""
    effect: Annotated[float, POSITIVE] = 0.02
    """Smallest difference worth finding, as a share of the baseline's mean."""
    power: Annotated[float, PART] = 0.8
    """Probability to find it, in (0, 1)."""
    least: Annotated[int, Limit(2, 10**5)] = 6
    most: Annotated[int, Limit(2, 10**5)] = 40
    first: Annotated[int, SEED] = 101
    """First seed of the proof; the others follow it."""


@dataclass
class SeedSettings:
    """Seeds of training. Diagnosis, pruning and proof never share one."""

    diagnosis: Annotated[int, SEED] = 0
    pruning: Annotated[list[int], SEED] = field(default_factory=lambda: [701, 702, 703])
    """Seeds on which overrides are left out, by validation data."""
    test: Annotated[Any, SEED] = field(default_factory=lambda: list(range(101, 111)))
    """Seeds of the proof: a list, or `auto`."""
    control: bool = True
    """Whether the closed loop trains the A/A control beside a change that it proves; where nothing is prescribed, it
    does."""
    auto: AutoSeedSettings = field(default_factory=AutoSeedSettings)
