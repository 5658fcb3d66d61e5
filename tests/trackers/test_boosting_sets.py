"""Which evaluation set holds the training rows is told by rows, not by names such as `validation_1`."""

import pickle

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from flowgrad import BoostingTracker
from flowgrad.report import validate
from flowgrad.trackers.boosting import xgboost_loop
from flowgrad.trackers.boosting.evaluated_rows import FittedEstimator

rng = np.random.default_rng(0)
X = rng.normal(size=(400, 5))
Y = X[:, 0] + X[:, 1] * X[:, 2] + rng.normal(size=400)
CLASS = (Y > 0).astype(int)
OLD, NEW = slice(0, 200), slice(200, 400)
STOPPED = "EARLY_STOPPING_ON_TRAINING_ROWS"


def parts(target, copied=False):
    train, held_out = ((X[part], target[part]) for part in (OLD, NEW))
    again = tuple(one.copy() for one in train) if copied else train
    return train, again, held_out


def found(tracker):
    validate(tracker.to_agent_xml())
    return {one.type: one for one in tracker.findings()}


def by_xgboost(last, how, kind=xgb.XGBRegressor, target=Y, copied=False):
    train, again, held_out = parts(target, copied)
    tracker = BoostingTracker()
    sets = {"training": [held_out, again], "held out": [again, held_out], "training alone": [again]}[last]
    model = kind(n_estimators=80, max_depth=4, n_jobs=1, early_stopping_rounds=5,
                 callbacks=[tracker.as_xgb_callback()] if how == "callback" else None)  # fmt: skip
    model.fit(*train, eval_set=sets, verbose=False)
    if how != "callback":
        tracker.from_model(model)
    if how != "not observed":
        tracker.observe_data(*train, *held_out)
    return tracker


@pytest.mark.parametrize("kind", [xgb.XGBRegressor, xgb.XGBClassifier])
@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("how", ["callback", "fitted"])
@pytest.mark.parametrize("last", ["training", "held out"])
def test_early_stopping_by_training_rows_is_told_whatever_the_sets_are_called(last, how, copied, kind):
    """`validation_1` held the training rows, and the report judged by it and found nothing."""
    tracker = by_xgboost(last, how, kind, Y if kind is xgb.XGBRegressor else CLASS, copied)
    judged = tracker.measurements().judged.on
    assert judged == ("validation_0" if last == "training" else "validation_1")
    assert (STOPPED in found(tracker)) == (last == "training")
    assert "training_evaluation" not in tracker.measurements().coverage.unseen


def test_early_stopping_with_training_rows_alone_is_told():
    tracker = by_xgboost("training alone", "callback")
    assert found(tracker)[STOPPED].premise.endswith("no other rows were evaluated.")
    assert "validation_0 holds the training rows" in tracker.measurements().coverage.unseen["validation_set"]


def test_where_nothing_tells_it_is_said():
    tracker = by_xgboost("training", "not observed")
    assert STOPPED not in found(tracker)
    assert "not known which set" in tracker.measurements().coverage.unseen["training_evaluation"]


@pytest.mark.parametrize("rows", [xgb.DMatrix, xgb.QuantileDMatrix])
@pytest.mark.parametrize("many", [True, False])
def test_looking_at_rows_leaves_the_training_as_it_is(rows, many, monkeypatch):
    """Copies of the training rows are looked at, all of them or some; the model is the same to the last bit. Rows of a
    matrix of quantiles can be looked at only all together.
    """
    monkeypatch.setattr(xgboost_loop, "MOST_ENTRIES", 10 if many else 10_000)
    found, params = [], {"nthread": 1, "subsample": 0.8, "seed": 1}
    for watched in (True, False):
        tracker = BoostingTracker()
        data = rows(X[OLD], Y[OLD], nthread=1)
        more = {"ref": data} if rows is xgb.QuantileDMatrix else {}
        sets = [rows(X[OLD].copy(), Y[OLD], nthread=1, **more), rows(X[NEW], Y[NEW], nthread=1, **more)]
        booster = xgb.train(params, data, 10, evals=list(zip(sets, "ab", strict=True)), verbose_eval=False,
                            callbacks=[tracker.as_xgb_callback()] * watched)  # fmt: skip
        found.append(booster.save_raw())
        if watched:
            known = not (many and rows is xgb.QuantileDMatrix)
            assert ("training_evaluation" not in tracker.measurements().coverage.unseen) == known
    assert found[0] == found[1]


def test_targets_that_are_alike_are_no_training_rows():
    """Both parts are sorted by class and of one size, so that their targets are the same."""
    y = np.repeat([0.0, 1.0], 100)
    for library in ("xgboost", "lightgbm"):
        tracker = BoostingTracker()
        if library == "xgboost":
            a, b = (xgb.DMatrix(X[part], y) for part in (OLD, NEW))
            xgb.train({"nthread": 1, "objective": "binary:logistic"}, a, 5, evals=[(b, "b")], verbose_eval=False,
                      callbacks=[tracker.as_xgb_callback()])  # fmt: skip
        else:
            a = lgb.Dataset(X[OLD], y)
            lgb.train({"num_threads": 1, "verbose": -1, "objective": "binary"}, a, 5,
                      valid_sets=[lgb.Dataset(X[NEW], y, reference=a)],
                      callbacks=[tracker.as_lgb_callback()])  # fmt: skip
        assert tracker.measurements().judged.on == ("b" if library == "xgboost" else "valid_0")


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize("copied", [False, True])
def test_lightgbm_is_asked_by_its_own_metric(copied, watched):
    """A copy of the training rows is no training set to LightGBM; `eval_train` tells that its values are the same. The
    model is the same to the last bit, and early stopping, which went by the held-out rows, is not accused.
    """
    train, again, held_out = parts(Y, copied)
    tracker = BoostingTracker()
    calls = [lgb.early_stopping(5, verbose=False), *([tracker.as_lgb_callback()] if watched else [])]
    model = lgb.LGBMRegressor(n_estimators=60, num_leaves=8, n_jobs=1, verbose=-1, learning_rate=0.3)
    model.fit(*train, eval_set=[held_out, again], callbacks=calls)
    plain = lgb.LGBMRegressor(**model.get_params()).fit(*train, eval_set=[held_out, again], callbacks=calls[:1])
    assert plain.booster_.model_to_string() == model.booster_.model_to_string()
    if not watched:
        tracker.from_model(model)
        tracker.observe_data(*train, *held_out)
    assert tracker.measurements().judged.on == "valid_0"
    assert STOPPED not in found(tracker)


def test_rows_that_the_estimator_refuses_leave_it_not_known():
    train, _, held_out = parts(Y)
    tracker = BoostingTracker()
    model = xgb.XGBRegressor(n_estimators=5, n_jobs=1).fit(*train, eval_set=[held_out, train], verbose=False)
    tracker.from_model(model)
    tracker.observe_data(*(pd.DataFrame(part).astype(str) if part.ndim > 1 else part for part in (*train, *held_out)))
    assert "training_evaluation" in tracker.measurements().coverage.unseen


def test_a_copy_by_pickle_knows_no_estimator():
    assert pickle.loads(pickle.dumps(FittedEstimator(xgb.XGBRegressor()))).sets_of(((), ()), ((), ()), {}, 1) == ()
