"""Losses of two parts with constant weights: what a teacher says, and labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

LABELS = "sound/cross_entropy/mean"
"""The part of the labels."""
LEAST = 6
"""Looks that two weights are solved from."""
ROUNDINGS = 3.0
"""Roundings of both parts that the told loss may be off by."""
LEAST_ANGLE = 1e-3
"""Sine between the courses of both parts; where they go together, weights cannot be told apart."""


def mixture(looks: Sequence[Mapping[str, Any]]) -> tuple[str, float, float] | None:
    """Key of the teacher's part, its weight, and that of the labels; None where no such sum is the told loss.

    Looks hold `told` and `values`, see `loss_audit`. Temperatures are read off parts without their square.
    """
    if len(looks) < LEAST or any(LABELS not in look["values"] for look in looks):
        return None
    told = np.array([look["told"] for look in looks])
    labels = np.array([look["values"][LABELS] for look in looks])
    found: dict[str, tuple[str, float, float]] = {}
    for key in looks[0]["values"]:
        kind, family, reduction = key.split("/")
        if not family.startswith("teachers_") or family.endswith("_squared") or reduction not in ("mean", "each"):
            continue
        if any(key not in look["values"] for look in looks):
            continue
        weights = _weights(told, np.array([look["values"][key] for look in looks]), labels)
        if weights is not None:
            found.setdefault(kind, (key, *weights))
    return next(iter(found.values())) if len(found) == 1 else None


def _weights(told: np.ndarray, part: np.ndarray, labels: np.ndarray) -> tuple[float, float] | None:
    """Positive weights of both parts, each of shape (looks, 2) as value and rounding; None where they do not fit."""
    table = np.stack([part[:, 0], labels[:, 0]], 1)
    lengths = np.linalg.norm(table, axis=0)
    if not lengths.all() or np.linalg.svd(table / lengths, compute_uv=False)[-1] < LEAST_ANGLE:
        return None
    first, second = np.linalg.lstsq(table, told, rcond=None)[0]
    if not (first > 0 and second > 0):
        return None
    allowed = ROUNDINGS * (first * part[:, 1] + second * labels[:, 1])
    return (float(first), float(second)) if (np.abs(told - table @ (first, second)) <= allowed).all() else None


def heat(key: str) -> float:
    """Temperature of a teacher's part; NaN where its outputs were probabilities already."""
    end = key.split("/")[1].rsplit("_", 1)[-1]
    try:
        return float(end)
    except ValueError:
        return math.nan
