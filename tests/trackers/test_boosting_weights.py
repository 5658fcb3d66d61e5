"""Weights of the positive class in a booster's settings, which its predictions are no probabilities with."""

import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb

from flowgrad import BoostingTracker
from flowgrad.trackers.boosting.told import _weight_in_catboost

rng = np.random.default_rng(0)
X = rng.normal(size=(600, 3))
Y = (X[:, 0] + rng.normal(size=600) > 1.2).astype(float)
OLD, NEW = slice(0, 400), slice(400, 600)


def by_xgboost(metric, **params):
    tracker = BoostingTracker()
    settings = {"nthread": 1, "max_depth": 2, "objective": "binary:logistic", "eval_metric": metric} | params
    held_out = [(xgb.DMatrix(X[NEW], Y[NEW]), "valid")]
    xgb.train(settings, xgb.DMatrix(X[OLD], Y[OLD]), 6, evals=held_out, verbose_eval=False,
              callbacks=[tracker.as_xgb_callback()])  # fmt: skip
    return tracker


def by_lightgbm(metric, **params):
    tracker, rows = BoostingTracker(), lgb.Dataset(X[OLD], Y[OLD])
    settings = {"num_threads": 1, "verbose": -1, "num_leaves": 4, "objective": "binary", "metric": metric} | params
    lgb.train(settings, rows, 6, valid_sets=[lgb.Dataset(X[NEW], Y[NEW], reference=rows)], valid_names=["valid"],
              callbacks=[tracker.as_lgb_callback()])  # fmt: skip
    return tracker


def asked(tracker):
    return [one for one in tracker.findings() if one.type == "PROBABILITIES_OFF_BY_LEVEL"]


@pytest.mark.parametrize(
    ("train", "metric", "params", "severity"),
    [
        (by_xgboost, "logloss", {"scale_pos_weight": 6}, "low"),
        (by_xgboost, "auc", {"scale_pos_weight": 6}, "info"),
        (by_xgboost, "logloss", {}, None),
        (by_xgboost, "rmse", {"objective": "reg:squarederror", "scale_pos_weight": 6}, None),
        (by_lightgbm, "binary_logloss", {"scale_pos_weight": 6}, "low"),
        (by_lightgbm, "auc", {"scale_pos_weight": 6}, "info"),
        (by_lightgbm, "binary_logloss", {}, None),
    ],
)
def test_a_weight_in_the_settings_is_a_question(train, metric, params, severity):
    """`scale_pos_weight` made a response rate of .06 a mean prediction of .37, and the report had no findings."""
    found = asked(train(metric, **params))
    assert [(one.severity, one.fix) for one in found] == ([] if severity is None else [(severity, None)])


def test_classes_that_are_balanced_have_the_weight_of_their_numbers():
    tracker = by_lightgbm("binary_logloss", is_unbalance=True)
    assert asked(tracker) == []
    tracker.observe_data(X[OLD], Y[OLD], X[NEW], Y[NEW])
    (found,) = asked(tracker)
    rate = Y[OLD].mean()
    assert found.measured["positive_weight"] == pytest.approx((1 - rate) / rate)
    assert found.measured["weighted_rate"] == pytest.approx(0.5)
    assert f"{rate:.2%}" in found.premise


@pytest.mark.parametrize(
    ("settings", "weight"),
    [
        ({"loss_function": "Logloss", "class_weights": [1, 4]}, 4.0),
        ({"loss_function": "Logloss"}, 1.0),
        ({"loss_function": "RMSE", "class_weights": [1, 4]}, 1.0),
        ({"loss_function": "Logloss", "class_weights": [1, 4, 2]}, np.nan),
    ],
)
def test_catboost_keeps_weights_of_classes(settings, weight):
    assert _weight_in_catboost(settings) == pytest.approx(weight, nan_ok=True)
