"""Boosters on real tables."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import log_loss

from pipelines.benchmarks.field.boosting import Boosting, Part
from pipelines.benchmarks.field.data import FieldData, Table
from pipelines.benchmarks.field.registry import host


def rmse(y: np.ndarray, predicted: np.ndarray) -> float:
    """Root mean squared error."""
    return float(np.sqrt(np.mean((y - predicted) ** 2)))


def logarithmic(y: np.ndarray, predicted: np.ndarray) -> float:
    """Log loss of probabilities."""
    return float(log_loss(y, np.clip(predicted, 1e-6, 1 - 1e-6), labels=[0, 1]))


def parts(table: Table, target: str, seed: int, rows: slice = slice(None)) -> tuple[Part, Part, Part]:
    """Divide rows into those to train, to validate and to test on: 60, 20 and 20 %, drawn by the seed."""
    X, y = table.features.iloc[rows].reset_index(drop=True), table.targets[target][rows]
    order = np.random.default_rng(seed).permutation(len(y))
    cuts = np.split(order, [round(0.6 * len(y)), round(0.8 * len(y))])
    first, second, third = (Part(X.iloc[cut].reset_index(drop=True), y[cut]) for cut in cuts)
    return first, second, third


def spread(part: Part) -> float:
    """Root mean squared error of the mean."""
    return float(part.y.std())


@host("xgboost", "booster", movielens=True)
def xgboost(data: FieldData, seed: int) -> Boosting:
    """Stars of a film, by XGBoost with early stopping."""
    assert data.movies is not None
    split = parts(data.movies, "rating", seed, slice(20_000, 30_000))
    params = {"objective": "reg:squarederror", "eval_metric": "rmse", "max_depth": 4, "eta": 0.08, "subsample": 0.8}
    return Boosting("xgboost", seed, "xgboost", params, 300, *split, cost=rmse, null=spread(split[2]))


@host("xgboost_progression", "booster")
def xgboost_progression(data: FieldData, seed: int) -> Boosting:
    """Progression of diabetes from ten columns, few rows."""
    split = parts(data.diabetes, "progression", seed)
    params = {
        "objective": "reg:squarederror", "eval_metric": "rmse", "max_depth": 2, "eta": 0.05, "subsample": 0.8,
        "min_child_weight": 5, "colsample_bytree": 0.7,
    }  # fmt: skip
    return Boosting(
        "xgboost_progression", seed, "xgboost", params, 300, *split, cost=rmse, null=float(split[2].y.std())
    )


@host("lightgbm", "booster", movielens=True)
def lightgbm(data: FieldData, seed: int) -> Boosting:
    """Whether a film is liked, by LightGBM with early stopping."""
    assert data.movies is not None
    split = parts(data.movies, "liked", seed, slice(40_000, 50_000))
    params = {
        "objective": "binary", "metric": "binary_logloss", "num_leaves": 15, "learning_rate": 0.06,
        "feature_fraction": 0.8, "min_data_in_leaf": 30,
    }  # fmt: skip
    return Boosting("lightgbm", seed, "lightgbm", params, 300, *split, cost=logarithmic, null=0.69)
