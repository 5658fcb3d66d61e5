"""Leaves that have to hold a large part of the rows, and gains that no split has, each beside trees that are meant to
be small, tables that are small, and penalties that help.
"""

import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from flowgrad import BoostingTracker
from flowgrad.report import validate

LGB = {"num_threads": 1, "verbose": -1, "metric": "l2"}
XGB = {"nthread": 1, "max_depth": 6, "eta": 0.1}
rng = np.random.default_rng(3)
X = rng.uniform(size=(1800, 5))
WAVES = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2 + 10 * X[:, 3] + rng.normal(size=1800)
NOISE = X[:, 0] + 2 * rng.normal(size=1800)


def by_lightgbm(rounds=60, y=WAVES, table=X, **params):
    tracker, cut = BoostingTracker(), 2 * len(table) // 3
    rows = lgb.Dataset(table[:cut], y[:cut])
    held_out = lgb.Dataset(table[cut:], y[cut:], reference=rows)
    lgb.train(LGB | params, rows, rounds, valid_sets=[rows, held_out], valid_names=["train", "valid"],
              callbacks=[tracker.as_lgb_callback()])  # fmt: skip
    return tracker


def by_xgboost(rounds=60, y=WAVES, **params):
    tracker, cut = BoostingTracker(), 2 * len(X) // 3
    rows, held_out = (xgb.DMatrix(X[part], y[part]) for part in (slice(cut), slice(cut, None)))
    xgb.train(XGB | params, rows, rounds, evals=[(rows, "train"), (held_out, "valid")], verbose_eval=False,
              callbacks=[tracker.as_xgb_callback()])  # fmt: skip
    return tracker


def said(tracker):
    validate(tracker.to_agent_xml())
    found = [one for one in tracker.findings() if one.type == "TREES_CANNOT_SPLIT"]
    assert all(one.fix is None for one in found)
    return [(one.rule_id, one.severity) for one in found]


@pytest.mark.parametrize(
    ("train", "params"),
    [(by_lightgbm, {"min_data_in_leaf": 400}), (by_lightgbm, {"min_sum_hessian_in_leaf": 400}),
     (by_xgboost, {"min_child_weight": 400})],
)  # fmt: skip
def test_leaves_that_have_to_hold_a_third_of_the_rows_are_asked_about(train, params):
    """1,257 rows were trained with the min_data_in_leaf of a larger job, and the report had no findings."""
    tracker = train(**params)
    assert said(tracker) == [("least_leaf_too_large", "medium")]
    assert tracker.summary()["leaf_limit"] == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("train", "params"),
    [
        (by_lightgbm, {}),
        (by_xgboost, {}),
        (by_lightgbm, {"min_data_in_leaf": 400, "num_leaves": 3}),
        (by_lightgbm, {"min_data_in_leaf": 400, "max_depth": 1}),
        (by_xgboost, {"min_child_weight": 400, "max_depth": 2}),
        (by_lightgbm, {"min_data_in_leaf": 400, "y": NOISE, "rounds": 150}),
        (by_lightgbm, {"min_data_in_leaf": 400, "rounds": 800, "learning_rate": 0.2}),
        (by_lightgbm, {"min_data_in_leaf": 100}),
    ],
)
def test_trees_that_are_meant_to_be_small_and_leaves_that_do_no_harm_are_let_alone(train, params):
    assert said(train(**params)) == []


@pytest.mark.parametrize("load", [load_diabetes, load_wine, load_breast_cancer])
@pytest.mark.parametrize("least", [20, 50])
def test_small_tables_are_let_alone(load, least):
    """Of 118 rows, 20 in each leaf leave room for 5 leaves; such tables are trained so by default."""
    table, y = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    assert said(by_lightgbm(y=y[order].astype(float), table=table[order], min_data_in_leaf=least)) == []


def waves(x):
    return 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3]


def steps(x):
    return 2.0 * (x[:, 0] > 0.8) + 1.5 * (x[:, 1] < 0.3) + 2.0 * (x[:, 2] > 0.5) * (x[:, 3] > 0.5)


def corners(x):
    return np.sign((x[:, 0] - 0.5) * (x[:, 1] - 0.5)) + x[:, 2]


def slopes(x):
    return x[:, :4].sum(axis=1)


def halves(x):
    return (x > 0.5) @ np.arange(1.0, 6.0)


@pytest.mark.parametrize("relation", [waves, steps, corners, slopes, halves])
def test_where_it_is_asked_a_quarter_of_the_least_lowers_the_error(relation):
    """Targets have half as much noise as signal, at two sizes of tables and leaves, on rows that nobody saw."""
    right = []
    for seed in range(4):
        draw = np.random.default_rng(seed)
        n, least = (600, 130) if seed % 2 else (1500, 350)
        table = draw.uniform(size=(n + 2000, 5))
        signal = relation(table)
        y = signal + 0.5 * signal.std() * draw.normal(size=len(table))
        fitted = []
        for size in (least, least // 4):
            tracker, rows = BoostingTracker(), lgb.Dataset(table[: 2 * n // 3], y[: 2 * n // 3])
            held_out = lgb.Dataset(table[2 * n // 3 : n], y[2 * n // 3 : n], reference=rows)
            booster = lgb.train(
                LGB | {"min_data_in_leaf": size}, rows, 60, valid_sets=[held_out],
                callbacks=[lgb.early_stopping(60, verbose=False), tracker.as_lgb_callback()],
            )  # fmt: skip
            fitted.append((np.mean((booster.predict(table[n:]) - y[n:]) ** 2), bool(said(tracker))))
        if fitted[0][1]:
            right.append(fitted[1][0] < fitted[0][0])
    assert right
    assert all(right)


@pytest.mark.parametrize(
    ("train", "params", "asked"),
    [
        (by_xgboost, {"gamma": 600}, True),
        (by_lightgbm, {"min_gain_to_split": 600}, True),
        (by_xgboost, {"gamma": 5}, False),
        (by_xgboost, {"gamma": 600, "max_depth": 1}, False),
        (by_xgboost, {"gamma": 60, "y": NOISE}, False),
    ],
)
def test_a_gain_that_refuses_what_is_far_from_chance_is_asked_about(train, params, asked):
    assert said(train(**params)) == [("least_gain_too_large", "low")] * asked
