"""Says whether inputs keep their level and their spread from epoch to epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flowgrad.measurements import Measure


def _measures(part: str, inputs: str) -> tuple[Measure, ...]:
    column = f"the column of {inputs}"
    return (
        Measure(f"{part}_epochs", "epochs", f"Epochs with {inputs} that are real numbers, of one size."),
        Measure(
            f"{part}_level_shift",
            "ratio",
            f"Change of the mean of {column} that moved most, in standard deviations of the first epoch: the lesser of "
            "those of the last two epochs against the first; 0 where it is within five standard errors. A row of a "
            "table has up to 64 columns; a longer one, an image or a sequence is one column.",
        ),
        Measure(
            f"{part}_spread_change",
            "ratio",
            f"Factor, at least 1, by which the standard deviation of {column} grew or shrank; as `{part}_level_shift`.",
        ),
        Measure(
            f"{part}_moves_alike",
            "flag",
            "1 where most columns that changed went to three of four epochs by the same factor and summand as to the "
            "epoch before, as numbers do that are transformed again in each; else 0.",
        ),
        Measure(f"{part}_first_mean", "input", f"Mean of {column} in the first epoch."),
        Measure(f"{part}_first_deviation", "input", "Its standard deviation in the first epoch."),
        Measure(f"{part}_last_mean", "input", "Its mean in the last epoch."),
        Measure(f"{part}_last_deviation", "input", "Its standard deviation in the last epoch."),
    )


INPUT_LEVEL_MEASURES = (
    *_measures("input", "training inputs"),
    *_measures("validation_input", "validation inputs"),
)
LEAST_EPOCHS = 3
"""Number of epochs from which on figures are known: two changes, to be compared with each other."""
STANDARD_ERRORS = 5.0
"""Number of standard errors beyond which a change is none of the sample, of up to 64 columns and many epochs."""
_ALIKE, _NOISE, _STILL = 0.25, 3.0, 0.1
"""Part by which two changes may differ to be alike, beside so many standard errors, and change, in deviations or as a
logarithm, that is none.
"""
_MOSTLY = 0.75
"""Share of the epochs to which a column must change alike; the sample of one epoch may be off."""
_PRECISION, _LARGEST = 1e-5, 1e12
Sums = NDArray[np.float64]
"""Sums over an epoch, shape (11, columns): number of rows; sums over rows of x, x^2, y and y^2, where x is a row's mean
distance from the centre and y its mean squared distance; number of batches; sums over batches of the same four of their
means; and the centre, a number near the mean.
"""


def level_figures(part: str, first: Sums, latest: Sequence[Sums], alike: Sums) -> dict[str, float]:
    """Figures of a part of `INPUT_LEVEL_MEASURES`, without the number of epochs.

    Args:
        part: `input` or `validation_input`.
        first: sums of the first epoch.
        latest: those of the last two.
        alike: share of the epochs, from the third on, to which each column changed as to the one before, shape
            (columns,).
    """
    mean, deviation = moments(first)
    with np.errstate(invalid="ignore", divide="ignore"):
        shifts = np.min([_shift(first, one) / deviation for one in latest], axis=0)
    spreads = np.min([_spread(first, one) for one in latest], axis=0)
    strength = np.maximum(shifts, np.log2(spreads))
    strength[~np.isfinite(strength)] = -1.0
    if not len(strength) or strength.max() < 0:
        return {}
    place = int(strength.argmax())
    last_mean, last_deviation = moments(latest[-1])
    figures = {
        "level_shift": min(shifts[place], _LARGEST),
        "spread_change": spreads[place],
        "moves_alike": float(np.median(alike[(shifts > 0) | (spreads > 1)]) >= _MOSTLY) if strength[place] > 0 else 0.0,
        "first_mean": mean[place],
        "first_deviation": deviation[place],
        "last_mean": last_mean[place],
        "last_deviation": last_deviation[place],
    }
    return {f"{part}_{name}": float(value) for name, value in figures.items()}


def moments(sums: Sums) -> tuple[Sums, Sums]:
    """Mean and standard deviation of each column; NaN where it had no row.

    >>> mean, deviation = moments(np.array([4.0, 8, 16, 20, 100, 1, 2, 4, 5, 25, 7])[:, None])
    >>> float(mean[0]), float(deviation[0])
    (9.0, 1.0)
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean, squares = sums[1] / sums[0], sums[3] / sums[0]
        return mean + sums[-1], np.sqrt(np.maximum(squares - mean**2, 1e-15 * squares))


def changed_alike(older: Sums, before: Sums, last: Sums) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each column went from the second of three epochs to the third as from the first to the second, and
    whether that can be told: it cannot of numbers that hardly differ any more, by the precision of float32.

    Where x becomes r (x - a) in each epoch, deviations grow by r and differences of means do.
    """
    (mean_0, deviation_0), (mean_1, deviation_1), (mean_2, deviation_2) = map(moments, (older, before, last))
    errors = [_error(sums, 1) for sums in (older, before, last)]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        parts = [_error(sums, 3) / (2 * moments(sums)[1] ** 2) for sums in (older, before, last)]
        growth, grown = np.log(deviation_2 / deviation_1), np.log(deviation_1 / deviation_0)
        factor, moved = deviation_2 / deviation_1, mean_2 - mean_1
        noise = _NOISE * np.sqrt(errors[2] ** 2 + ((1 + factor) * errors[1]) ** 2 + (factor * errors[0]) ** 2)
        level = np.abs(moved - factor * (mean_1 - mean_0)) <= _ALIKE * np.abs(moved) + noise
        noise = _NOISE * np.sqrt(parts[2] ** 2 + 4 * parts[1] ** 2 + parts[0] ** 2)
        spread = np.abs(growth - grown) <= _ALIKE * np.abs(growth) + noise
        still = (np.abs(growth) < _STILL) & (np.abs(moved) < _STILL * deviation_2)
        told = np.isfinite(growth - grown + moved) & (deviation_2 > _PRECISION * np.abs(mean_2))
    return level & spread & ~still & told, told


def _spread(first: Sums, other: Sums) -> Sums:
    """Factor between deviations, at least 1; 1 where squared distances are within the standard errors."""
    (_, one), (_, two) = moments(first), moments(other)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        factor = np.minimum(np.maximum(one / two, two / one), _LARGEST)
        noise = STANDARD_ERRORS * np.hypot(_error(first, 3), _error(other, 3))
        return np.where(np.abs(one**2 - two**2) > noise, factor, np.where(np.isfinite(factor), 1.0, np.nan))


def _shift(first: Sums, other: Sums) -> Sums:
    """Difference of means, and 0 where it is within the standard errors."""
    (one, _), (two, _) = moments(first), moments(other)
    change = np.abs(one - two)
    return np.where(change > STANDARD_ERRORS * np.hypot(_error(first, 1), _error(other, 1)), change, 0.0 * change)


def _error(sums: Sums, place: int) -> Sums:
    """Standard error of a mean: as rows differ, or as batches do where these are of unlike rows; the larger one."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        rows, batches = (
            (sums[at + place + 1] / sums[at] - (sums[at + place] / sums[at]) ** 2) / np.maximum(sums[at] - 1, 1)
            for at in (0, 5)
        )
        return np.sqrt(np.maximum(np.maximum(rows, batches), 0.0))
