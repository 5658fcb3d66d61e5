"""Codes that are given as numbers: the target differs by value, and neighbours are no more alike than any two."""

import math

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgrad import BoostingTracker
from flowgrad.measures.codes import by_value, columns_by_value
from flowgrad.report import validate

RNG = np.random.default_rng(0)
N, CUT, SHOPS = 3000, 2000, 80
SHOP = RNG.integers(0, SHOPS, N)
EFFECT = RNG.normal(size=SHOPS)
NOISE = RNG.normal(size=N)
TARGET = EFFECT[SHOP] + 0.7 * NOISE
AREA = RNG.normal(size=N)


def by_xgboost(X, y, objective="reg:squarederror", **said):
    tracker = BoostingTracker()
    rows = xgb.DMatrix(X[:CUT], y[:CUT], enable_categorical=True)
    params = {"nthread": 1, "max_depth": 2, "objective": objective, **said}
    xgb.train(params, rows, 3, callbacks=[tracker.as_xgb_callback()])
    return tracker


def by_lightgbm(X, y, categorical="auto"):
    tracker = BoostingTracker()
    rows = lgb.Dataset(X[:CUT], y[:CUT], categorical_feature=categorical)
    lgb.train({"num_threads": 1, "verbose": -1}, rows, 3, callbacks=[tracker.as_lgb_callback()])
    return tracker


def by_catboost(X, y, categorical=None):
    catboost = pytest.importorskip("catboost")
    model = catboost.CatBoostRegressor(
        iterations=3, thread_count=1, verbose=False, allow_writing_files=False, cat_features=categorical
    )
    tracker = BoostingTracker()
    tracker.from_model(model.fit(X[:CUT], y[:CUT]))
    return tracker


def asked(tracker, X, y, **said):
    tracker.observe_data(X[:CUT], y[:CUT], X[CUT:], y[CUT:], **said)
    found = [one for one in tracker.findings() if one.type == "CODES_GIVEN_AS_NUMBERS"]
    assert all(one.severity == "low" and one.fix is None for one in found)
    validate(tracker.to_agent_xml())
    return [name for one in found for name in one.rows.index]


def frame(**columns):
    return pd.DataFrame({"area": AREA, **columns})


@pytest.mark.parametrize("train", [by_xgboost, by_lightgbm, by_catboost])
def test_codes_that_are_given_as_numbers_are_a_question(train):
    """Users of a table of ratings were split by the size of their number, and the report had no findings."""
    X = frame(shop=SHOP)
    assert asked(train(X, TARGET), X, TARGET) == ["shop"]


DECLARED = {
    "category of pandas, XGBoost": lambda X, y: by_xgboost(X.astype({"shop": "category"}), y),
    "category of pandas, LightGBM": lambda X, y: by_lightgbm(X.astype({"shop": "category"}), y),
    "categorical_feature": lambda X, y: by_lightgbm(X, y, ["shop"]),
    "cat_features": lambda X, y: by_catboost(X, y, ["shop"]),
}


@pytest.mark.parametrize("name", DECLARED)
def test_declared_codes_are_not_asked_about(name):
    X = frame(shop=SHOP)
    tracker = DECLARED[name](X, TARGET)
    assert asked(tracker, X, TARGET) == []
    assert tracker.measurements().tables["rows"]["categorical"].to_dict() == {"shop": 1.0, "area": 0.0}


def test_where_no_library_tells_nothing_is_asked():
    X, tracker = frame(shop=SHOP), BoostingTracker()
    assert asked(tracker, X, TARGET) == []
    assert math.isnan(tracker.measurements().tables["rows"].loc["shop", "categorical"])


ROLE = RNG.integers(0, 40, SHOPS)
"""A column that each shop has one value of."""
PERSON = RNG.integers(0, 400, N)
AGE = RNG.integers(18, 78, 400)[PERSON]
HEALTHY = {
    "a smooth number": (SHOP, np.sin(SHOP / 15) + 0.7 * NOISE),
    "a year whose effect has jumps too": (1920 + SHOP, 0.03 * SHOP + 0.4 * TARGET),
    "ids by their means": (np.argsort(np.argsort(EFFECT))[SHOP], TARGET),
    "says nothing": (SHOP, NOISE),
    "few values": (SHOP % 12, EFFECT[SHOP % 12] + NOISE),
    "hardly an effect": (SHOP, 0.1 * EFFECT[SHOP] + NOISE),
    "met once or twice": (RNG.integers(0, 4000, N), TARGET),
    "no whole numbers": (SHOP / 7, TARGET),
    "a cut of a number": (np.floor(40 * (AREA + 3)).astype(int), AREA + NOISE),
    "an age that several persons share": (AGE, 0.5 * RNG.normal(size=400)[PERSON] + NOISE),
    "other values when held out": (np.where(np.arange(N) < CUT, SHOP, SHOP + SHOPS), TARGET),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_amounts_times_and_ranks_are_not_asked_about(name):
    column, y = HEALTHY[name]
    X = frame(number=column)
    assert asked(by_xgboost(X, y), X, y) == []


def test_members_of_one_thing_are_no_rows_of_their_own():
    """Rows of one role differ from others because their few shops do, which is chance."""
    X = frame(shop=SHOP, role=ROLE[SHOP])
    assert asked(by_xgboost(X, TARGET), X, TARGET) == ["shop"]


def test_a_column_that_leaks_is_not_to_be_declared():
    X = frame(shop=SHOP)
    assert asked(by_xgboost(X, TARGET), X, TARGET, written_after=["shop"]) == []


@pytest.mark.parametrize(
    ("y", "said"),
    [
        ((TARGET > 0.3).astype(float), {"objective": "binary:logistic"}),
        (np.digitize(TARGET, [-0.5, 0.5]).astype(float), {"objective": "multi:softprob", "num_class": 3}),
        (np.exp(3 * TARGET), {}),
    ],
    ids=["two classes", "three classes", "heavy tails"],
)
def test_classes_and_heavy_tails(y, said):
    X = frame(shop=SHOP)
    assert asked(by_xgboost(X, y, **said), X, y) == ["shop"]


def test_values_that_are_missing_are_left_out():
    column = np.where(RNG.random(N) < 0.3, np.nan, SHOP)
    (found,) = columns_by_value(column[:, None], [True], TARGET, classes=False)
    known = ~np.isnan(column)
    (same,) = columns_by_value(column[known, None], [True], TARGET[known], classes=False)
    assert found.effect == pytest.approx(same.effect, abs=0.02)
    assert found.neighbours == pytest.approx(same.neighbours, abs=0.05)


def test_codes_without_effect_are_asked_about_in_fewer_than_2_of_100_draws():
    found = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        k = (20, 60, 200, 400)[seed % 4]
        y = (rng.random(1500) < 0.1).astype(float) if seed % 3 else rng.standard_t(3, 1500)
        (one,) = columns_by_value(rng.integers(0, k, (1500, 1)) * 1.0, [True], y, classes=bool(seed % 3))
        found += one.p < 1e-6 and one.effect > 0.1 and one.neighbours < 0.5
    assert found < 6


def test_the_correlation_of_neighbours_is_that_of_the_effects():
    """Effects of an autoregression with the memory .9 lie below the bound, those in random order far below."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        level = np.zeros(400)
        for i in range(1, 400):
            level[i] = 0.9 * level[i - 1] + rng.normal() * math.sqrt(1 - 0.81)
        places = np.sort(np.concatenate([np.arange(400), rng.integers(0, 400, 1600)]))
        noise = rng.normal(size=2000)
        assert by_value(places, level[places] + noise).neighbours > 0.8
        assert by_value(places, rng.permutation(level)[places] + noise).neighbours < 0.45


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 100), shift=st.integers(-1000, 1000))
def test_only_the_order_of_values_and_targets_counts(seed, scale, shift):
    rng = np.random.default_rng(seed)
    column, y = rng.integers(0, 30, 400), rng.normal(size=400)
    order = rng.permutation(400)
    (one,) = columns_by_value(column[:, None] * 1.0, [True], y, classes=False)
    (other,) = columns_by_value(3.0 * column[order, None] + shift, [True], scale * y[order] + shift, classes=False)
    assert other == pytest.approx(tuple(one), abs=1e-6)
    assert -1 <= one.neighbours <= 1
    assert 0 <= one.effect <= 1


def test_columns_beyond_those_looked_at_are_not_known():
    columns = RNG.integers(0, 30, (200, 52)) * 1.0
    found = columns_by_value(columns, [True] * 52, RNG.normal(size=200), classes=False)
    assert sum(math.isnan(one.effect) for one in found) == 2
