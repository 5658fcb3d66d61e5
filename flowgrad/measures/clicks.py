"""Measures predicted probabilities of clicks on held-out rows: ranking, calibration, and what each column adds."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowgrad.measurements import Measure

Floats = NDArray[np.float64]

BINS = 15
"""Number of bins of the calibration error."""
SELDOM = 10
"""Number of training rows below which a row of a table is looked up seldom."""
_LEAST = 1e-7
"""Smallest probability that is told from 0, and from 1."""

MEASURES = (
    Measure("click_rows", "count", "Held-out rows that were judged."),
    Measure("base_rate", "share", "Share of these rows that are clicked."),
    Measure("train_rate", "share", "Share of the training rows that are clicked, where told."),
    Measure("mean_prediction", "share", "Mean of the probabilities predicted for these rows."),
    Measure("rate_drift", "ratio", "Change of the log-odds of a click from training to these rows."),
    Measure("level", "ratio", "What has to be added to all log-odds for their mean probability to be the base rate."),
    Measure("train_mean", "share", "Mean of the probabilities predicted for training rows, where told."),
    Measure(
        "train_level",
        "ratio",
        "Log-odds of the training rate less those of `train_mean`: 0 after training by a log-loss without weights.",
    ),
    Measure(
        "calibration_slope",
        "ratio",
        "Slope of the logistic regression of clicks on predicted log-odds: below 1, predictions are too sure.",
    ),
    Measure("calibration_slope_error", "ratio", "Standard error of that slope, of independent rows."),
    Measure("log_loss", "loss", "Mean log-loss of the predictions.", on_evaluation=True),
    Measure("prior_log_loss", "loss", "Log-loss of predicting the base rate for every row."),
    Measure("level_gain", "share", "Share of the log-loss that setting the mean right takes away."),
    Measure("slope_gain", "share", "Share of the log-loss that setting the slope right takes away besides."),
    Measure("auc", "share", "Area under the ROC curve.", on_evaluation=True),
    Measure("ece", "share", "Expected calibration error, over 15 bins of equally many rows."),
    Measure("ece_chance", "share", "What that would be on so many rows if every probability were right."),
    Measure("id_columns", "count", "Columns of ids."),
    Measure("judged_columns", "count", "Columns whose values were permuted."),
    Measure("known_tables", "count", "Columns of ids whose training lookups are known."),
    Measure("top_column_share", "share", "Largest `column_share`."),
    Measure("top_cold_share", "share", "Largest `cold_share`, where training lookups are known."),
    Measure(
        "values", "count", "Distinct values of the training rows before they were made ids, as told.", per_row=True
    ),
    Measure("table_rows", "count", "Rows of the column's table, as told.", per_row=True),
    Measure(
        "collided_share",
        "share",
        "Share of the training rows whose value is not the most frequent one of its row of the table, as told.",
        per_row=True,
    ),
    Measure("looked_up", "share", "Share of the table's rows that training looked up.", per_row=True),
    Measure("lookups_per_row", "count", "Training rows, over the table's rows that they looked up.", per_row=True),
    Measure(
        "seldom_share",
        "share",
        "Share of the training rows whose row of the table fewer than 10 of them look up.",
        per_row=True,
    ),
    Measure(
        "cold_share",
        "share",
        "Share of the held-out rows whose row of the table training never looked up, or never moved, where that is "
        "told.",
        per_row=True,
    ),
    Measure(
        "prediction_shift",
        "ratio",
        "How far log-odds move when the column's values are permuted, over how far they differ between rows.",
        per_row=True,
    ),
    Measure(
        "loss_rise",
        "share",
        "Rise of the log-loss when the column's values are permuted, over the log-loss, both of probabilities that "
        "were set right on these rows by level and slope.",
        per_row=True,
    ),
    Measure("loss_rise_z", "z", "That rise over its standard error, of independent rows.", per_row=True),
    Measure(
        "column_share",
        "share",
        "The column's rise over the sum of all columns' rises, those below 0 left out.",
        per_row=True,
    ),
)


class Recalibration(NamedTuple):
    """Logistic regression of clicks on log-odds (Platt 1999; Cox 1958, Two further applications of a model for binary
    regression).
    """

    intercept: float
    slope: float
    slope_error: float


def log_odds(probabilities: ArrayLike) -> Floats:
    """Log-odds of probabilities, kept off 0 and 1 by 1e-7.

    >>> log_odds([0.5]).tolist()
    [0.0]
    """
    p = np.clip(np.asarray(probabilities, dtype=float), _LEAST, 1 - _LEAST)
    return np.log(p) - np.log1p(-p)


def log_losses(clicked: ArrayLike, odds: ArrayLike) -> Floats:
    """Log-loss of each row, in nats.

    Args:
        clicked: 0 or 1, shape (rows,).
        odds: log-odds, shape (rows,).

    >>> log_losses([1, 0], [0.0, 0.0]).round(3).tolist()
    [0.693, 0.693]
    """
    return np.logaddexp(0.0, np.asarray(odds, dtype=float)) - np.asarray(clicked, dtype=float) * np.asarray(odds)


def roc_auc(clicked: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the share of pairs of a clicked and another row in which the clicked one has the larger
    score, ties counted as half (Mann & Whitney 1947); NaN where there are no such pairs.

    >>> roc_auc([0, 1, 1], [0.1, 0.1, 0.9])
    0.75
    """
    positive = np.asarray(clicked, dtype=float) > 0.5
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        return math.nan
    _, place, counts = np.unique(np.asarray(scores, dtype=float), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))


def expected_calibration_error(clicked: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> float:
    """Mean distance of the share clicked from the mean probability, over bins of equally many rows by probability.

    Bins of equal width (Guo et al. 2017, On Calibration of Modern Neural Networks) would put most clicks of a low rate
    into one; these are those of Nixon et al. 2019, Measuring Calibration in Deep Learning.

    Args:
        clicked: 0 or 1, shape (rows,).
        probabilities: shape (rows,).
        bins: number of bins; fewer where there are fewer rows.

    Returns:
        In [0, 1]; NaN where there is no row, or a probability is not finite.

    >>> expected_calibration_error([0, 1], [0.25, 0.75], bins=1)
    0.0
    """
    clicks, p = np.asarray(clicked, dtype=float), np.asarray(probabilities, dtype=float)
    if not len(p) or not np.isfinite(p).all():
        return math.nan
    gaps = [abs(clicks[rows].sum() - p[rows].sum()) for rows in _bins(p, bins)]
    return float(sum(gaps) / len(p))


def chance_calibration_error(probabilities: ArrayLike, bins: int = BINS) -> float:
    """Mean of `expected_calibration_error`, in [0, 1], over clicks drawn by the probabilities themselves, by the normal
    law of sums; NaN as there.
    """
    p = np.asarray(probabilities, dtype=float)
    if not len(p) or not np.isfinite(p).all():
        return math.nan
    return float(sum(math.sqrt(2 / math.pi * (p[rows] * (1 - p[rows])).sum()) for rows in _bins(p, bins)) / len(p))


def _bins(p: Floats, bins: int) -> list[NDArray[np.int64]]:
    order = np.argsort(p, kind="stable")
    return [rows for rows in np.array_split(order, min(bins, len(p))) if len(rows)]


def level(rate: float, odds: ArrayLike) -> float:
    """Compute the shift of all log-odds by which the mean probability is the rate; NaN for a rate of 0 or 1.

    >>> round(level(0.5, [1.0, 1.0]), 6)
    -1.0
    """
    values = np.asarray(odds, dtype=float)
    if not 0 < rate < 1 or not len(values) or not np.isfinite(values).all():
        return math.nan
    low, high = -40.0 - float(values.max()), 40.0 - float(values.min())
    for _ in range(60):  # the mean rises with what is added
        middle = (low + high) / 2
        low, high = (middle, high) if _probabilities(values + middle).mean() < rate else (low, middle)
    return (low + high) / 2


def recalibration(clicked: ArrayLike, odds: ArrayLike) -> Recalibration:
    """Fit the level and the slope of log-odds, by Newton's method; NaN where there is no finite fit."""
    clicks, values = np.asarray(clicked, dtype=float), np.asarray(odds, dtype=float)
    unknown = Recalibration(math.nan, math.nan, math.nan)
    if not 0 < clicks.mean() < 1 or not np.isfinite(values).all() or np.ptp(values) < 1e-9:
        return unknown
    middle, spread = float(values.mean()), float(values.std())
    design = np.stack([np.ones_like(values), (values - middle) / spread], axis=1)
    weights = np.array([_logit(float(clicks.mean())), 0.0])
    for _ in range(50):
        p = _probabilities(design @ weights)
        information = (design * (p * (1 - p))[:, None]).T @ design
        if np.linalg.cond(information) > 1e12:
            return unknown  # clicks and the others are apart: the slope has no end
        step = np.linalg.solve(information, design.T @ (clicks - p))
        weights = weights + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            slope, error = float(weights[1]) / spread, math.sqrt(np.linalg.inv(information)[1, 1]) / spread
            return Recalibration(float(weights[0]) - slope * middle, slope, error)
    return unknown


def _probabilities(odds: Floats) -> Floats:
    return np.exp(-np.logaddexp(0.0, -odds))


def calibration_figures(clicked: Floats, odds: Floats, train_rate: float, train_mean: float) -> dict[str, float]:
    """Figures of `MEASURES` on all rows together.

    Args:
        clicked: 0 or 1, shape (rows,).
        odds: predicted log-odds, shape (rows,).
        train_rate: share of the training rows that are clicked; NaN where not known.
        train_mean: mean of the probabilities predicted for them; NaN where not known.
    """
    rate, p = float(clicked.mean()), _probabilities(odds)
    own, fit = level(rate, odds), recalibration(clicked, odds)
    plain = float(log_losses(clicked, odds).mean())
    levelled = float(log_losses(clicked, odds + own).mean())
    sloped = float(log_losses(clicked, fit.intercept + fit.slope * odds).mean()) if fit.slope == fit.slope else math.nan
    known = 0 < rate < 1
    return {
        "click_rows": float(len(clicked)),
        "base_rate": rate,
        "train_rate": train_rate,
        "mean_prediction": float(p.mean()),
        "rate_drift": _logit(rate) - _logit(train_rate),
        "level": own,
        "train_mean": train_mean,
        "train_level": _logit(train_rate) - _logit(train_mean),
        "calibration_slope": fit.slope,
        "calibration_slope_error": fit.slope_error,
        "log_loss": plain,
        "prior_log_loss": -rate * math.log(rate) - (1 - rate) * math.log(1 - rate) if known else math.nan,
        "level_gain": (plain - levelled) / plain,
        "slope_gain": (levelled - sloped) / plain,
        "auc": roc_auc(clicked, odds),
        "ece": expected_calibration_error(clicked, p),
        "ece_chance": chance_calibration_error(p),
    }


def _logit(rate: float) -> float:
    return math.log(rate / (1 - rate)) if 0 < rate < 1 else math.nan


def column_figures(clicked: Floats, odds: Floats, permuted: Floats) -> dict[str, float]:
    """Compute how much a column adds: `prediction_shift`, `loss_rise` and `loss_rise_z`.

    Args:
        clicked: 0 or 1, shape (rows,).
        odds: predicted log-odds, shape (rows,).
        permuted: the same with the column's values in another order of the rows. Where level and slope have no finite
            fit, they stay as they are.
    """
    fit = recalibration(clicked, odds)
    if not np.isfinite(permuted).all():
        return dict.fromkeys(("prediction_shift", "loss_rise", "loss_rise_z"), math.nan)
    if math.isnan(fit.slope):
        fit = Recalibration(0.0, 1.0, math.nan)
    before = log_losses(clicked, fit.intercept + fit.slope * odds)
    rises = log_losses(clicked, fit.intercept + fit.slope * permuted) - before
    spread, error = float(odds.std()), float(rises.std(ddof=1)) / math.sqrt(len(rises)) if len(rises) > 1 else 0.0
    return {
        "prediction_shift": float(np.sqrt(np.square(permuted - odds).mean())) / spread if spread > 0 else math.nan,
        "loss_rise": float(rises.mean() / before.mean()),
        "loss_rise_z": float(rises.mean()) / error if error > 0 else 0.0,
    }


def table_figures(
    trained: NDArray[np.int64],
    held_out: NDArray[np.int64],
    rows: float,
    values: NDArray[np.int64] | None,
    moved: NDArray[np.bool_] | None,
) -> dict[str, float]:
    """How a table is used: the figures of a column of `MEASURES` that its ids tell.

    Args:
        trained: row of the table of each training row, shape (training rows,).
        held_out: the same of the held-out rows.
        rows: number of rows of the table; NaN where not known.
        values: code of the value that stands behind each id of `trained`; None where not known.
        moved: whether training moved each row of the table, shape (rows,); None: those that it looked up count.
    """
    size = int(max(trained.max(initial=0), held_out.max(initial=0))) + 1
    counts = np.bincount(trained, minlength=size)
    used = int((counts > 0).sum())
    warm = counts > 0
    if moved is not None:
        warm = np.zeros(size, dtype=bool)
        warm[: len(moved)] = moved[:size]
    return {
        "values": math.nan if values is None else float(len(np.unique(values))),
        "table_rows": rows,
        "collided_share": math.nan if values is None else collided_share(trained, values),
        "looked_up": used / rows,
        "lookups_per_row": len(trained) / used if used else math.nan,
        "seldom_share": float((counts[trained] < SELDOM).mean()) if len(trained) else math.nan,
        "cold_share": float((~warm[held_out]).mean()) if len(held_out) else math.nan,
    }


def collided_share(ids: NDArray[np.int64], values: NDArray[np.int64]) -> float:
    """Share of the rows, in [0, 1], whose value is not the most frequent one of those that have its id: 0 where each
    value has an id of its own, small where seldom values share one; NaN where there is no row.

    >>> collided_share(np.array([1, 1, 1, 2]), np.array([7, 7, 8, 9]))
    0.25
    """
    if not len(ids):
        return math.nan
    pairs, counts = np.unique(np.stack([ids, values], axis=1), axis=0, return_counts=True)
    _, starts = np.unique(pairs[:, 0], return_index=True)
    return float(1 - np.maximum.reduceat(counts, starts).sum() / len(ids))
