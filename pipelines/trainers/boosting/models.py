"""Trains XGBoost and LightGBM under one set of names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig
from pandas import DataFrame

from flowgrad.trackers import BoostingTracker
from pipelines.data.tables import Part


@dataclass(frozen=True)
class Boosted:
    """A booster that was trained."""

    library: Library
    booster: Any
    rounds: int
    """Number of rounds trained; it predicts with fewer where early stopping chose so."""
    curves: dict[str, tuple[float, ...]]
    """Validated metric by round, for `train` (where it was evaluated) and `valid`."""

    def predict(self, features: DataFrame) -> NDArray[np.float64]:
        """Predict; probabilities of class 1 where the target is a class."""
        return self.library.predict(self.booster, features)


class Library(ABC):
    """One boosting library."""

    PACKAGE: ClassVar[str]
    METRICS: ClassVar[dict[str, str]]
    """The library's name of each metric, by ours."""

    @abstractmethod
    def train(
        self,
        config: DictConfig,
        train: Part,
        validation: Part,
        seed: int,
        tracker: BoostingTracker | None,
        others: Sequence[Any] = (),
    ) -> Boosted:
        """Train by `config.model`. The training rows are evaluated too where a tracker is to see them.

        Args:
            config: what to train and how.
            train: rows to train on.
            validation: rows to stop by.
            seed: of all that the library draws.
            tracker: ours, if any.
            others: further trackers, with `as_xgb_callback` and `as_lgb_callback`.
        """

    @abstractmethod
    def predict(self, booster: Any, features: DataFrame) -> NDArray[np.float64]:
        """Predict with a booster; see `Boosted.predict`."""


class XGBoost(Library):
    """`xgboost.train`, histogram trees grown by depth."""

    PACKAGE = "xgboost"
    METRICS: ClassVar = {"rmse": "rmse", "mae": "mae", "auc": "auc", "logloss": "logloss"}

    def train(
        self,
        config: DictConfig,
        train: Part,
        validation: Part,
        seed: int,
        tracker: BoostingTracker | None,
        others: Sequence[Any] = (),
    ) -> Boosted:
        """Train by XGBoost; see `Library.train`."""
        import xgboost

        threads, model = config.training.threads, config.model
        data, held_out = (xgboost.DMatrix(part.features, part.target, nthread=threads) for part in (train, validation))
        metric = self.METRICS[config.task.metrics[0]]
        params = {
            "objective": {"regression": "reg:squarederror", "binary": "binary:logistic"}[config.task.kind],
            "eval_metric": metric,
            "tree_method": "hist",
            "learning_rate": model.learning_rate,
            "max_depth": model.max_depth,
            "min_child_weight": model.min_child_weight,
            "reg_lambda": model.reg_lambda,
            "subsample": model.subsample,
            "colsample_bytree": model.column_share,
            "seed": seed,
            "nthread": threads,
        }
        watching = [*([tracker] if tracker is not None else []), *others]
        callbacks: list[Any] = [one.as_xgb_callback() for one in watching]
        if model.early_stopping_rounds:
            callbacks.append(xgboost.callback.EarlyStopping(rounds=model.early_stopping_rounds))
        record: dict[str, dict[str, list[float]]] = {}
        booster = xgboost.train(
            params,
            data,
            model.rounds,
            evals=[*([(data, "train")] if watching else []), (held_out, "valid")],
            evals_result=record,
            callbacks=callbacks,
            verbose_eval=False,
        )
        curves = {name: tuple(found[metric]) for name, found in record.items()}
        return Boosted(self, booster, len(curves["valid"]), curves)

    def predict(self, booster: Any, features: DataFrame) -> NDArray[np.float64]:
        """Predict with a booster; see `Boosted.predict`."""
        import xgboost

        best = booster.attr("best_iteration")  # written by early stopping alone
        rounds = (0, int(best) + 1) if best is not None else (0, 0)
        return booster.predict(xgboost.DMatrix(features, nthread=1), iteration_range=rounds).astype(float)


class LightGBM(Library):
    """`lightgbm.train`. Trees are grown by leaf, within the depth and as many leaves as a full tree of it has."""

    PACKAGE = "lightgbm"
    METRICS: ClassVar = {"rmse": "rmse", "mae": "l1", "auc": "auc", "logloss": "binary_logloss"}
    MOST_LEAVES = 4096

    def train(
        self,
        config: DictConfig,
        train: Part,
        validation: Part,
        seed: int,
        tracker: BoostingTracker | None,
        others: Sequence[Any] = (),
    ) -> Boosted:
        """Train by LightGBM; see `Library.train`."""
        import lightgbm

        model = config.model
        data = lightgbm.Dataset(_plain(train.features), train.target)
        held_out = lightgbm.Dataset(_plain(validation.features), validation.target, reference=data)
        metric = self.METRICS[config.task.metrics[0]]
        params = {
            "objective": {"regression": "regression", "binary": "binary"}[config.task.kind],
            "metric": metric,
            "learning_rate": model.learning_rate,
            "max_depth": model.max_depth,
            "num_leaves": min(2**model.max_depth, self.MOST_LEAVES),
            "min_sum_hessian_in_leaf": model.min_child_weight,
            "min_data_in_leaf": 1,
            "lambda_l2": model.reg_lambda,
            "bagging_fraction": model.subsample,
            "bagging_freq": int(model.subsample < 1),
            "feature_fraction": model.column_share,
            "seed": seed,
            "num_threads": config.training.threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }
        record: dict[str, dict[str, list[float]]] = {}
        watching = [*([tracker] if tracker is not None else []), *others]
        callbacks: list[Any] = [lightgbm.record_evaluation(record), *(one.as_lgb_callback() for one in watching)]
        if model.early_stopping_rounds:
            callbacks.append(
                lightgbm.early_stopping(model.early_stopping_rounds, first_metric_only=True, verbose=False)
            )
        names: Sequence[str] = ["train", "valid"] if watching else ["valid"]
        sets = [data, held_out] if watching else [held_out]
        booster = lightgbm.train(
            params, data, model.rounds, valid_sets=sets, valid_names=list(names), callbacks=callbacks
        )
        # A column of one value has its name all the same.
        curves = {name: tuple(found[metric]) for name, found in record.items() if name in ("train", "valid")}
        return Boosted(self, booster, len(curves["valid"]), curves)

    def predict(self, booster: Any, features: DataFrame) -> NDArray[np.float64]:
        """Predict with a booster; see `Boosted.predict`."""
        return np.asarray(booster.predict(_plain(features), num_threads=1), dtype=float)


def _plain(features: DataFrame) -> DataFrame:
    """Rename columns for LightGBM, which takes no name with a space or one of JSON's characters."""
    return features.rename(columns=lambda name: "".join(c if c.isalnum() or c in "_-'" else "_" for c in str(name)))
