"""Kinds of attacks, by name."""

from __future__ import annotations

from pipelines.robustness.attack import Kind
from pipelines.robustness.kinds import (
    disks,
    kills,
    ledgers,
    overrides,
    packed,
    ratings,
    recipes,
    reports,
    reproductions,
    rules,
    states,
    sweeps,
    trials,
)

KINDS: dict[str, Kind] = {
    "overrides": Kind(overrides.draw, seconds=90, mebibytes=1500),
    "rules": Kind(rules.draw, seconds=20),
    "reports": Kind(reports.draw, seconds=20),
    "packed": Kind(packed.draw),
    "recipes": Kind(recipes.draw, seconds=20),
    "states": Kind(states.draw, seconds=20),
    "ledgers": Kind(ledgers.draw, seconds=60),
    "ratings": Kind(ratings.draw, seconds=30, mebibytes=1500),
    "reproductions": Kind(reproductions.draw, seconds=30),
    "disks": Kind(disks.draw, seconds=90, training=90.0),
    "sweeps": Kind(sweeps.draw, seconds=20),
    "trials": Kind(trials.draw, seconds=20),
    "kills": Kind(kills.draw, seconds=240, mebibytes=4000),
}
"""Name -> how it is drawn, and its limits."""
