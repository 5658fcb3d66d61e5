"""Healthy habits of boosters."""

from __future__ import annotations

import numpy as np

from pipelines.benchmarks.field.boosting import Boosting, Part
from pipelines.benchmarks.field.registry import habit

BOOSTERS = ["xgboost", "xgboost_progression", "lightgbm"]


@habit(["lightgbm"])
def random_forest(run: Boosting) -> None:
    """`boosting=rf`: trees do not follow each other, and there is no rate."""
    run.params = {
        **run.params, "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6, "feature_fraction_bynode": 0.6,
        "num_leaves": 63,
    }  # fmt: skip
    run.early, run.rounds = None, 120


@habit(BOOSTERS)
def dart(run: Boosting) -> None:
    """Trees are dropped at random, and scaled anew."""
    run.params = {**run.params, **({"booster": "dart", "rate_drop": 0.1} if run.library == "xgboost" else
                                   {"boosting": "dart", "drop_rate": 0.1})}  # fmt: skip
    run.early, run.rounds = None, 80


@habit(["xgboost"])
def parallel_trees(run: Boosting) -> None:
    """A random forest by XGBoost: one round of many trees."""
    run.params = {**run.params, "num_parallel_tree": 50, "eta": 1.0, "subsample": 0.6, "max_depth": 8}
    run.early, run.rounds = None, 1


@habit(BOOSTERS)
def honest_lag(run: Boosting) -> None:
    """One column is an earlier measurement of the target, known in time: strong and right."""
    rng = np.random.default_rng(run.seed)
    for name in ("train", "validation", "test"):
        part = getattr(run, name)
        lag = part.y + rng.normal(size=len(part.y)) * part.y.std() * (0.4 if run.library == "xgboost" else 1.0)
        setattr(run, name, Part(part.X.assign(lag_1=lag), part.y))


@habit(BOOSTERS)
def early_stopping_long(run: Boosting) -> None:
    """Deep trees overfit in the end, and early stopping keeps the best round."""
    run.early, run.rounds = 60, 600
    run.params = {**run.params, **({"max_depth": 6} if run.library == "xgboost" else {"num_leaves": 31})}


def _higher_is_better(y: np.ndarray, predicted: np.ndarray) -> tuple[str, float, bool]:
    """Correlation of targets and predictions."""
    if np.std(predicted) == 0 or np.std(y) == 0:
        return "correlation", 0.0, True
    return "correlation", float(np.corrcoef(y, predicted)[0, 1]), True


@habit(BOOSTERS)
def metric_of_ones_own(run: Boosting) -> None:
    """A metric that is better when higher, said to the library and not to the tracker."""
    run.metric = _higher_is_better
    run.params = {key: value for key, value in run.params.items() if key not in ("eval_metric", "metric")}
    run.params |= {"disable_default_eval_metric": 1} if run.library == "xgboost" else {"metric": "None"}


@habit(BOOSTERS)
def row_sampling(run: Boosting) -> None:
    """Half of the rows and half of the columns a tree."""
    more = (
        {"subsample": 0.5, "colsample_bytree": 0.5}
        if run.library == "xgboost"
        else {"bagging_fraction": 0.5, "bagging_freq": 1, "feature_fraction": 0.5}
    )
    run.params = {**run.params, **more}


@habit(["xgboost", "lightgbm"])
def gaps(run: Boosting) -> None:
    """A tenth of all values is missing."""
    rng = np.random.default_rng(run.seed)
    for name in ("train", "validation", "test"):
        part = getattr(run, name)
        setattr(run, name, Part(part.X.mask(rng.random(part.X.shape) < 0.1), part.y))


@habit(["lightgbm"])
def imbalanced_targets(run: Boosting) -> None:
    """One class in twenty, weighed by its share."""
    for name in ("train", "validation", "test"):
        part = getattr(run, name)
        rng = np.random.default_rng(run.seed)
        keep = (part.y == 0) | (rng.random(len(part.y)) < 0.06)
        setattr(run, name, Part(part.X[keep].reset_index(drop=True), part.y[keep]))
    run.params = {**run.params, "min_data_in_leaf": 50, "learning_rate": 0.03}


@habit(BOOSTERS)
def low_rate_many_rounds(run: Boosting) -> None:
    """A low rate and as many rounds as it takes."""
    run.params = {**run.params, ("eta" if run.library == "xgboost" else "learning_rate"): 0.02}
    run.early, run.rounds = 50, 1200
