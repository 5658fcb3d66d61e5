"""Causes outside the trees: rounds that were trained before, leaves that no weight allows, a start far from the target,
a set that early stopping should not go by, a metric that stands still; each beside a habit that is sound.
"""

import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb

from flowgrad import BoostingTracker
from flowgrad.report import validate

LGB = {"num_threads": 1, "verbose": -1, "num_leaves": 15}
XGB = {"nthread": 1, "max_depth": 6, "eta": 0.1, "objective": "binary:logistic", "eval_metric": "logloss"}
rng = np.random.default_rng(0)
X = rng.normal(size=(1500, 4))
Y = X[:, 0] + X[:, 1] * X[:, 2] + rng.normal(size=1500)
CLASS = (Y > 0).astype(float)
OLD, NEW = slice(0, 1000), slice(1000, 1500)


def types(tracker):
    found = {one.type: one for one in tracker.findings()}
    validate(tracker.to_agent_xml())
    return found


@pytest.mark.parametrize("before", [True, False])
def test_rounds_that_go_on_from_others_are_not_called_cut_short(before):
    """A nightly job adds 30 small rounds to last month's booster. Its first rounds were not seen, and gains of the last
    ones were held against them: BOOSTER_STAGNATION, with a fix.
    """
    tracker, params = BoostingTracker(), LGB | {"metric": "l2", "learning_rate": 0.01}
    old = lgb.train(LGB, lgb.Dataset(X[OLD], Y[OLD]), 60) if before else None
    rows = lgb.Dataset(X[OLD], Y[OLD])
    lgb.train(params, rows, 30, init_model=old, valid_sets=[lgb.Dataset(X[NEW], Y[NEW], reference=rows)],
              callbacks=[tracker.as_lgb_callback()])  # fmt: skip
    assert ("BOOSTER_STAGNATION" in types(tracker)) != before
    assert np.isnan(tracker.summary()["late_tree_gain"]) == before
    if before:
        assert "60 rounds" in tracker.measurements().coverage.unseen["first_rounds"]


def weighted(total, **params):
    tracker = BoostingTracker()
    rows = xgb.DMatrix(X[OLD], CLASS[OLD], weight=np.full(1000, total / 1000))
    xgb.train(XGB | params, rows, 30, evals=[(xgb.DMatrix(X[NEW], CLASS[NEW]), "valid")], verbose_eval=False,
              callbacks=[tracker.as_xgb_callback()])  # fmt: skip
    return types(tracker)


def test_weights_so_small_that_no_leaf_can_be_split_are_asked_about():
    """Weights that sum to 10 leave 2.5 of hessians, and min_child_weight asks for 1 in each leaf: stumps."""
    found = weighted(10)["TREES_CANNOT_SPLIT"]
    assert found.fix is None
    assert "WEIGHTS_TOO_SMALL" in {one.cause for one in found.candidates}


@pytest.mark.parametrize(("total", "params"), [(1000, {}), (10, {"min_child_weight": 0.01}), (10, {"max_depth": 1})])
def test_weights_that_leave_room_and_stumps_that_were_asked_for_are_let_alone(total, params):
    assert "TREES_CANNOT_SPLIT" not in weighted(total, **params)


@pytest.mark.parametrize(("least", "said"), [(100, True), (5, False)])
def test_trees_without_a_split_are_asked_about_with_the_rows_that_a_leaf_has_to_have(least, said):
    """LightGBM gives a tree of one leaf no hessians: they were told to sum to 0, as of weights that are too small."""
    tracker, rows = BoostingTracker(), lgb.Dataset(X[OLD][:60], Y[OLD][:60])
    lgb.train(LGB | {"min_data_in_leaf": least}, rows, 30, callbacks=[tracker.as_lgb_callback()])
    found = types(tracker).get("TREES_CANNOT_SPLIT")
    assert (found is not None) == said
    assert not said or (found.rule_id, found.candidates[0].cause) == ("trees_of_one_leaf", "LEAVES_NEED_MORE_ROWS")


def squares(predicted, data):
    return predicted - data.get_label(), np.ones(len(predicted))


@pytest.mark.parametrize(
    ("objective", "level", "rounds", "said"),
    [(squares, 10, 60, True), ("regression", 10, 60, False), (squares, 0, 60, False), (squares, 10, 600, False)],
)
def test_an_objective_that_starts_at_zero_far_from_the_target_is_asked_about(objective, level, rounds, said):
    """LightGBM starts an objective of the user's at 0, and sixty rounds of .03 do not reach a target of 10; a target
    about 0, or rounds enough, have no need to.
    """
    tracker = BoostingTracker()
    rows = lgb.Dataset(X[OLD], Y[OLD] + level)
    lgb.train(LGB | {"objective": objective, "metric": "rmse", "learning_rate": 0.03}, rows, rounds,
              valid_sets=[lgb.Dataset(X[NEW], Y[NEW] + level, reference=rows)],
              callbacks=[tracker.as_lgb_callback()])  # fmt: skip
    tracker.observe_data(X[OLD], Y[OLD] + level, X[NEW], Y[NEW] + level)
    assert ("STARTS_FAR_FROM_THE_MEAN" in types(tracker)) == said


@pytest.mark.parametrize("last", ["training", "held_out"])
def test_a_set_that_never_turns_while_another_has_is_asked_about(last):
    """Estimators of XGBoost name the sets by number, and early stopping went by the training rows, which stood last.
    Read without these rows, nothing tells which set holds them.
    """
    tracker = BoostingTracker()
    sets = [(X[OLD][:300], CLASS[OLD][:300]), (X[NEW], CLASS[NEW])]
    model = xgb.XGBClassifier(n_estimators=150, max_depth=6, learning_rate=0.3, n_jobs=1, early_stopping_rounds=10,
                              eval_metric="logloss")  # fmt: skip
    model.fit(*sets[0], eval_set=sets[::-1] if last == "training" else sets, verbose=False)
    tracker.from_model(model)
    found = types(tracker)
    assert ("EVALUATION_SETS_PART_WAYS" in found) == (last == "training")
    if last == "training":
        asked = found["EVALUATION_SETS_PART_WAYS"]
        assert asked.candidates[0].cause == "EARLY_STOPPING_ON_TRAINING_ROWS"
        assert asked.fix is None


def test_a_first_round_that_is_kept_by_a_metric_that_stands_still():
    """Where one class is rare, every early round gives all rows the common one, and the error rate stands still."""
    rare = (Y > 3.2).astype(float)
    tracker = BoostingTracker()
    rows = xgb.DMatrix(X[OLD], rare[OLD])
    xgb.train(XGB | {"eval_metric": "error", "eta": 0.02}, rows, 40, verbose_eval=False, early_stopping_rounds=10,
              evals=[(xgb.DMatrix(X[NEW], rare[NEW]), "valid")], callbacks=[tracker.as_xgb_callback()])  # fmt: skip
    asked = types(tracker)["FIRST_ROUND_KEPT"]
    assert "METRIC_STANDS_STILL" in {one.cause for one in asked.candidates}
