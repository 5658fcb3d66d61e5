"""Checks runs of two arms: whether each value is a run of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowgrad.gate.copies import EXAMPLES, copies
from flowgrad.gate.objection import DOWNGRADED, REFUSED, Objection

ONE_RUN, COPIED_RUNS = "one run", "copied runs"
_LOOKED_AT = 100
"""Number of values of repeated seeds that are compared."""
_COARSE = ((100_000, 2.0**-51), (1_000, 2.0**-25))
"""Denominators up to which a ratio of whole numbers, such as an accuracy, may tie, each with the rounding at 1 within
which the ratio counts as met: that of a sum or difference in float64, as `1 - accuracy` is, and that of a float32. A
metric of full precision meets such a ratio by chance in one value of 10^5, and one in 50 where it is a float32.
"""
_ROUNDING = 2.0**-21
"""Share of a value within which sums of the same numbers in another order agree: four units in the last place of a
float32, as training on a GPU or on several threads gives a single seed.
"""
APART = 1000.0
"""Ratio of an arm's spread to its rounding from which two pairs that agree within rounding do so by chance less than
once in a thousand comparisons of ten seeds: 45 (2 / 1000)^2.
"""


def arms_objection(
    baseline: ArrayLike, treated: ArrayLike, metric: str = "value", *, splits: bool = False
) -> Objection | None:
    """Find pairs that are fewer than they seem: the treated arm, or both, has one value on every seed, to the last bit
    or to the rounding of float32, so that the seeds (or splits) did not reach it; or a pair was written down several
    times.

    A baseline of one value against a treated arm that varies is no objection: a closed form has no seed, and the test
    of the differences is one of the treated arm against that number. On splits it is one, since other rows give other
    values. Values of one arm that tie now and then are no objection, nor is a value that ties by chance, such as an
    accuracy.

    Args:
        baseline: one value a seed, shape (n,).
        treated: of the same seeds.
        metric: its name, for the message.
        splits: whether the values are of several splits of the data.
    """
    return arms_objections({metric: (baseline, treated)}, splits=splits)[metric]


def arms_objections(
    metrics: Mapping[str, tuple[ArrayLike, ArrayLike]], *, splits: bool = False
) -> dict[str, Objection | None]:
    """Find `arms_objection` for each metric of the same runs. An objection to one metric is extended to another only
    where that one does not speak against it: runs whose size is the same, and whose errors differ, are no one run.

    Args:
        metrics: name -> the baseline's values and the treated arm's, each of shape (n,).
        splits: as of `arms_objection`.
    """
    arms = {name: tuple(np.asarray(values, dtype=float) for values in both) for name, both in metrics.items()}
    found = {name: _fewer(np.column_stack(both), name, splits) for name, both in arms.items()}
    worst = next((objection for objection in found.values() if objection is not None), None)
    if worst is None or len({len(values) for both in arms.values() for values in both}) > 1:
        return found
    # All metrics stand side by side, the baseline's first; copies are equal in every one of them.
    whole = np.column_stack([both[arm] for arm in (0, 1) for both in arms.values()])
    shared = _fewer(whole, worst.reason.partition(":")[0], splits)
    return {name: objection or shared for name, objection in found.items()}


def _fewer(runs: NDArray[np.float64], metric: str, splits: bool) -> Objection | None:
    """Objection to runs of both arms.

    Args:
        runs: shape (n, 2 metrics), the baseline's metrics first.
        metric: for the message.
        splits: as of `arms_objection`.
    """
    n, half = len(runs), runs.shape[1] // 2
    if n < 2:
        return None
    arms = {"baseline": runs[:, :half], "treated": runs[:, half:]}
    constant = {arm: _one_value(values) for arm, values in arms.items()}
    for arm, values in arms.items():
        fine = [value for value in map(float, values[0]) if _fine(value)]
        if constant[arm] and fine and (arm == "treated" or constant["treated"] or splits):
            exactly = "the last bit" if (values == values[0]).all() else "within rounding"
            what = f"all {n} values of the {arm} arm are {fine[0]:.6g} to {exactly}"
            return _objection(ONE_RUN, f"{metric}: {what}", np.arange(1, n), n)
    again = np.ones(n, dtype=bool)
    again[np.unique(runs, axis=0, return_index=True)[1]] = False
    rounded = _repeated(runs)
    exactly = "within rounding" if rounded.sum() > max(again.sum(), n // 2 - 1) else "the last bit"
    again = rounded if exactly == "within rounding" else again
    again &= np.isfinite(runs).all(axis=1)
    copied = [place for place in np.flatnonzero(again) if any(_fine(float(value)) for value in runs[place])]
    if not copied:
        return None
    what = f"{len(copied)} of {n} pairs repeat another to {exactly}"
    return _objection(COPIED_RUNS, f"{metric}: {what}", np.array(copied), n)


def _one_value(values: NDArray[np.float64]) -> bool:
    """Whether each metric has one value in all runs, within rounding."""
    if not np.isfinite(values).all():
        return bool((values == values[0]).all())
    return bool((np.ptp(values, axis=0) <= rounding_of(values)).all())


def _repeated(runs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Flags of runs that repeat another within rounding, in metrics whose values otherwise are far apart.

    A few of them are the ties of a metric of few values; half of all runs are more than these.
    """
    again = np.zeros(len(runs), dtype=bool)
    if np.isfinite(runs).all() and (np.ptp(runs, axis=0) >= APART * rounding_of(runs)).all():
        order = np.argsort(runs[:, 0], kind="stable")
        alike = (np.abs(np.diff(runs[order], axis=0)) <= rounding_of(runs)).all(axis=1)
        again[order[1:][alike]] = True
    return again


def rounding_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest difference that rounding makes in each metric.

    Args:
        values: finite, shape (n, metrics).
    """
    return _ROUNDING * np.abs(values).max(axis=0)


def seeds_objection(differences: NDArray[np.float64]) -> Objection | None:
    """Find seeds that have the differences of another seed in every row, to the last bit, where these cannot be ties.

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
    if not math.isfinite(value):
        return False
    single = float(np.float32(value)) == value
    return not any(
        abs(float(Fraction(value).limit_denominator(most)) - value) <= rounding * max(1.0, abs(value))
        for most, rounding in _COARSE[: 1 + single]
    )
