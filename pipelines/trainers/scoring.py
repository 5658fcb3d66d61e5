"""Scores predictions by kind of task on a table."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from flowgrad.errors import FlowGradError

METRICS = {"regression": ("rmse", "mae"), "binary": ("auc", "logloss"), "multiclass": ("accuracy", "logloss")}
"""Names of the metrics of each kind of task."""


def check_task(
    config: DictConfig, kinds: Collection[str] = tuple(METRICS), known: Mapping[str, tuple[str, ...]] = METRICS
) -> None:
    """Refuse a task of another kind than `kinds`, or metrics that its kind does not have in `known`.

    Raises:
        FlowGradError: names the key, the value and what would be right.
    """
    kind, metrics = config.task.kind, config.task.metrics
    if kind not in kinds:
        raise FlowGradError(f"task.kind={kind!r} is unknown; use {' or '.join(kinds)}")
    for metric in metrics:
        if metric not in known[kind]:
            raise FlowGradError(f"task.metrics names {metric!r}; task.kind={kind} gives {', '.join(known[kind])}")
    if not metrics:
        raise FlowGradError("task.metrics is empty; validation goes by the first of them")


def check_overlap(config: DictConfig) -> None:
    """Refuse a comparison that does not know how many rows the seeds share.

    Raises:
        FlowGradError: names `dataset.keep`, `comparison.overlap` and the comparison that fits.
    """
    keep, overlap = config.dataset.keep, config.comparison.overlap
    if keep < 1 and overlap != keep:
        raise FlowGradError(
            f"comparison.overlap={overlap}: seeds that keep {keep:.0%} of the rows share as many; use "
            "comparison=corrected_t, or keep all with dataset.keep=1"
        )
    if keep == 1 and overlap is not None:
        raise FlowGradError("dataset.keep=1: every seed has the same rows, and no overlap; use comparison=paired_t")


def scores(kind: str, target: NDArray[np.float64], predicted: NDArray[np.float64]) -> dict[str, float]:
    """Compute the metrics of a kind of task; NaN where a prediction is not finite.

    Args:
        kind: a key of `METRICS`.
        target: shape (rows,); of classes, their numbers from 0.
        predicted: shape (rows,): values, or probabilities of class 1; of several classes, shape (rows, classes).
    """
    from sklearn.metrics import log_loss, mean_absolute_error, roc_auc_score, root_mean_squared_error

    if not np.isfinite(predicted).all():
        return dict.fromkeys(METRICS[kind], math.nan)
    if kind == "regression":
        return {
            "rmse": float(root_mean_squared_error(target, predicted)),
            "mae": float(mean_absolute_error(target, predicted)),
        }
    if kind == "binary":
        return {
            "auc": float(roc_auc_score(target, predicted)),
            "logloss": float(log_loss(target, predicted, labels=[0, 1])),
        }
    return {
        "accuracy": float((predicted.argmax(axis=1) == target).mean()),
        "logloss": float(log_loss(target, predicted, labels=range(predicted.shape[1]))),
    }
