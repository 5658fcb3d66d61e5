"""Initial scores (init_score, base_margin) that one part alone is given, each beside starts that are sound."""

import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb

from flowgrad import BoostingTracker
from flowgrad.report import validate

rng = np.random.default_rng(1)
X = rng.normal(size=(1600, 4))
KNOWN = 1.5 * rng.normal(size=1600)
"""A start that another model knows, and these columns do not."""
Y = KNOWN + X[:, 0] + 0.5 * X[:, 1] * X[:, 2] + rng.normal(size=1600)
OLD, NEW = slice(0, 1000), slice(1000, 1600)


def said(tracker):
    validate(tracker.to_agent_xml())
    return [one for one in tracker.findings() if one.type == "START_ON_ONE_PART"]


def by_xgboost(given, y=Y, told=True, eta=0.1, new=NEW, weight=None):
    tracker = BoostingTracker()
    sets = [xgb.DMatrix(X[part], y[part], base_margin=KNOWN[part] if name in given else None)
            for name, part in (("train", OLD), ("valid", new))]  # fmt: skip
    if weight is not None:
        sets[0].set_weight(weight)
    named = list(zip(sets, ("train", "valid"), strict=True))
    xgb.train({"nthread": 1, "max_depth": 4, "eta": eta}, sets[0], 60, evals=named, verbose_eval=False,
              callbacks=[tracker.as_xgb_callback()])  # fmt: skip
    if told:
        tracker.observe_data(X[OLD], y[OLD], X[new], y[new])
    return tracker


@pytest.mark.parametrize("given", ["train", "valid", ("train", "valid"), ()])
@pytest.mark.parametrize("eta", [0.1, 0.3])
def test_a_margin_on_one_part_is_asked_about(given, eta):
    """Training was given the margin of a model of ratings, validation was not, and the report had no findings."""
    found = said(by_xgboost([given] if isinstance(given, str) else given, eta=eta))
    one_part = isinstance(given, str)
    assert [(one.rule_id, one.severity, one.fix) for one in found] == [("start_unlike", "medium", None)] * one_part
    assert not one_part or found[0].candidates[0].cause == "MARGIN_ON_ONE_PART"


@pytest.mark.parametrize(("given", "asked"), [(("train",), True), (("train", "valid"), False), ((), False)])
def test_where_the_data_are_not_told_the_two_parts_alone_are_set_side_by_side(given, asked):
    found = said(by_xgboost(given, told=False))
    assert [(one.rule_id, one.severity) for one in found] == [("start_unlike_by_ratio", "low")] * asked


def test_a_target_of_another_spread_is_no_start():
    """The later half of the target has one and a half times the spread; each part is set against its own."""
    y = np.where(np.arange(1600) < 1000, Y, 1.5 * Y)
    assert said(by_xgboost((), y)) == []


@pytest.mark.parametrize("told", [True, False])
def test_weights_on_training_rows_alone_are_no_start(told):
    """A row far from the mean weighs little in training, whose error is then smaller from the first round on."""
    assert said(by_xgboost((), told=told, weight=np.where(np.abs(Y[OLD]) > 2, 0.23, 1.0))) == []


@pytest.mark.parametrize("seed", range(4))
def test_few_validation_rows_differ_by_chance(seed):
    new = np.random.default_rng(seed).choice(np.arange(1000, 1600), 70, replace=False)
    assert said(by_xgboost((), told=False, new=new)) == []


@pytest.mark.parametrize(("given", "difference"), [("train", 1.0), ("valid", -1.0), ("both", 0.0), ("", 0.0)])
@pytest.mark.parametrize("objective", ["regression", "binary"])
def test_lightgbm_tells_which_sets_have_initial_scores(given, difference, objective):
    tracker = BoostingTracker()
    y = Y if objective == "regression" else (Y > 0).astype(float)
    old, new = (KNOWN[part] if given in (name, "both") else None for name, part in (("train", OLD), ("valid", NEW)))
    rows = lgb.Dataset(X[OLD], y[OLD], init_score=old)
    held_out = lgb.Dataset(X[NEW], y[NEW], reference=rows, init_score=new)
    lgb.train({"num_threads": 1, "verbose": -1, "objective": objective}, rows, 15, valid_sets=[rows, held_out],
              valid_names=["train", "valid"], callbacks=[tracker.as_lgb_callback()])  # fmt: skip
    found = said(tracker)
    assert tracker.summary()["start_difference"] == difference
    assert [(one.rule_id, one.severity, one.fix) for one in found] == [
        ("start_given_to_one_part", "medium", None)
    ] * bool(difference)
    assert not found or ("the training rows were not" in found[0].premise) == (given == "valid")


def test_rounds_that_go_on_from_others_have_no_start():
    """LightGBM gives the rows of both parts the scores of the booster that is gone on with."""
    params, tracker = {"num_threads": 1, "verbose": -1}, BoostingTracker()
    old = lgb.train(params, lgb.Dataset(X[OLD], Y[OLD]), 10)
    lgb.train(params, lgb.Dataset(X[OLD], Y[OLD]), 10, init_model=old, valid_sets=[lgb.Dataset(X[NEW], Y[NEW])],
              callbacks=[tracker.as_lgb_callback()])  # fmt: skip
    assert said(tracker) == []
    assert np.isnan(tracker.summary()["start_difference"])


def test_the_error_before_the_first_round_is_that_of_the_mean():
    figures = by_xgboost(()).summary()
    assert figures["train_start"] == pytest.approx(1.0, abs=0.002)
    assert 0.01 < figures["first_gain"] < 0.19
