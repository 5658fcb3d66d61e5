"""BoostingTracker in both libraries: it sees every round and every tree, and training cannot tell."""

import json
import math
import random

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from sklearn.exceptions import NotFittedError

from flowgrad import BoostingTracker
from flowgrad.report import from_xml, validate

PARAMS = {"xgboost": {"eta": 0.3, "nthread": 1, "seed": 0}, "lightgbm": {"num_threads": 1, "verbose": -1, "seed": 0}}
LIBRARIES = sorted(PARAMS)


def rows(n, seed, columns=6):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, columns)), columns=list("abcdefgh"[:columns]))
    return X, (X["a"] * X["b"] + X["c"] + rng.normal(size=n)).to_numpy()


X, Y = rows(600, 0)
X_NEW, Y_NEW = rows(300, 1)


def train(library, rounds=60, tracker=None, stop=None, first=True, evaluate=True, **params):
    """A booster; the tracker's callback stands before early stopping or after it."""
    params = PARAMS[library] | params
    if library == "xgboost":
        data, held_out = xgb.DMatrix(X, Y), xgb.DMatrix(X_NEW, Y_NEW)
        callbacks = [tracker.as_xgb_callback()] if tracker else []
        if stop:
            callbacks.insert(len(callbacks) if first else 0, xgb.callback.EarlyStopping(rounds=stop))
        evals = [(data, "train"), (held_out, "valid")] if evaluate else []
        return xgb.train(params, data, rounds, evals=evals, callbacks=callbacks, verbose_eval=False)
    data = lgb.Dataset(X, Y)
    callbacks = [tracker.as_lgb_callback()] if tracker else []
    if stop:
        callbacks.insert(len(callbacks) if first else 0, lgb.early_stopping(stop, verbose=False))
    held_out = [data, lgb.Dataset(X_NEW, Y_NEW, reference=data)] if evaluate else None
    return lgb.train({"metric": "rmse"} | params, data, rounds, valid_sets=held_out, callbacks=callbacks)


def frame_of(library, booster):
    """Trees as the libraries' own reader gives them."""
    if library == "lightgbm":
        frame = booster.trees_to_dataframe()
        frame = frame.assign(leaf=frame["split_feature"].isna(), Gain=frame["split_gain"], Value=frame["value"])
        return frame.rename(columns={"tree_index": "Tree", "split_feature": "Feature", "weight": "Cover"})
    frame = booster.trees_to_dataframe()
    return frame.assign(leaf=frame["Feature"] == "Leaf", Value=frame["Gain"])


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_tracked_booster_equals_an_untracked_one_byte_for_byte(library):
    settings = {"subsample": 0.7, "bagging_freq": 1} if library == "lightgbm" else {"subsample": 0.7}
    state = random.getstate()
    models = [train(library, tracker=tracker, **settings) for tracker in (None, BoostingTracker())]
    texts = [m.model_to_string() if library == "lightgbm" else bytes(m.save_raw("json")) for m in models]
    assert texts[0] == texts[1]
    assert random.getstate() == state


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("first", [True, False])
def test_the_last_round_of_early_stopping_is_seen(library, first):
    tracker = BoostingTracker()
    booster = train(library, 300, tracker, stop=10, first=first, **{"max_depth": 6})
    measured = tracker.measurements().scalars
    best = booster.best_iteration + (library == "xgboost")  # counted from 0 there
    assert measured["best_round"] == best
    assert measured["rounds"] == best + 10
    assert len(tracker.evaluations()) == best + 10
    assert measured["kept_round"] == best
    assert measured["val_excess"] == 0


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("window", [1, 7, 25, 100])
def test_trees_are_those_that_the_library_lists(library, window):
    tracker = BoostingTracker(window=window)
    booster = train(library, 60, tracker)
    frame, trees = frame_of(library, booster), tracker.trees()
    assert trees["round"].tolist() == list(range(1, 61))
    by_tree = frame.groupby("Tree")
    leaves = frame[frame["leaf"]].groupby("Tree")
    np.testing.assert_array_equal(trees["leaves"], by_tree["leaf"].sum())
    gain = frame[~frame["leaf"]].groupby("Tree")["Gain"].sum().reindex(range(60), fill_value=0)
    np.testing.assert_allclose(trees["gain"], gain, rtol=1e-5)
    np.testing.assert_allclose(trees["leaf_size"], leaves["Value"].apply(lambda v: v.abs().mean()), rtol=1e-5)
    np.testing.assert_allclose(trees["leaf_hessian"], leaves["Cover"].median(), rtol=1e-4)
    if library == "lightgbm":
        np.testing.assert_array_equal(trees["depth"], by_tree["node_depth"].max() - 1)

    table, windows = tracker.measurements().tables["rows"], tracker.gain_by_window()
    splits = frame[~frame["leaf"]]
    total = splits.groupby("Feature")["Gain"].sum().reindex(X.columns, fill_value=0)
    np.testing.assert_allclose(table["gain_share"].reindex(X.columns), total / total.sum(), rtol=1e-5)
    np.testing.assert_array_equal(
        table["splits"].reindex(X.columns), splits["Feature"].value_counts().reindex(X.columns)
    )
    assert windows.index.tolist() == [*range(window, 60, window), 60]
    for start, end in zip([0, *windows.index[:-1]], windows.index, strict=True):
        own = splits[splits["Tree"].between(start, end - 1)].groupby("Feature")["Gain"].sum()
        np.testing.assert_allclose(windows.loc[end], own.reindex(X.columns, fill_value=0), rtol=1e-5)


def read_afterwards(library, watched):
    """Figures of a trained booster; LightGBM tells of initial scores while it trains alone."""
    unseen = {"starts_told": 0.0, "start_difference": np.nan} if library == "lightgbm" else {}
    return watched | unseen


@pytest.mark.parametrize("library", LIBRARIES)
def test_read_after_training_it_says_the_same(library):
    watching, reading = BoostingTracker(), BoostingTracker()
    record: dict = {}
    booster = train(library, 40, watching)
    for name in watching.evaluations():
        held, metric = name.split()
        record.setdefault(held, {})[metric] = watching.evaluations()[name].tolist()
    reading.from_model(booster, record)
    watched = watching.measurements()
    assert repr(reading.measurements().scalars) == repr(read_afterwards(library, watched.scalars))
    pd.testing.assert_frame_equal(reading.trees(), watching.trees())
    with pytest.raises(ValueError, match="has seen 40 rounds already"):
        reading.from_model(booster)
    with pytest.raises(ValueError, match="'valid' 'rmse' has 3 values for 40 rounds"):
        BoostingTracker().from_model(booster, {"valid": {"rmse": [1, 2, 3]}})


@pytest.mark.parametrize("library", LIBRARIES)
def test_estimators(library):
    tracker, after = BoostingTracker(training="validation_0"), BoostingTracker(training="validation_0")
    if library == "xgboost":
        model = xgb.XGBClassifier(n_estimators=30, n_jobs=1, eval_metric=["logloss", "auc"],
                                  callbacks=[tracker.as_xgb_callback()])  # fmt: skip
        model.fit(X, Y > 0, eval_set=[(X, Y > 0), (X_NEW, Y_NEW > 0)], verbose=False)
    else:
        tracker, after = BoostingTracker(), BoostingTracker()
        model = lgb.LGBMClassifier(n_estimators=30, n_jobs=1, verbose=-1)
        model.fit(X, Y > 0, eval_set=[(X, Y > 0), (X_NEW, Y_NEW > 0)], eval_metric=["auc"],
                  eval_names=["training", "valid"], callbacks=[tracker.as_lgb_callback()])  # fmt: skip
    after.from_model(model)
    measured = tracker.measurements().scalars
    assert repr(after.measurements().scalars) == repr(read_afterwards(library, measured))
    auc = tracker.evaluations()[f"{'validation_1' if library == 'xgboost' else 'valid'} auc"]
    assert measured["higher_is_better"] == 1
    assert measured["val_best"] == auc.max()
    assert measured["best_round"] == auc.idxmax()
    assert measured["generalisation_gap"] > 0


def test_several_classes_have_a_tree_each_a_round():
    label = np.digitize(Y, [-1, 1])
    tracker = BoostingTracker(window=4)
    params = {"objective": "multi:softprob", "num_class": 3, "nthread": 1}
    xgb.train(params, xgb.DMatrix(X, label), 10, callbacks=[tracker.as_xgb_callback()])
    assert tracker.trees()["round"].tolist() == [n for n in range(1, 11) for _ in range(3)]
    assert tracker.measurements().scalars["rounds"] == 10


@pytest.mark.parametrize("library", LIBRARIES)
def test_going_on_with_a_booster(library):
    """What the booster had before the tracker came is not counted; going on under the same tracker is."""
    first = train(library, 10)
    tracker = BoostingTracker(window=4)
    for _ in range(2):
        if library == "xgboost":
            data = xgb.DMatrix(X, Y)
            first = xgb.train(PARAMS[library], data, 6, evals=[(data, "v")], xgb_model=first, verbose_eval=False,
                              callbacks=[tracker.as_xgb_callback()])  # fmt: skip
        else:
            first = lgb.train(PARAMS[library], lgb.Dataset(X, Y), 6, init_model=first,
                              callbacks=[tracker.as_lgb_callback()])  # fmt: skip
    assert tracker.measurements().scalars["rounds"] == 12
    assert tracker.trees()["round"].tolist() == list(range(1, 13))
    # A search fits many models with one callback: a training that is not watched goes on undisturbed.
    before = tracker.to_report()
    train(library, 5, tracker)
    after = tracker.to_report()
    assert after.measurements == before.measurements
    assert {one.name for one in after.coverage.unseen} - {one.name for one in before.coverage.unseen} == {
        "other_trainings"
    }


@pytest.mark.parametrize("library", LIBRARIES)
def test_cross_validation_has_evaluations_alone(library):
    tracker = BoostingTracker()
    if library == "xgboost":
        xgb.cv(PARAMS[library], xgb.DMatrix(X, Y), 8, nfold=3, callbacks=[tracker.as_xgb_callback()])
    else:
        lgb.cv(PARAMS[library] | {"metric": "rmse"}, lgb.Dataset(X, Y), 8, nfold=3, stratified=False,
               callbacks=[tracker.as_lgb_callback()])  # fmt: skip
    measured = tracker.measurements().scalars
    assert (measured["rounds"], measured["evaluated"]) == (8, 1)
    assert math.isnan(measured["trees"])
    validate(tracker.to_agent_xml())


@pytest.mark.parametrize("booster", ["gblinear", "dart"])
def test_other_boosters_of_xgboost(booster):
    tracker = BoostingTracker()
    train("xgboost", 30, tracker, booster=booster)
    measured = tracker.measurements().scalars
    assert measured["rounds"] == 30
    assert math.isnan(measured["trees"]) if booster == "gblinear" else measured["trees"] == 30
    assert tracker.trees().empty == (booster == "gblinear")


@pytest.mark.parametrize("library", LIBRARIES)
def test_without_an_evaluation_set_the_report_says_so(library):
    tracker = BoostingTracker()
    train(library, 10, tracker, evaluate=False)
    assert [finding.rule_id for finding in tracker.findings()] == ["no_evaluation"]
    assert "NO_EVALUATION_SET" in tracker.report()


@pytest.mark.parametrize("library", LIBRARIES)
def test_all_columns_are_told_of_whether_used_or_not(library):
    train_x, train_y = rows(400, 3, columns=8)
    train_x["h"] = 0.0
    tracker = BoostingTracker()
    if library == "xgboost":
        xgb.train(PARAMS[library], xgb.DMatrix(train_x, train_y), 2, callbacks=[tracker.as_xgb_callback()])
    else:
        lgb.train(PARAMS[library], lgb.Dataset(train_x, train_y), 2, callbacks=[tracker.as_lgb_callback()])
    table = tracker.measurements().tables["rows"]
    assert sorted(table.index) == sorted(train_x.columns)
    assert table.loc["h", "splits"] == 0
    assert math.isnan(table.loc["h", "first_round"])
    assert table["gain_share"].is_monotonic_decreasing


def test_a_metric_of_ones_own():
    def bad(predicted, data):
        return "cost", float(np.square(predicted - data.get_label()).mean())

    tracker, told = BoostingTracker(), BoostingTracker(higher_is_better={"cost": True})
    data, held_out = xgb.DMatrix(X, Y), xgb.DMatrix(X[:50], Y[:50])
    for each in (tracker, told):
        xgb.train({"nthread": 1, "disable_default_eval_metric": 1}, data, 5, evals=[(held_out, "valid")],
                  custom_metric=bad, callbacks=[each.as_xgb_callback()], verbose_eval=False)  # fmt: skip
    assert math.isnan(tracker.measurements().scalars["best_round"])
    assert "higher_is_better={'cost': True}" in tracker.measurements().coverage.unseen["metric_direction"]
    assert told.measurements().scalars["best_round"] == 1


@pytest.mark.parametrize("what", ["validation", "training", "metric"])
def test_names_that_are_not_there(what):
    tracker = BoostingTracker(**{what: "nonsense"})
    train("xgboost", 3, tracker)
    with pytest.raises(ValueError, match=f"{what}='nonsense' .*(valid|rmse)"):
        tracker.measurements()


def test_what_is_no_booster():
    with pytest.raises(TypeError, match="dict is no booster"):
        BoostingTracker().from_model({})
    with pytest.raises((TypeError, NotFittedError)):
        BoostingTracker().from_model(xgb.XGBRegressor())
    with pytest.raises(ValueError, match="window=0: must be 1 round or more"):
        BoostingTracker(window=0)


def test_declared_measures_are_there_from_the_start():
    tracker = BoostingTracker()
    scalars = {measure.name for measure in BoostingTracker.MEASURES if not measure.per_row}
    columns = {measure.name for measure in BoostingTracker.MEASURES if measure.per_row}
    assert set(tracker.measurements().scalars) == scalars
    assert not tracker.findings()
    train("xgboost", 5, tracker)
    for _ in range(2):
        measured = tracker.measurements()
        assert set(measured.scalars) == scalars
        assert set(measured.tables["rows"].columns) == columns
        assert all(isinstance(value, float) for value in measured.scalars.values())
        tracker.observe_data(X, Y, X_NEW, Y_NEW)
    text = tracker.to_agent_xml()
    assert text.startswith("<flowgrad_boosting_report ")
    validate(text)
    assert from_xml(text) == tracker.to_report()


# --- columns ---------------------------------------------------------------------------------------------------------


def leaking(parts):
    return [frame.assign(leak=target + 0.01 * frame["f"]) for frame, target in parts]


@pytest.mark.parametrize(("said", "rule"), [({}, "column_that_suffices"), ({"written_after": ["leak"]}, "target_leak")])
def test_a_leak_is_named(said, rule):
    """As a question; or as one, where the user knows that it is written down after the target."""
    train_x, new_x = leaking([(X, Y), (X_NEW, Y_NEW)])
    tracker = BoostingTracker()
    data = xgb.DMatrix(train_x, Y)
    held_out = xgb.DMatrix(new_x, Y_NEW)
    xgb.train(PARAMS["xgboost"], data, 5, evals=[(data, "train"), (held_out, "valid")], verbose_eval=False,
              callbacks=[tracker.as_xgb_callback()])  # fmt: skip
    tracker.observe_data(train_x, Y, new_x, Y_NEW, **said)
    finding = tracker.findings()[0]
    assert (finding.rule_id, list(finding.rows.index)) == (rule, ["leak"])
    assert (finding.fix is None) == (not said)
    assert '<row id="leak"' in tracker.to_agent_xml()


def test_arrays_take_the_names_of_the_booster():
    tracker = BoostingTracker()
    train("xgboost", 5, tracker)
    tracker.observe_data(X.to_numpy(), Y, X_NEW.to_numpy(), Y_NEW)
    assert tracker.measurements().tables["rows"].loc["c", "val_r2"] > 0.2
    tracker.observe_data(X.to_numpy()[:, :3], Y, X_NEW.to_numpy()[:, :3], Y_NEW)
    with pytest.raises(ValueError, match="was given 3 columns; the booster was trained on 6"):
        tracker.measurements()


def test_columns_of_text_categories_and_truth_values():
    label = (Y > 0).astype(float)
    kinds = {
        "text": np.where(label > 0, "yes", "no"),
        "category": pd.Categorical(np.where(label > 0, "b", "a")),
        "flag": label > 0,
        "missing": np.where(label > 0, None, "x"),
    }
    frame = pd.DataFrame(kinds)
    tracker = BoostingTracker()
    tracker.observe_data(frame, label, frame.iloc[:300], label[:300])
    table = tracker.measurements().tables["rows"]
    assert table["val_r2"].to_numpy() == pytest.approx(1)
    assert table.loc["text", "distinct_share"] == 2 / 600


def test_values_that_were_not_trained_on_count_as_the_mean():
    train_x, new_x = pd.DataFrame({"id": list("ababab")}), pd.DataFrame({"id": list("zz" * 20)})
    tracker = BoostingTracker()
    tracker.observe_data(train_x, [0, 1, 0, 1, 0, 1], new_x, [0, 1] * 20)
    assert tracker.measurements().scalars["leak_r2"] == 0
    assert tracker.measurements().tables["rows"].loc["id", "r2_loss"] == 1


BAD = {
    "y has the shape": (X, Y[:5], X_NEW, Y_NEW),
    "y_validation holds NaN or infinity": (X, Y, X_NEW, np.full(300, np.nan)),
    "y holds nothing but 1; there is nothing to predict": (X, np.ones(600), X_NEW, Y_NEW),
    "y holds no numbers; code two classes": (X, np.array(["a", "b"] * 300), X_NEW, Y_NEW),
    "column 'a' holds infinity": (X.assign(a=np.inf), Y, X_NEW, Y_NEW),
    "two columns are named 'a'": (X.rename(columns={"b": "a"}), Y, X_NEW, Y_NEW),
    "give the same": (X, Y, X_NEW.drop(columns="a"), Y_NEW),
    "X has the shape": (X.iloc[:0], Y[:0], X_NEW, Y_NEW),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_columns_are_a_clear_error(message):
    tracker = BoostingTracker()
    with pytest.raises(ValueError, match=message):
        tracker.observe_data(*BAD[message])
    assert math.isnan(tracker.measurements().scalars["leak_r2"])


def test_the_trees_read_are_plain_numbers():
    """So that a notebook can write them down."""
    tracker = BoostingTracker()
    train("xgboost", 5, tracker)
    json.dumps(tracker.trees().to_dict("records"))
