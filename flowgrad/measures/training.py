"""What the course of a training run says, whatever the model: losses by epoch against simple references."""

from __future__ import annotations

from collections.abc import Sequence

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
        "Highest mean loss of 8 batches in a row, over the loss of the first batch, which no step had touched.",
    ),
    Measure("loss_nonfinite", "flag", "1 where a training loss was NaN or infinite, else 0."),
    Measure("val_best", "loss", "Lowest validation loss of any epoch.", on_evaluation=True),
    Measure("val_last", "loss", "Validation loss of the last epoch.", on_evaluation=True),
    Measure("val_rise", "ratio", "Excess of `val_last` over `val_best`, over `val_best`.", on_evaluation=True),
    Measure(
        "val_fall",
        "ratio",
        "Fall of the validation loss from the last epoch but one to the last, over the former.",
        on_evaluation=True,
    ),
    Measure("epochs_since_best", "epochs", "Epochs since the lowest validation loss.", on_evaluation=True),
    Measure("target_variance", "loss", "Variance of the training targets: the loss of predicting their mean."),
    Measure("l2_penalty", "loss", "Strength of the L2 penalty on the rows of each example, as configured."),
    Measure("loss_to_variance", "ratio", "`loss_last` over `target_variance`; above 1 the mean predicts better."),
)

PEAK_STEPS = 8
"""Batches in a row whose mean loss may be the peak: one alone may just be a hard one."""


def loss_course(losses: Sequence[float]) -> dict[str, float]:
    """First and last training loss, the relative fall of the last epoch, and whether any was not finite.

    >>> loss_course([2.0, 1.0])["loss_fall"]
    0.5
    """
    values = np.asarray(losses, dtype=float)
    return {
        "loss_first": float(values[0]) if len(values) else float("nan"),
        "loss_last": float(values[-1]) if len(values) else float("nan"),
        "loss_fall": _last_fall(values),
        "loss_nonfinite": float(not np.isfinite(values).all()),
    }


def validation_course(losses: Sequence[float]) -> dict[str, float]:
    """Where the validation loss stands against its best. NaN for every figure where no epoch was validated.

    >>> validation_course([2.0, 1.0, 1.5])["val_rise"]
    0.5
    """
    values = np.asarray(losses, dtype=float)
    if not len(values) or not np.isfinite(values).any():
        names = ("val_best", "val_last", "val_rise", "val_fall", "epochs_since_best")
        return dict.fromkeys(names, float("nan"))
    best = float(np.nanmin(values))
    return {
        "val_best": best,
        "val_last": float(values[-1]),
        "val_rise": float(values[-1] - best) / best if best > 0 else float("nan"),
        "val_fall": _last_fall(values),
        "epochs_since_best": float(len(values) - 1 - int(np.nanargmin(values))),
    }


def _last_fall(values: np.ndarray) -> float:
    """Fall from the last value but one to the last, over the former; NaN without a finite, positive former."""
    if len(values) < 2 or not 0 < values[-2] < np.inf:
        return float("nan")
    return float((values[-2] - values[-1]) / values[-2])
