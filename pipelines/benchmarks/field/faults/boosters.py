"""Faults of boosters and of their tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipelines.benchmarks.field.boosting import Boosting, Part
from pipelines.benchmarks.field.registry import fault

BOOSTERS = ["xgboost", "xgboost_progression", "lightgbm"]


def _rate(run: Boosting) -> str:
    return "eta" if run.library == "xgboost" else "learning_rate"


def _column(part: Part, name: str, values: np.ndarray) -> Part:
    return Part(part.X.assign(**{name: values}), part.y)


@fault(BOOSTERS)
def overfitting_without_stopping(run: Boosting) -> None:
    """Deep trees, a high rate, and no early stopping."""
    deep = {"max_depth": 9, "eta": 0.3} if run.library == "xgboost" else {"num_leaves": 255, "learning_rate": 0.3}
    run.params = {**run.params, **deep, "min_child_weight": 1} if run.library == "xgboost" else {
        **run.params, **deep, "min_data_in_leaf": 3
    }  # fmt: skip
    run.early, run.rounds = None, 250


@fault(BOOSTERS)
def too_few_rounds(run: Boosting) -> None:
    """A low rate and few rounds: training ends while the error still falls."""
    run.params = {**run.params, _rate(run): 0.005}
    run.early, run.rounds = None, 60


@fault(BOOSTERS)
def rate_too_high(run: Boosting) -> None:
    """Each tree overshoots."""
    run.params = {**run.params, _rate(run): 1.6}
    run.early, run.rounds = None, 80


@fault(BOOSTERS)
def leak_written_after_the_target(run: Boosting) -> None:
    """A column is written when the target is known; in use it is empty."""
    rng = np.random.default_rng(run.seed)
    for name in ("train", "validation"):
        part = getattr(run, name)
        noise = rng.normal(size=len(part.y)) * part.y.std() * 0.1
        setattr(run, name, _column(part, "status_code", part.y + noise))
    run.test = _column(run.test, "status_code", np.full(len(run.test.y), np.nan))


@fault(BOOSTERS)
def leak_of_training_rows(run: Boosting) -> None:
    """A mean of the target by group is computed with the row itself, from groups of one or two rows."""
    rng = np.random.default_rng(run.seed)
    means: dict[int, float] = {}
    group = rng.integers(0, max(2, len(run.train.y) // 2), len(run.train.y))
    means = dict(pd.Series(run.train.y).groupby(group).mean())
    overall = float(run.train.y.mean())
    run.train = _column(run.train, "group_mean", np.array([means[int(g)] for g in group]))
    for name in ("validation", "test"):
        part = getattr(run, name)
        other = rng.integers(0, max(2, len(run.train.y) // 2), len(part.y))
        setattr(run, name, _column(part, "group_mean", np.array([means.get(int(g), overall) for g in other])))


@fault(BOOSTERS)
def training_rows_in_validation(run: Boosting) -> None:
    """Half of the validation rows are training rows."""
    chosen = np.random.default_rng(run.seed).choice(len(run.train.y), len(run.validation.y), replace=False)
    X = pd.concat([run.validation.X, run.train.X.iloc[chosen]], ignore_index=True)
    run.validation = Part(X, np.concatenate([run.validation.y, run.train.y[chosen]]))
    run.params = {**run.params, **({"max_depth": 8} if run.library == "xgboost" else {"num_leaves": 127})}


@fault(BOOSTERS)
def targets_shuffled(run: Boosting) -> None:
    """Rows were sorted and their targets were not."""
    rng = np.random.default_rng(run.seed)
    run.train = Part(run.train.X, rng.permutation(run.train.y))
    run.validation = Part(run.validation.X, rng.permutation(run.validation.y))


@fault(BOOSTERS)
def columns_in_another_order(run: Boosting) -> None:
    """Validation and use have their columns in another order, under the names of training."""
    order = np.random.default_rng(run.seed).permutation(run.train.X.shape[1])
    for name in ("validation", "test"):
        part = getattr(run, name)
        X = pd.DataFrame(part.X.to_numpy()[:, order], columns=part.X.columns)
        setattr(run, name, Part(X, part.y))


@fault(BOOSTERS)
def row_numbers_as_a_column(run: Boosting) -> None:
    """The file is sorted by the target and its row number is a column; rows to come have later numbers."""
    order = np.argsort(run.train.y, kind="stable")
    rank = np.empty(len(order))
    rank[order] = np.arange(len(order))
    run.train = _column(run.train, "row", rank)
    count = len(rank)
    for name in ("validation", "test"):
        part = getattr(run, name)
        setattr(run, name, _column(part, "row", count + np.arange(len(part.y), dtype=float)))
        count += len(part.y)


@fault(BOOSTERS)
def a_third_of_the_targets_wrong(run: Boosting) -> None:
    """A join went wrong for a third of the training rows."""
    rng = np.random.default_rng(run.seed)
    chosen = np.flatnonzero(rng.random(len(run.train.y)) < 0.35)
    y = run.train.y.copy()
    y[chosen] = y[rng.permutation(chosen)]
    run.train = Part(run.train.X, y)
