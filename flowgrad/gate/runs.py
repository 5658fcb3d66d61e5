"""Runs of two arms: whether each value is a run of its own."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from flowgrad.gate.objection import DOWNGRADED, Objection

ONE_RUN, COPIED_RUNS = "one run", "copied runs"
_COARSE = 100_000
"""A metric that is a ratio of whole numbers up to this, such as an accuracy, may tie; one of full precision does not."""


def arms_objection(baseline: Sequence[float], treated: Sequence[float], metric: str = "value") -> Objection | None:
    """Values of one arm that are equal to the last bit, where that cannot be a tie: the seeds (or splits) did not reach
    it, or one run was written down several times. Pairs of such runs are fewer than they seem.

    Args:
        baseline: one value a seed, shape (n,).
        treated: of the same seeds.
        metric: its name, for the message.
    """
    for arm, values in (("baseline", baseline), ("treated", treated)):
        numbers = np.asarray(values, dtype=float)
        repeated = _repeated(numbers)
        if not repeated.any():
            continue
        n, count = len(numbers), int(repeated.sum())
        distinct = n - count
        alike = f"all {n} values of the {arm} arm are {numbers[0]:.6g} to the last bit" if distinct == 1 else (
            f"{count} of {n} values of the {arm} arm repeat another to the last bit"
        )  # fmt: skip
        return Objection(
            ONE_RUN if distinct == 1 else COPIED_RUNS,
            DOWNGRADED,
            f"{metric}: {alike}, and {n} pairs are no {n} runs",
            "let the seed reach the model and the order of its data, and keep one observation of each run",
            count,
            n,
            float(distinct),
            tuple(np.flatnonzero(repeated)[:3].tolist()),
        )
    return None


def _repeated(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which values repeat an earlier one, and are too fine to tie."""
    _, first = np.unique(values, return_index=True)
    repeated = np.isfinite(values)
    repeated[first] = False
    repeated[repeated] = [_fine(float(value)) for value in values[repeated]]
    return repeated


def _fine(value: float) -> bool:
    return float(Fraction(value).limit_denominator(_COARSE)) != value
