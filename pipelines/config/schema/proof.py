"""Types of the comparison of arms, and of its seeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class ComparisonSettings:
    """Settings of the comparison of arms."""

    metrics: list[str] = MISSING
    """Metrics tested; the first is the primary one."""
    alpha: float = MISSING
    aa_offset: int = 1000
    """Offset of the A/A arm's seeds: it trains the baseline on `seeds.test` plus this."""
    overlap: float | None = None
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
class AutoSeedSettings:
    """Rule of how many seeds `test: auto` takes, fixed before any of them is seen."""

    pilot: list[int] = field(default_factory=lambda: list(range(901, 907)))
    """Seeds that show how much the arms' difference varies, and are left out of the proof."""
    effect: float = 0.02
    """Smallest difference worth finding, as a share of the baseline's mean."""
    power: float = 0.8
    """Probability to find it, in (0, 1)."""
    least: int = 6
    most: int = 40
    first: int = 101
    """First seed of the proof; the others follow it."""


@dataclass
class SeedSettings:
    """Seeds of training. Diagnosis and proof never share one."""

    diagnosis: int = 0
    test: Any = field(default_factory=lambda: list(range(101, 111)))
    """Seeds of the proof: a list, or `auto`."""
    auto: AutoSeedSettings = field(default_factory=AutoSeedSettings)
