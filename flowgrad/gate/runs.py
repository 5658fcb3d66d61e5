"""Runs of two arms: whether each value is a run of its own."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowgrad.gate.copies import EXAMPLES, copies
from flowgrad.gate.objection import DOWNGRADED, REFUSED, Objection

ONE_RUN, COPIED_RUNS = "one run", "copied runs"
_LOOKED_AT = 100
"""Values of repeated seeds that are looked at."""
_COARSE = 100_000
"""A ratio of whole numbers up to this, such as an accuracy, may tie; a metric of full precision does not."""


def arms_objection(baseline: ArrayLike, treated: ArrayLike, metric: str = "value") -> Objection | None:
    """Pairs that are fewer than they seem: an arm has one value on every seed, to the last bit, so that the seeds (or
    splits) did not reach it; or a pair was written down several times.

    Values of one arm that tie now and then are no objection, nor is a value that ties by chance, such as an accuracy.

    Args:
        baseline: one value a seed, shape (n,).
        treated: of the same seeds.
        metric: its name, for the message.
    """
    arms = {"baseline": np.asarray(baseline, dtype=float), "treated": np.asarray(treated, dtype=float)}
    n = len(arms["baseline"])
    if n < 2:
        return None
    for arm, values in arms.items():
        if (values == values[0]).all() and _fine(float(values[0])):
            what = f"all {n} values of the {arm} arm are {values[0]:.6g} to the last bit"
            return _objection(ONE_RUN, f"{metric}: {what}", np.arange(1, n), n)
    pairs = np.column_stack(list(arms.values()))
    again = np.ones(n, dtype=bool)
    again[np.unique(pairs, axis=0, return_index=True)[1]] = False
    again &= np.isfinite(pairs).all(axis=1)
    copied = [place for place in np.flatnonzero(again) if any(_fine(float(value)) for value in pairs[place])]
    if copied:
        what = f"{len(copied)} of {n} pairs repeat another to the last bit"
        return _objection(COPIED_RUNS, f"{metric}: {what}", np.array(copied), n)
    return None


def seeds_objection(differences: NDArray[np.float64]) -> Objection | None:
    """Seeds that have the differences of another seed in every row, to the last bit, where these cannot be ties.

    Args:
        differences: shape (seeds, rows), finite.
    """
    found = copies(differences)
    if not found.copied:
        return None
    if not any(_fine(float(value)) for value in np.unique(differences[list(found.examples)])[:_LOOKED_AT]):
        return None
    return Objection(
        COPIED_RUNS,
        REFUSED,
        f"{found.copied} of {found.rows} seeds have the differences of another seed in every row",
        "let the seed reach the model and the order of its data, and keep one line of each run",
        found.copied,
        found.rows,
        found.effective,
        found.examples,
    )


def _objection(check: str, what: str, again: NDArray[np.intp], n: int) -> Objection:
    return Objection(
        check,
        DOWNGRADED,
        f"{what}, and {n} pairs are no {n} runs",
        "let the seed reach the model and the order of its data, and keep one observation of each run",
        len(again),
        n,
        float(n - len(again)),
        tuple(again[:EXAMPLES].tolist()),
    )


def _fine(value: float) -> bool:
    return math.isfinite(value) and float(Fraction(value).limit_denominator(_COARSE)) != value
