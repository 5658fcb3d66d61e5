"""Types of how arms are compared, and on which seeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class ComparisonSettings:
    """How the arms are compared."""

    metrics: list[str] = MISSING
    """Metrics tested; the first is the primary one."""
    alpha: float = MISSING
    aa_offset: int = 1000
    """The A/A arm trains the baseline on `seeds.test` plus this."""
    overlap: float | None = None
    """Share of their rows that the splits of two seeds have in common, for the corrected t-test; null: seeds are no
    splits, and the test is the plain one."""


@dataclass
class EvidenceSettings:
    """Which validated runs the findings' confidence rests on."""

    shipped: bool = True
    """This project's own, `flowgrad/conf/evidence.csv`."""
    files: list[str] = field(default_factory=list)
    """Further files of trials, as `python -m flowgrad evidence add` writes them."""
    prescribe_refuted: bool = False
    """Whether a fix is prescribed that made things worse more often than better."""


@dataclass
class AutoSeedSettings:
    """How many seeds `test: auto` takes: a rule that is fixed before anything is seen of them."""

    pilot: list[int] = field(default_factory=lambda: list(range(901, 907)))
    """Seeds that show how much the arms' difference varies, and are left out of the proof."""
    effect: float = 0.02
    """Smallest difference worth finding, as a share of the baseline's mean."""
    power: float = 0.8
    """Probability to find it."""
    least: int = 6
    most: int = 40
    first: int = 101
    """The seeds of the proof are this and those that follow."""


@dataclass
class SeedSettings:
    """Seeds of training. Diagnosis and proof never share one."""

    diagnosis: int = 0
    test: Any = field(default_factory=lambda: list(range(101, 111)))
    """Of the proof: a list, or `auto`."""
    auto: AutoSeedSettings = field(default_factory=AutoSeedSettings)
