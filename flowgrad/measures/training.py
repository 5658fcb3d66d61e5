"""Measures the course of a training run, whatever the model: losses by epoch against simple references."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from flowgrad.measurements import Measure

MEASURES = (
    Measure("epochs", "epochs", "Epochs completed."),
    Measure("steps", "count", "Optimizer steps seen."),
    Measure("loss_first", "loss", "Mean training loss of the first epoch."),
    Measure("loss_last", "loss", "Mean training loss of the last epoch."),
    Measure(
        "loss_fall", "ratio", "Fall of the training loss from the last epoch but one to the last, over the former."
    ),
    Measure(
        "loss_peak_ratio",
        "ratio",
        "Highest mean loss of 8 batches in a row, all finite, over the loss of the first batch, which no step had "
        "touched; where several of the last 64 batches, of the second half, lose no more than that one, highest median "
        "of 8 over the loss of the first batch or that which nine in ten of the last keep below, whichever is more. "
        "Where a loss that is not finite came sooner, of the batches before it.",
    ),
    Measure("loss_end_ratio", "ratio", "Mean loss of the last 8 batches told, over the loss of the first batch."),
    Measure("loss_nonfinite", "flag", "1 where a training loss was NaN or infinite, else 0."),
    Measure("first_nonfinite", "count", "Step whose loss was the first not to be finite, where steps were told."),
    Measure("loss_least", "loss", "Lowest finite loss told, of any batch, epoch or validation."),
    Measure("loss_size", "loss", "Size of the first finite loss told, its sign left out."),
    Measure("loss_bound", "loss", "What the loss cannot fall below, as told: 0 for squared errors."),
    Measure("squared_error", "flag", "1 where the loss is a squared error: the targets' variance was told; else 0."),
    Measure(
        "stopped_early",
        "flag",
        "1 where the loop said that early stopping ended it, or other weights were seen in the model than after the "
        "last step, else 0.",
    ),
    Measure(
        "rewritten_alike",
        "flag",
        "1 where the weights, which nothing but the optimizer had written to, were written to since the last step with "
        "the very values that they had, else 0.",
    ),
    Measure("val_best", "loss", "Lowest validation loss of any epoch.", on_evaluation=True),
    Measure("val_last", "loss", "Validation loss of the last epoch.", on_evaluation=True),
    Measure("val_rise", "ratio", "Excess of `val_last` over `val_best`, over `val_best`.", on_evaluation=True),
    Measure(
        "val_lost",
        "ratio",
        "Excess of `val_last` over `val_best`, over the fall from the first validation loss to `val_best`; infinite "
        "where the first is the best.",
        on_evaluation=True,
    ),
    Measure(
        "val_fall",
        "ratio",
        "Fall of the validation loss from one epoch to the next, over the former: the smaller one of the last two. "
        "Not known where early stopping ended the run.",
        on_evaluation=True,
    ),
    Measure(
        "val_late_gain",
        "share",
        "The smaller of the last two falls of the validation loss, over its fall from the first epoch to `val_best`.",
        on_evaluation=True,
    ),
    Measure(
        "val_still",
        "count",
        "Validations, where the losses of all are the same to the last bit and not 0; else 0.",
        on_evaluation=True,
    ),
    Measure(
        "val_swing",
        "ratio",
        "Highest validation loss of any epoch less the lowest, over the size of the largest; not known before the "
        "second.",
        on_evaluation=True,
    ),
    Measure("train_swing", "ratio", "The same of the mean training losses of the epochs after the first."),
    Measure("rate_told", "flag", "1 where the course of the learning rate was told, else 0."),
    Measure(
        "late_rate_fall",
        "ratio",
        "Deepest fall of the learning rate within the last fifth of the steps, over the rate that it fell from; 1 "
        "where a schedule takes it to 0. Not known where nobody told the rate.",
    ),
    Measure("epochs_since_best", "epochs", "Validations since the lowest validation loss.", on_evaluation=True),
    Measure(
        "val_rise_share",
        "share",
        "Of the validation losses since the best, in up to four stretches: share of the stretches whose mean is above "
        "that of the one before.",
        on_evaluation=True,
    ),
    Measure(
        "train_fall_since_best",
        "ratio",
        "Fall of the training loss from the epoch with the lowest validation loss to the last, over the former.",
        on_evaluation=True,
    ),
    Measure("metric_told", "flag", "1 where a validated metric that is better when higher was told, else 0."),
    Measure(
        "metric_gain",
        "score",
        "What that metric gained from the epoch with the lowest validation loss to the last.",
        on_evaluation=True,
    ),
    Measure(
        "metric_lost_before",
        "share",
        "Of the metric up to the epoch with the lowest validation loss, in up to four stretches: part of the highest "
        "mean that the last one lacks. Not known where the metric was not above 0.",
        on_evaluation=True,
    ),
    Measure("target_variance", "loss", "Variance of the training targets: the loss of predicting their mean."),
    Measure("l2_penalty", "loss", "Strength of the L2 penalty on the rows of each example, as configured."),
    Measure("loss_to_variance", "ratio", "`loss_last` over `target_variance`; above 1 the mean predicts better."),
)

PEAK_STEPS = 8
"""Number of batches in a row whose mean loss may be the peak: one alone may just be a hard one."""
LATE_STEPS, _FEWEST_LATE, _FEW_BELOW = 64, 16, 2
"""Number of batches, the last ones, that say what a batch loses; number of them below which they say nothing, and
number that lose no more than the first from which on its loss is one that batches have.
"""
STRETCHES = 4
"""Number of stretches that validation losses since the best are put into: single epochs go up and down by chance."""


def loss_course(losses: Sequence[float]) -> dict[str, float]:
    """Measure the first and last training loss, the relative fall of the last epoch, and whether any was not finite.

    >>> loss_course([2.0, 1.0])["loss_fall"]
    0.5
    """
    values = np.asarray(losses, dtype=float)
    return {
        "loss_first": float(values[0]) if len(values) else float("nan"),
        "loss_last": float(values[-1]) if len(values) else float("nan"),
        "loss_fall": _last_fall(values),
        "loss_nonfinite": float(not np.isfinite(values).all()) if len(values) else float("nan"),
    }


def peak_ratio(start: float, peak: float, typical: float, late: Collection[float]) -> float:
    """Compute the ratio of the loss at its peak to what it was before the first step; NaN where that is not above 0.

    Where the target has heavy tails, single batches lose many times what others do, and the first one may be any of
    them: then the loss did not rise, though a mean of some batches is far above it.

    Args:
        start: loss of the first batch.
        peak: highest mean loss of `PEAK_STEPS` batches in a row.
        typical: highest median of as many.
        late: losses of the last batches, up to `LATE_STEPS`.

    >>> peak_ratio(1.0, 4.0, 3.5, [2.0] * 64), peak_ratio(1.0, 4.0, 1.5, [0.5, 1.0, 2.0, 3.0] * 16)
    (4.0, 0.5)
    """
    if not start > 0:
        return math.nan
    if len(late) < _FEWEST_LATE or sum(loss <= start for loss in late) < _FEW_BELOW:
        return peak / start
    return typical / max(start, float(np.quantile(list(late), 0.9)))


def validation_course(losses: Sequence[float]) -> dict[str, float]:
    """Measure where the validation loss stands against its best. Every figure is NaN where no epoch was validated.

    >>> validation_course([2.0, 1.0, 1.5])["val_rise"]
    0.5
    """
    values = np.asarray(losses, dtype=float)
    if not len(values) or not np.isfinite(values).any():
        names = ("val_best", "val_last", "val_rise", "val_lost", "val_fall", "val_late_gain", "epochs_since_best")
        return dict.fromkeys(names, float("nan"))
    best, last, former = float(np.nanmin(values)), _last_fall(values), _last_fall(values[:-1])
    first = float(values[np.isfinite(values)][0])
    return {
        "val_best": best,
        "val_last": float(values[-1]),
        "val_rise": float(values[-1] - best) / best if best > 0 else float("nan"),
        "val_lost": _lost(first, best, float(values[-1])),
        "val_fall": last if math.isnan(former) else min(last, former),
        "val_late_gain": _late_gain(values, first - best),
        "epochs_since_best": float(len(values) - 1 - int(np.nanargmin(values))),
    }


def _lost(first: float, best: float, last: float) -> float:
    """Share of what a loss had gained that it lost again; infinite where it never gained."""
    if math.isnan(last):
        return math.nan
    return (last - best) / (first - best) if first > best else math.inf if last > best else 0.0


def still(losses: Sequence[float]) -> float:
    """Number of validation losses, where all are the same to the last bit and not 0; else 0. NaN of none.

    >>> still([2.5, 2.5, 2.5]), still([2.5, 2.4])
    (3.0, 0.0)
    """
    if not losses:
        return math.nan
    return float(len(losses)) if losses[0] != 0 and all(loss == losses[0] for loss in losses) else 0.0


def swing(losses: Sequence[float]) -> float:
    """Ratio of the distance between the highest and the lowest loss to the largest size of a loss; NaN of less than
    two, of losses that are not finite, and where all are 0.

    >>> swing([2.0, 1.0, 1.5])
    0.5
    """
    values = np.asarray(losses, dtype=float)
    if len(values) < 2 or not np.isfinite(values).all() or not values.any():
        return math.nan
    return float((values.max() - values.min()) / np.abs(values).max())


def since_best(train: Sequence[float], validation: Sequence[float], metrics: Sequence[float]) -> dict[str, float]:
    """Measure what happened since the lowest validation loss.

    Args:
        train: mean training loss of each epoch.
        validation: validation loss after each epoch; NaN where it is not known.
        metrics: validated metric after each epoch, better when higher; NaN where it is not known.

    >>> since_best([3, 2, 1, 0.5], [2.0, 1.0, 1.5, 2.0], [math.nan] * 4)["val_rise_share"]
    1.0
    >>> since_best([3, 2, 1], [2.0, 1.5, 1.0], [0.4, 0.2, 0.1])["metric_lost_before"]
    0.75
    """
    losses, told = np.asarray(validation, dtype=float), np.asarray(metrics, dtype=float)
    found = dict.fromkeys(("val_rise_share", "train_fall_since_best", "metric_gain", "metric_lost_before"), math.nan)
    if not np.isfinite(losses).any():
        return found
    best = int(np.nanargmin(np.where(np.isfinite(losses), losses, np.nan)))
    if len(means := _stretches(losses[best:])) > 1:
        found["val_rise_share"] = float((np.diff(means) > 0).mean())
    if np.isfinite(train[best]) and train[best] > 0:
        found["train_fall_since_best"] = float((train[best] - train[-1]) / train[best])
    if np.isfinite(told[best]):
        found["metric_gain"] = float(told[np.isfinite(told)][-1] - told[best])
        means = _stretches(told[: best + 1])
        found["metric_lost_before"] = float(1 - means[-1] / means.max()) if means.max() > 0 else math.nan
    return found


def _stretches(values: np.ndarray) -> np.ndarray:
    """Means of the finite values in up to `STRETCHES` stretches."""
    finite = values[np.isfinite(values)]
    return np.array([part.mean() for part in np.array_split(finite, min(STRETCHES, len(finite)))])


def _late_gain(values: np.ndarray, whole: float) -> float:
    """Smaller of the last two falls over the whole one; NaN where the last is not known, or nothing was gained."""
    falls = -np.diff(values[-3:])
    return float(np.nanmin(falls) / whole) if len(falls) and np.isfinite(falls[-1]) and whole > 0 else math.nan


def _last_fall(values: np.ndarray) -> float:
    """Fall from the last value but one to the last, as a share of the former; NaN without a finite, positive former."""
    if len(values) < 2 or not 0 < values[-2] < np.inf:
        return float("nan")
    return float((values[-2] - values[-1]) / values[-2])
