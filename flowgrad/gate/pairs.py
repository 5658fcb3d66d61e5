"""Checks pairs of user and item in a split log: whether the tested pairs were trained on."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowgrad.gate.copies import EXAMPLES
from flowgrad.gate.objection import DOWNGRADED, NOTED, REFUSED, Objection
from flowgrad.gate.rows import first_of, row_codes, rows_of
from flowgrad.gate.tables import TOLERATED_SHARE

SEEN_PAIRS = "seen pairs"
_SAME = 0.99
"""Share of the seen pairs that have a rating of training above which they are copies, and not rated anew."""


def pairs_objection(
    trained: tuple[Any, Any, Any], tested: tuple[Any, Any, Any], *, before: str = "training", after: str = "test"
) -> Objection | None:
    """Find pairs of (user, item) that are both tested on and trained on.

    Users and items are identities: no chance makes two pairs equal. Pairs with the same rating are copies, and refused;
    pairs that were rated anew are downgraded, since a held-out pair was seen all the same. Up to `TOLERATED_SHARE` of
    the tested pairs are noted.

    Args:
        trained: users, items and ratings, each of shape (n,).
        tested: the same of the other part.
        before: name of the one part.
        after: name of the other.
    """
    both = [np.concatenate([np.asarray(one), np.asarray(other)]) for one, other in zip(trained, tested, strict=True)]
    new = np.arange(len(both[0])) >= len(np.asarray(trained[0]))
    pair_seen, same = _found(both[:2], new), _found(both, new)
    count, rows = int(pair_seen.sum()), int(new.sum())
    if not count:
        return None
    kept = int(same.sum())
    copied = kept >= _SAME * count
    level = NOTED if count <= TOLERATED_SHARE * rows else REFUSED if copied else DOWNGRADED
    how = "with the same rating" if copied else f"{kept:,} of them with the same rating"
    return Objection(
        SEEN_PAIRS,
        level,
        f"{count:,} of {rows:,} {after} pairs of user and item ({count / rows:.1%}) stand among the {before} pairs "
        f"too, {how}",
        "keep each pair of user and item once (see dataset.duplicates) before the ratings are split",
        count,
        rows,
        float(rows - count),
        tuple(np.flatnonzero(pair_seen)[:EXAMPLES].tolist()),
    )


def _found(columns: list[np.ndarray], new: np.ndarray) -> np.ndarray:
    """Flags of the new rows that stand among the others."""
    codes = row_codes(rows_of(columns).keys)
    return first_of(codes)[codes[new]] < len(new) - int(new.sum())
