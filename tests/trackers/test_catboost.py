"""BoostingTracker on CatBoost: the contract of the other libraries, as far as CatBoost tells."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from flowgrad import BoostingTracker
from flowgrad.report import validate

cb = pytest.importorskip("catboost")

from flowgrad.trackers.boosting.catboost_callback import higher_is_better  # noqa: E402

PARAMS = {"thread_count": 1, "verbose": False, "allow_writing_files": False}


def rows(n, seed):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, 5)), columns=list("abcde"))
    X["kind"], X["town"] = rng.choice(list("xyz"), n), rng.choice(list("opqrstuvw"), n)
    X["constant"] = 1.0
    y = X["a"] * X["b"] + X["c"] + 2 * (X["kind"] == "x") + (X["town"] == "u") + rng.normal(size=n)
    return X, y.to_numpy()


X, Y = rows(600, 0)
X_NEW, Y_NEW = rows(300, 1)
CATEGORIES = ["kind", "town"]


def fitted(tracker=None, kind=cb.CatBoostRegressor, target=lambda y: y, evaluate=True, **params):
    model = kind(**PARAMS | {"iterations": 40} | params)
    model.fit(
        X, target(Y), eval_set=(X_NEW, target(Y_NEW)) if evaluate else None, cat_features=CATEGORIES,
        callbacks=[tracker.as_catboost_callback()] if tracker else None,
    )  # fmt: skip
    return model


def trees_in(model, folder):
    model.save_model(str(folder / "m.json"), format="json")
    content = json.loads((folder / "m.json").read_text())
    return {key: value for key, value in content.items() if key != "model_info"}  # which holds the time


def test_a_tracked_model_equals_an_untracked_one(tmp_path):
    plain, tracked = (
        fitted(tracker, subsample=0.7, bootstrap_type="Bernoulli") for tracker in (None, BoostingTracker())
    )
    assert trees_in(plain, tmp_path) == trees_in(tracked, tmp_path)
    assert np.array_equal(plain.predict(X_NEW), tracked.predict(X_NEW))


def test_the_last_round_of_early_stopping_is_seen():
    tracker, after = BoostingTracker(), BoostingTracker()
    model = fitted(tracker, iterations=400, learning_rate=0.5, early_stopping_rounds=8, eval_metric="MAE")
    assert math.isnan(tracker.measurements().scalars["trees"])
    tracker.from_model(model)
    after.from_model(model)
    measured = tracker.measurements().scalars
    assert repr(after.measurements().scalars) == repr(measured)
    assert measured["best_round"] == model.best_iteration_ + 1 == measured["trees"]
    assert measured["rounds"] == model.best_iteration_ + 9
    assert measured["val_best"] == pytest.approx(model.best_score_["validation"]["MAE"])
    assert measured["higher_is_better"] == 0
    with pytest.raises(ValueError, match=f"has seen {int(measured['rounds'])} rounds already"):
        tracker.from_model(model)


@pytest.mark.parametrize("metric", ["AUC", "Accuracy", "Logloss", "F1"])
def test_directions(metric):
    """Whichever other metric stands beside it: the one that early stopping goes by is judged."""
    tracker = BoostingTracker()
    model = fitted(
        tracker, cb.CatBoostClassifier, lambda y: y > 0, eval_metric=metric, custom_metric=["Precision", "CrossEntropy"]
    )
    tracker.from_model(model)
    measured = tracker.measurements().scalars
    values = np.array(model.get_evals_result()["validation"][metric])
    assert measured["higher_is_better"] == (metric != "Logloss")
    assert measured["val_best"] == (values.min() if metric == "Logloss" else values.max())


@pytest.mark.parametrize(
    ("name", "higher"),
    [
        ("NDCG:top=5;type=Base", True), ("RMSE", False), ("Quantile:alpha=0.3", False), ("Huber:delta=2", False),
        ("F:beta=2", True), ("MyOwn", None), ("partial", None), ("PrecisionAt:top=3", True),
        ("Focal:focal_alpha=x", None),
    ],
)  # fmt: skip
def test_direction_of_a_name(name, higher):
    assert higher_is_better(name) is higher


class Gain:
    """A metric of one's own."""

    def __init__(self, higher):
        self._higher = higher

    def is_max_optimal(self):
        return self._higher

    def evaluate(self, approxes, target, weight):
        error = float(np.mean((np.asarray(approxes[0]) - np.asarray(target)) ** 2))
        return (-error if self._higher else error), 1.0

    def get_final_error(self, error, weight):
        return error / weight


@pytest.mark.parametrize("higher", [True, False])
def test_a_metric_of_ones_own_tells_its_direction(higher):
    tracker = BoostingTracker()
    tracker.from_model(fitted(tracker, iterations=20, eval_metric=Gain(higher)))
    measured = tracker.measurements()
    assert measured.judged.metric == "Gain"
    assert measured.scalars["higher_is_better"] == higher
    assert measured.scalars["best_round"] > 10


def noisy(y):
    return y + 3 * np.random.default_rng(len(y)).normal(size=len(y))


def test_the_model_that_is_kept_is_judged():
    """CatBoost keeps the best round where there is an evaluation set, unless it is told not to."""
    deep = {"iterations": 150, "learning_rate": 0.5, "depth": 6, "l2_leaf_reg": 0.1, "target": noisy}
    best, whole, unknown = BoostingTracker(), BoostingTracker(), BoostingTracker()
    best.from_model(fitted(best, **deep))
    whole.from_model(fitted(whole, use_best_model=False, **deep))
    fitted(unknown, **deep)
    found = [tracker.measurements() for tracker in (best, whole, unknown)]
    assert found[0].scalars["kept_round"] == found[0].scalars["best_round"] < found[0].scalars["rounds"]
    assert [one.scalars["stopped"] for one in found[:2]] == [1, 0]
    rules = [{one.rule_id for one in tracker.findings()} for tracker in (best, whole, unknown)]
    assert ["booster_overfitting" in one for one in rules] == [False, True, False]
    assert math.isnan(found[2].scalars["kept_round"])
    assert [one.judged.model for one in found] == ["best_iteration", "last_iteration", ""]
    assert "from_model" in found[2].coverage.unseen["kept_round"]
    assert {one.framework for one in found} == {"catboost"}
    (finding,) = [one for one in whole.findings() if one.rule_id == "booster_overfitting"]
    assert list(finding.plain) == ["catboost"]


MODELS = {
    "symmetric": {},
    "by depth": {"grow_policy": "Depthwise"},
    "by leaf": {"grow_policy": "Lossguide", "max_leaves": 9},
    "one-hot": {"one_hot_max_size": 4},
    "statistics of several": {"max_ctr_complexity": 3},
    "classes": {"kind": cb.CatBoostClassifier, "target": lambda y: np.digitize(y, [-1, 1])},
    "two classes": {"kind": cb.CatBoostClassifier, "target": lambda y: y > 0},
}


@pytest.mark.parametrize("name", MODELS)
def test_gains_are_catboosts_own_importance(name):
    tracker = BoostingTracker(window=7)
    model = fitted(evaluate=False, **MODELS[name])
    tracker.from_model(model)
    table = tracker.measurements().tables["rows"]
    importance = pd.Series(model.get_feature_importance(), index=model.feature_names_) / 100
    np.testing.assert_allclose(table["gain_share"].reindex(X.columns), importance, rtol=1e-5, atol=1e-8)
    windows = tracker.gain_by_window()
    np.testing.assert_allclose(windows.sum() / windows.to_numpy().sum(), importance, rtol=1e-5, atol=1e-8)
    assert windows.index.tolist() == [7, 14, 21, 28, 35, 40]
    assert table.loc["constant", "splits"] == 0
    assert tracker.trees()["round"].tolist() == list(range(1, 41))


def test_leaves_are_those_of_the_model():
    tracker = BoostingTracker()
    model = fitted(evaluate=False, depth=3)
    tracker.from_model(model)
    trees = tracker.trees()
    values, weights = model.get_leaf_values().reshape(40, 8), model.get_leaf_weights().reshape(40, 8)
    held = weights > 0
    np.testing.assert_array_equal(trees["leaves"], held.sum(axis=1))
    np.testing.assert_allclose(trees["leaf_size"], [np.abs(v[h]).mean() for v, h in zip(values, held, strict=True)])
    np.testing.assert_allclose(trees["leaf_hessian"], [np.median(w[h]) for w, h in zip(weights, held, strict=True)])
    assert (trees["depth"] == 3).all()


def test_rounds_that_are_not_evaluated_keep_the_last_value():
    tracker = BoostingTracker()
    model = fitted(tracker, iterations=12, metric_period=5)
    values = model.get_evals_result()["validation"]["RMSE"]
    assert tracker.evaluations()["validation RMSE"].tolist() == [values[k] for k in (0,) * 5 + (1,) * 5 + (2, 3)]
    with pytest.raises(ValueError, match=r"'learn' 'RMSE' has \d values for 12 rounds"):
        BoostingTracker().from_model(model)


def test_what_cannot_be_exported_has_evaluations_alone(caplog):
    text = X.assign(said=[f"word{n % 7} and word{n % 3}" for n in range(len(X))])
    model = cb.CatBoostClassifier(**PARAMS, iterations=5)
    model.fit(text, Y > 0, cat_features=CATEGORIES, text_features=["said"])
    tracker = BoostingTracker()
    tracker.from_model(model)
    assert math.isnan(tracker.measurements().scalars["trees"])
    assert tracker.measurements().scalars["rounds"] == 5
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("policy", "least", "asked"),
    [("Depthwise", 700, True), ("Lossguide", 700, True), ("SymmetricTree", 700, False), ("Depthwise", 20, False)],
)
def test_rows_that_are_asked_of_a_leaf_before_it_is_split(policy, least, asked):
    """CatBoost asks them of trees that are not symmetric, and of the leaf that is split."""
    rng, tracker = np.random.default_rng(3), BoostingTracker()
    x = rng.uniform(size=(1800, 5))
    y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + rng.normal(size=1800)
    model = cb.CatBoostRegressor(**PARAMS, iterations=60, learning_rate=0.1, grow_policy=policy, min_data_in_leaf=least)
    tracker.from_model(model.fit(x[:1200], y[:1200], eval_set=(x[1200:], y[1200:])))
    found = [(one.rule_id, one.severity) for one in tracker.findings() if one.type == "TREES_CANNOT_SPLIT"]
    assert found == [("least_leaf_too_large", "medium")] * asked


def test_reports_and_refusals():
    tracker = BoostingTracker()
    model = fitted(tracker)
    tracker.from_model(model)
    tracker.observe_data(X, Y, X_NEW, Y_NEW)
    validate(tracker.to_agent_xml())
    with pytest.raises(TypeError, match="CatBoostRegressor is no booster"):
        BoostingTracker().from_model(cb.CatBoostRegressor())
    alone = BoostingTracker()
    alone.from_model(fitted(evaluate=False))
    assert alone.measurements().scalars["evaluated"] == 0
