"""Counts rows whose ids recur: with other targets, in another part, and how often chance explains it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Keys = NDArray[np.uint64]

MOST_VALUES = 4096
"""Number of distinct targets up to which two equal ones may be met by chance."""


def value_shares(targets: Floats, times: Floats) -> tuple[Floats, Floats]:
    """Distinct targets, and the share of the rows that each has."""
    values, which = np.unique(targets, return_inverse=True)
    return values, np.bincount(which, weights=times) / times.sum()


def conflicts(keys: Keys, targets: Floats, times: Floats) -> dict[str, float]:
    """Count sets of equal ids that were met with several targets, and the number expected by chance.

    Args:
        keys: one number for the ids of each distinct row (ids and target), sorted, shape (n,).
        targets: theirs.
        times: how often each was met.
    """
    first = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    rows, kinds = np.add.reduceat(times, first), np.diff(np.r_[first, len(keys)])
    again = rows > 1
    found = {"ids_conflict_share": float((kinds > 1).mean())}
    if not again.any():
        return found | {"ids_discord": math.nan, "ids_discord_chance": math.nan, "ids_discord_z": math.nan}
    values, shares = value_shares(targets, times)
    sizes, count = np.unique(rows[again], return_counts=True)
    pure = np.zeros(len(sizes))
    if len(values) <= MOST_VALUES:
        pure = np.array([float((shares**size).sum()) for size in sizes])
    expected = float((count * (1 - pure)).sum())
    deviation = math.sqrt(float((count * pure * (1 - pure)).sum()))
    met = float((kinds[again] > 1).sum())
    return found | {
        "ids_discord": met / float(again.sum()),
        "ids_discord_chance": expected / float(again.sum()),
        "ids_discord_z": (met - expected) / deviation if deviation > 0 else math.nan,
    }


def repeated(keys: Keys, times: Floats) -> float:
    """Share of the rows, in [0, 1], whose ids stand in another row too; arguments as of `conflicts`."""
    first = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    rows = np.add.reduceat(times, first)
    return float(rows[rows > 1].sum() / rows.sum())


def met_by_chance(shares: Floats, rows: float, times: Floats) -> float:
    """Share of rows, in [0, 1], whose ids would stand among so many others if columns were independent.

    Args:
        shares: product over columns of the share that the row's id has in training, shape (n,).
        rows: of training.
        times: how often each of them was met.
    """
    return float((times * -np.expm1(-rows * shares)).sum() / times.sum())


def seen(
    trained: tuple[Keys, Floats, Floats], validated: tuple[Keys, Floats, Floats], *, target: bool
) -> dict[str, float]:
    """Count rows of validation whose ids stand in training, and those whose target does too.

    Args:
        trained: keys, targets and times of the distinct rows of training, sorted by key and target.
        validated: the same of validation.
        target: whether targets of both are known.
    """
    keys, targets, times = trained
    own, own_targets, own_times = validated
    total = float(own_times.sum())
    left, right = np.searchsorted(keys, own, side="left"), np.searchsorted(keys, own, side="right")
    met = right > left
    found = {
        "ids_seen_share": float(own_times[met].sum()) / total,
        "ids_seen_rows": float(own_times[met].sum()),
        "ids_seen_same": math.nan,
        "ids_seen_same_chance": math.nan,
    }
    if not target or not met.any():
        return found
    values, shares = value_shares(targets, times)
    if len(values) > MOST_VALUES:
        shares = np.zeros(len(values))
    place = np.searchsorted(values, targets)
    reach = np.r_[0.0, np.cumsum(shares[place])]
    chance = reach[right] - reach[left]
    at = np.minimum(np.searchsorted(values, own_targets), len(values) - 1)
    known = met & (values[at] == own_targets)
    codes = np.searchsorted(keys, keys) * len(values) + place  # rising, as keys and targets are
    wanted = left * len(values) + at
    found_at = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
    same = (known & (codes[found_at] == wanted))[met]
    weight = own_times[met]
    found["ids_seen_same"] = float((weight * same).sum() / weight.sum())
    found["ids_seen_same_chance"] = float((weight * np.minimum(chance[met], 1.0)).sum() / weight.sum())
    return found
