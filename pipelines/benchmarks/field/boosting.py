"""Trains a booster as its author does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pandas import DataFrame

from pipelines.benchmarks.field.training import Fitted


@dataclass
class Part:
    """Rows of a table with their targets."""

    X: DataFrame
    y: np.ndarray


@dataclass
class Boosting:
    """One training of a booster; a fault or a habit changes it before it starts."""

    host: str
    seed: int
    library: str
    """Name of the library, `xgboost` or `lightgbm`."""
    params: dict[str, Any]
    rounds: int
    train: Part
    validation: Part
    test: Part
    """Test rows, as the model will meet them in use."""
    cost: Callable[[np.ndarray, np.ndarray], float]
    """Function (targets, predictions) -> cost of the model in use, lower is better."""
    null: float
    """Cost of a model that gives the same for every row."""
    early: int | None = 30
    """Number of rounds without a better validation metric after which training ends."""
    metric: Callable[[np.ndarray, np.ndarray], tuple[str, float, bool]] | None = None
    """Metric of the author's own, a function (targets, predictions) -> its name, its value, and whether higher is
    better.
    """
    notes: dict[str, Any] = field(default_factory=dict)


def fit(run: Boosting, tracker: Any) -> Fitted:
    """Train with the tracker's callback, and give it the data afterwards."""
    kept = _xgboost(run, tracker) if run.library == "xgboost" else _lightgbm(run, tracker)
    predict, rounds = kept
    tracker.observe_data(run.train.X, run.train.y, run.validation.X, run.validation.y)
    told = run.cost(run.validation.y, predict(run.validation.X))
    return Fitted(run.cost(run.test.y, predict(run.test.X)), told, rounds, (), ())


def _xgboost(run: Boosting, tracker: Any) -> tuple[Callable[[DataFrame], np.ndarray], int]:
    import xgboost

    train = xgboost.DMatrix(run.train.X, run.train.y)
    validation = xgboost.DMatrix(run.validation.X, run.validation.y)
    more: dict[str, Any] = {}
    if run.metric is not None:
        own = run.metric
        more["custom_metric"] = lambda predicted, data: own(data.get_label(), predicted)[:2]
        more["maximize"] = own(run.train.y[:50], np.linspace(0, 1, 50))[2]
    booster = xgboost.train(
        {"nthread": 1, "seed": run.seed, **run.params}, train, run.rounds,
        evals=[(train, "train"), (validation, "valid")], early_stopping_rounds=run.early, verbose_eval=False,
        callbacks=[tracker.as_xgb_callback()], **more,
    )  # fmt: skip
    best = booster.best_iteration + 1 if run.early else booster.num_boosted_rounds()
    return lambda X: booster.predict(xgboost.DMatrix(X), iteration_range=(0, best)), booster.num_boosted_rounds()


def _lightgbm(run: Boosting, tracker: Any) -> tuple[Callable[[DataFrame], np.ndarray], int]:
    import lightgbm

    train = lightgbm.Dataset(run.train.X, run.train.y)
    validation = lightgbm.Dataset(run.validation.X, run.validation.y, reference=train)
    callbacks = [tracker.as_lgb_callback()]
    if run.early:
        callbacks.append(lightgbm.early_stopping(run.early, verbose=False))
    own = run.metric
    booster = lightgbm.train(
        {"num_threads": 1, "verbose": -1, "seed": run.seed, **run.params}, train, run.rounds,
        valid_sets=[train, validation], valid_names=["train", "valid"], callbacks=callbacks,
        feval=None if own is None else lambda predicted, data: own(data.get_label(), predicted),
    )  # fmt: skip
    return lambda X: np.asarray(booster.predict(X)), booster.current_iteration()
