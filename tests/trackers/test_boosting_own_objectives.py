"""Objectives of the user's own: metrics of the libraries are given raw scores then, and tell nothing of the model."""

import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb

from flowgrad import BoostingTracker
from flowgrad.report import validate

rng = np.random.default_rng(0)
X = rng.normal(size=(900, 5))
Y = (X[:, 0] * X[:, 1] + X[:, 2] + rng.normal(size=900) > 0).astype(float)
OLD, NEW = slice(0, 300), slice(300, 900)
JUDGED = {"BOOSTER_OVERFITTING", "ROWS_MEMORISED", "BOOSTER_STAGNATION", "LEARNING_RATE_TOO_HIGH", "FIRST_ROUND_KEPT"}
QUIET = {"num_threads": 1, "verbose": -1, "num_leaves": 15, "learning_rate": 0.1, "min_data_in_leaf": 5}


def weighted(scores, data):
    """Logistic loss in which positives weigh four times."""
    y = data.get_label()
    p, w = 1 / (1 + np.exp(-scores)), np.where(y > 0, 4.0, 1.0)
    return w * (p - y), w * p * (1 - p)


def squares(scores, data):
    return scores - data.get_label(), np.ones(len(scores))


def hits(scores, data):
    return "hits", float(np.mean((scores > 0) == data.get_label())), True


def by_lightgbm(objective, metric, feval=None, stop=None, y=Y, **said):
    tracker = BoostingTracker(**said)
    rows = lgb.Dataset(X[OLD], y[OLD])
    calls = [tracker.as_lgb_callback(), *([stop] if stop else [])]
    sets = [rows, lgb.Dataset(X[NEW], y[NEW], reference=rows)]
    lgb.train(QUIET | {"objective": objective, "metric": metric}, rows, 60, feval=feval, callbacks=calls,
              valid_sets=sets, valid_names=["train", "valid"])  # fmt: skip
    tracker.observe_data(X[OLD], y[OLD], X[NEW], y[NEW])
    return tracker


def by_xgboost(obj, metric, **params):
    tracker = BoostingTracker()
    sets = [(xgb.DMatrix(X[part], Y[part]), name) for part, name in ((OLD, "train"), (NEW, "valid"))]
    told = {"eval_metric": metric} if metric else {}
    booster = xgb.train({"nthread": 1, "max_depth": 5, "eta": 0.3} | told | params, sets[0][0], 60, evals=sets, obj=obj,
                        callbacks=[tracker.as_xgb_callback()], verbose_eval=False)  # fmt: skip
    return tracker, booster


def types(tracker):
    validate(tracker.to_agent_xml())
    return {one.type: one for one in tracker.findings() if one.severity != "info"}


def judged(tracker):
    return tracker.measurements().judged.metric


@pytest.mark.parametrize("metric", ["binary_logloss", "cross_entropy", "binary_error", "l2"])
def test_a_metric_of_lightgbm_that_gets_raw_scores_is_asked_about_and_not_judged(metric):
    """Its best round was 14 of 300, that of the loss was near 100: early stopping by it was prescribed as a fix."""
    tracker = by_lightgbm(weighted, metric)
    found = types(tracker)
    assert not JUDGED & set(found)
    assert (found["METRIC_OF_RAW_SCORES"].severity, found["METRIC_OF_RAW_SCORES"].fix) == ("low", None)
    assert "nothing is judged by them" in tracker.measurements().coverage.unseen["raw_scores"]
    assert np.isnan(tracker.summary()["best_round"])


@pytest.mark.parametrize(("metric", "feval", "by"), [
    (["binary_logloss", "auc"], None, "auc"), ("binary_logloss", hits, "hits"), (["auc", "l2"], hits, "hits"),
])  # fmt: skip
def test_ones_own_metric_and_then_one_of_order_is_judged_instead(metric, feval, by):
    tracker = by_lightgbm(weighted, metric, feval)
    assert judged(tracker) == by
    assert tracker.summary()["best_round"] > 0
    assert "METRIC_OF_RAW_SCORES" not in types(tracker)
    assert by in tracker.measurements().coverage.unseen["raw_scores"]


def test_early_stopping_by_raw_scores_is_asked_about_though_another_metric_is_judged():
    stop = lgb.early_stopping(10, first_metric_only=True, verbose=False)
    tracker = by_lightgbm(weighted, "binary_logloss", hits, stop)
    asked = types(tracker)["METRIC_OF_RAW_SCORES"]
    assert asked.premise.startswith("Early stopping went by")
    assert judged(tracker) == "hits"


@pytest.mark.parametrize(("objective", "metric"), [("binary", "binary_logloss"), ("cross_entropy", "cross_entropy")])
def test_lightgbms_own_objective_is_judged_by_its_own_metric(objective, metric):
    tracker = by_lightgbm(objective, metric)
    assert "BOOSTER_OVERFITTING" in types(tracker)
    assert "raw_scores" not in tracker.measurements().coverage.unseen


def test_scores_on_the_targets_own_scale_are_judged_and_it_is_said():
    """The link of an own objective is not known; an amount that is fitted by squares has none."""
    y = X[:, 0] * X[:, 1] + X[:, 2] + rng.normal(size=900)
    tracker = by_lightgbm(squares, "l2", y=y)
    assert judged(tracker) == "l2"
    assert tracker.summary()["best_round"] > 0
    assert "own scale" in tracker.measurements().coverage.unseen["raw_scores"]


@pytest.mark.parametrize(("obj", "params", "raw"), [
    (weighted, {}, True), (weighted, {"objective": "binary:logistic"}, False),
    (None, {"objective": "binary:logistic"}, False), (None, {"objective": "binary:logitraw"}, True),
])  # fmt: skip
def test_xgboosts_metrics_get_what_the_objective_that_is_set_makes_of_scores(obj, params, raw):
    """The value that XGBoost logs is that of the logistic function of the scores, or of the scores."""
    tracker, booster = by_xgboost(obj, ["rmse", "logloss"], **params)
    scores = booster.predict(xgb.DMatrix(X[NEW]), output_margin=True)
    given = scores if raw else 1 / (1 + np.exp(-scores))
    logged = tracker.evaluations()["valid rmse"].iloc[-1]
    assert logged == pytest.approx(np.sqrt(np.mean((given - Y[NEW]) ** 2)), rel=1e-4)
    assert ("METRIC_OF_RAW_SCORES" in types(tracker)) == raw
    assert np.isnan(tracker.summary()["best_round"]) == raw


def test_the_rmse_that_xgboost_logs_by_default_beside_an_own_loss_of_classes_is_not_judged():
    found = types(by_xgboost(weighted, None)[0])
    assert "METRIC_OF_RAW_SCORES" in found
    assert not JUDGED & set(found)


@pytest.mark.parametrize("kind", ["regressor", "classifier"])
def test_an_estimator_read_afterwards_tells_of_its_own_objective(kind):
    """XGBClassifier sets binary:logistic beside an own objective, XGBRegressor leaves squared errors."""

    def objective(y, scores):
        p = 1 / (1 + np.exp(-scores))
        return p - y, p * (1 - p)

    estimator = xgb.XGBRegressor if kind == "regressor" else xgb.XGBClassifier
    model = estimator(n_estimators=20, n_jobs=1, objective=objective, eval_metric="logloss")
    model.fit(X[OLD], Y[OLD], eval_set=[(X[NEW], Y[NEW])], verbose=False)
    tracker = BoostingTracker()
    tracker.from_model(model)
    assert ("METRIC_OF_RAW_SCORES" in types(tracker)) == (kind == "regressor")
