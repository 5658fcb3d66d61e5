"""What a booster is judged by: the direction that is stated, the model that is kept, how its rounds add up, and rows
enough to tell.
"""

import math

import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb
from sklearn.model_selection import GridSearchCV

from flowgrad import BoostingTracker
from flowgrad.measurements import Measurements
from flowgrad.report import HEALTHY, NOT_OBSERVED, validate
from flowgrad.rules import RuleBook

LIBRARIES = ["lightgbm", "xgboost"]
JUDGING = {"booster_overfitting", "booster_stagnation", "rows_memorised"}
QUIET = {"xgboost": {"nthread": 1}, "lightgbm": {"num_threads": 1, "verbose": -1}}
DEEP = {
    "xgboost": {"eta": 0.3, "max_depth": 8},
    "lightgbm": {"learning_rate": 0.3, "num_leaves": 200, "min_data_in_leaf": 1},
}


def rows(n, seed, noise=1.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 6))
    return X, X[:, 0] + X[:, 1] * X[:, 2] + noise * rng.normal(size=n)


X, Y = rows(600, 0)
X_NEW, Y_NEW = rows(400, 1)
NOISY = (*rows(250, 0, 2.0), *rows(400, 1, 2.0))
OVERFITTING = {"learning_rate": 0.3, "max_depth": 3}


def r_squared(y, predicted):
    return 1 - float(((y - predicted) ** 2).mean() / y.var())


def train(library, tracker, rounds=100, stop=None, own=None, better=True, data=(X, Y, X_NEW, Y_NEW), **params):
    """A booster evaluated by its own metric, or by one of ours; `stop` are rounds of early stopping."""
    x, y, x_new, y_new = data
    params = QUIET[library] | params
    if library == "xgboost":
        more = {"custom_metric": lambda p, d: (own, r_squared(d.get_label(), p)), "maximize": better} if own else {}
        params |= {"disable_default_eval_metric": 1} if own else {}
        sets = [(xgb.DMatrix(x, y), "train"), (xgb.DMatrix(x_new, y_new), "valid")]
        return xgb.train(params, sets[0][0], rounds, evals=sets, early_stopping_rounds=stop, verbose_eval=False,
                         callbacks=[tracker.as_xgb_callback()], **more)  # fmt: skip
    feval = (lambda p, d: (own, r_squared(d.get_label(), p), better)) if own else None
    params |= {"metric": "none"} if own else {}
    found = lgb.Dataset(x, y)
    callbacks = [tracker.as_lgb_callback(), *([lgb.early_stopping(stop, verbose=False)] if stop else [])]
    return lgb.train(params, found, rounds, valid_sets=[found, lgb.Dataset(x_new, y_new, reference=found)],
                     valid_names=["train", "valid"], callbacks=callbacks, feval=feval)  # fmt: skip


def types(tracker):
    return {finding.rule_id for finding in tracker.findings()}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_held_out_set_that_is_the_training_data_is_told_by_its_course(library):
    """`evals` named the training rows twice, and a booster that learned them by heart had no finding."""
    same, other = BoostingTracker(), BoostingTracker()
    train(library, same, data=(X, Y, X, Y))
    train(library, other)
    assert "validated_on_training_rows" in types(same)
    assert "validated_on_training_rows" not in types(other)


@pytest.mark.parametrize(("last", "said"), [("train", True), ("valid", False)])
def test_early_stopping_that_goes_by_training_rows_is_told(last, said):
    """XGBoost goes by the last of its sets; the booster never stopped, and was told to use early stopping."""
    tracker = BoostingTracker()
    sets = [(xgb.DMatrix(X, Y), "train"), (xgb.DMatrix(X_NEW, Y_NEW), "valid")]
    evals = sorted(sets, key=lambda one: one[1] == last)
    xgb.train(QUIET["xgboost"], sets[0][0], 150, evals=evals, early_stopping_rounds=20, verbose_eval=False,
              callbacks=[tracker.as_xgb_callback()])  # fmt: skip
    found = {one.type: one for one in tracker.findings()}
    assert ("EARLY_STOPPING_ON_TRAINING_ROWS" in found) == said
    if said and "BOOSTER_OVERFITTING" in found:
        assert found["BOOSTER_OVERFITTING"].follows == "EARLY_STOPPING_ON_TRAINING_ROWS"


# --- direction -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("stop", [None, 15])
def test_a_metric_of_ones_own_is_judged_the_way_that_the_library_was_told(library, stop):
    """KS, better when higher, was taken for a loss although `maximize=True` stood there: BOOSTER_OVERFITTING."""
    tracker = BoostingTracker()
    train(library, tracker, 80, stop, own="gain", **{"learning_rate": 0.1})
    measured = tracker.measurements()
    told = stop or library == "lightgbm"  # without early stopping, XGBoost does not keep `maximize`
    assert measured.judged.direction == ("higher" if told else "unknown")
    assert "booster_overfitting" not in types(tracker)
    curve = tracker.evaluations()["valid gain"]
    assert measured.scalars["best_round"] == (curve.idxmax() if told else pytest.approx(math.nan, nan_ok=True))
    assert ("metric_direction" in measured.coverage.unseen) == (not told)
    validate(tracker.to_agent_xml())


def test_a_direction_that_nobody_told_gives_no_verdict_and_the_way_to_tell_it():
    tracker = BoostingTracker()
    train("xgboost", tracker, 60, own="gain", **DEEP["xgboost"])
    measured = tracker.measurements()
    assert not types(tracker) & JUDGING
    for name in ("higher_is_better", "val_best", "best_round", "val_excess", "late_train_gain", "generalisation_gap"):
        assert math.isnan(measured.scalars[name])
    assert "higher_is_better={'gain': True}" in measured.coverage.unseen["metric_direction"]
    report = tracker.to_report()
    assert "booster_overfitting" in {one.rule for one in report.coverage.unjudged}
    assert report.status == NOT_OBSERVED  # neither the course nor the columns
    tracker.observe_data(X, Y, X_NEW, Y_NEW)
    assert tracker.to_report().status != NOT_OBSERVED


@pytest.mark.parametrize(("higher", "fires"), [(True, True), (False, False)])
def test_the_users_word_comes_first_and_stands_in_the_finding(higher, fires):
    tracker = BoostingTracker(higher_is_better={"gain": higher})
    train("xgboost", tracker, 150, own="gain", data=NOISY, **OVERFITTING)
    assert ("booster_overfitting" in types(tracker)) == fires
    if fires:
        (finding,) = [one for one in tracker.findings() if one.rule_id == "booster_overfitting"]
        assert finding.judged.metric == "gain"
        assert finding.judged.direction == "higher"
        assert finding.premise.startswith("gain (higher is better) on valid ended")
        assert 'direction="higher"' in tracker.to_agent_xml()


@pytest.mark.parametrize("maximize", [True, False])
def test_an_estimator_read_afterwards_tells_by_the_round_it_kept(maximize):
    def score(y, predicted):
        return r_squared(y, predicted) * (1 if maximize else -1)

    stop = xgb.callback.EarlyStopping(rounds=10, maximize=maximize)
    model = xgb.XGBRegressor(n_estimators=80, n_jobs=1, eval_metric=score, callbacks=[stop])
    model.fit(X, Y, eval_set=[(X_NEW, Y_NEW)], verbose=False)
    tracker = BoostingTracker()
    tracker.from_model(model)
    measured = tracker.measurements()
    assert measured.scalars["higher_is_better"] == maximize
    assert measured.scalars["best_round"] == model.best_iteration + 1 == measured.scalars["kept_round"]
    assert not types(tracker) & JUDGING


def test_early_stopping_that_looked_the_wrong_way_is_a_question():
    """Unasked, XGBoost takes a metric of one's own to be better when lower, and keeps the first round."""
    tracker = BoostingTracker()
    train("xgboost", tracker, 60, 10, own="r2", better=None, eta=0.1)
    (finding,) = [one for one in tracker.findings() if one.rule_id == "first_round_kept"]
    assert "WRONG_DIRECTION" in {one.cause for one in finding.candidates}
    assert finding.fix is None
    assert not types(tracker) & JUDGING


# --- the model that is kept ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_round_that_early_stopping_keeps_is_judged(library):
    """XGBRegressor(early_stopping_rounds=...) predicts by its best round, and was told that it overfits."""
    whole, stopped = BoostingTracker(), BoostingTracker()
    train(library, whole, 150, data=NOISY, **OVERFITTING)
    train(library, stopped, 150, 40, data=NOISY, **OVERFITTING)
    for tracker in (whole, stopped):
        tracker.observe_data(*NOISY)
    assert "booster_overfitting" in types(whole)
    assert not types(stopped) & JUDGING
    measured = stopped.measurements()
    assert measured.scalars["kept_round"] == measured.scalars["best_round"] < measured.scalars["rounds"]
    assert (measured.scalars["val_excess"], measured.scalars["stopped"]) == (0, 1)
    assert measured.judged.model == "best_iteration"
    assert whole.measurements().judged.model == "last_iteration"
    assert ("prediction" in measured.coverage.unseen) == (library == "xgboost")


def test_what_an_earlier_training_left_in_the_booster_is_not_taken_for_this_one():
    first = BoostingTracker()
    booster = train("xgboost", first, 60, 5, **DEEP["xgboost"])
    tracker = BoostingTracker()
    data = xgb.DMatrix(X_NEW, Y_NEW)
    xgb.train(QUIET["xgboost"] | DEEP["xgboost"], xgb.DMatrix(X, Y), 40, evals=[(data, "valid")], xgb_model=booster,
              verbose_eval=False, callbacks=[tracker.as_xgb_callback()])  # fmt: skip
    measured = tracker.measurements().scalars
    assert (measured["kept_round"], measured["stopped"]) == (40, 0)


def test_going_on_under_early_stopping_counts_from_the_trackers_first_round():
    booster = train("xgboost", BoostingTracker(), 10, **{"eta": 0.1})
    tracker = BoostingTracker()
    held = xgb.DMatrix(X_NEW, Y_NEW)
    again = xgb.train(QUIET["xgboost"] | {"eta": 0.3}, xgb.DMatrix(X, Y), 90, evals=[(held, "valid")],
                      xgb_model=booster, early_stopping_rounds=5, verbose_eval=False,
                      callbacks=[tracker.as_xgb_callback()])  # fmt: skip
    assert tracker.measurements().scalars["kept_round"] == again.best_iteration + 1 - 10


# --- how rounds add up -----------------------------------------------------------------------------------------------

FORESTS = {
    "lightgbm": {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6, "num_leaves": 63},
    "lightgbm by its other name": {"boosting_type": "random_forest", "bagging_freq": 1, "bagging_fraction": 0.6},
    "dart": {"boosting": "dart"},
}


@pytest.mark.parametrize("metric", ["auc", "binary_logloss", "l2"])
@pytest.mark.parametrize("name", FORESTS)
def test_rounds_that_do_not_boost_neither_stagnate_nor_overfit(name, metric):
    """boosting=rf: BOOSTER_STAGNATION, raise a learning rate that is not used."""
    target = (Y, Y_NEW) if metric == "l2" else (Y > 0, Y_NEW > 0)
    tracker = BoostingTracker()
    train("lightgbm", tracker, 80, data=(X, target[0], X_NEW, target[1]), metric=metric,
          objective="regression" if metric == "l2" else "binary", **FORESTS[name])  # fmt: skip
    tracker.observe_data(X, target[0], X_NEW, target[1])
    measured = tracker.measurements()
    assert not types(tracker) & {"booster_overfitting", "booster_stagnation"}
    assert measured.scalars["boosts"] == 0
    assert "rounds_as_corrections" in measured.coverage.unseen
    assert not measured.coverage.blind
    if name != "dart":
        assert not types(tracker) & JUDGING


@pytest.mark.parametrize(
    ("params", "boosts"),
    [
        ({}, 1), ({"booster": "dart"}, 0), ({"booster": "gblinear"}, 0), ({"num_parallel_tree": 4}, 1),
        ({"objective": "reg:absoluteerror"}, 1),
    ],
)  # fmt: skip
def test_modes_of_xgboost(params, boosts):
    tracker = BoostingTracker()
    train("xgboost", tracker, 6, **params)
    assert tracker.measurements().scalars["boosts"] == boosts
    assert tracker.measurements().framework == "xgboost"


@pytest.mark.parametrize("goss", [{"boosting": "goss"}, {"data_sample_strategy": "goss"}, {"linear_tree": True}, {}])
def test_modes_of_lightgbm_that_boost(goss):
    tracker = BoostingTracker()
    train("lightgbm", tracker, 6, **goss)
    assert tracker.measurements().scalars["boosts"] == 1


def test_a_forest_of_xgboost_is_one_round():
    model = xgb.XGBRFRegressor(n_estimators=30, n_jobs=1).fit(X, Y)
    tracker = BoostingTracker()
    tracker.from_model(model)
    assert tracker.measurements().scalars["boosts"] == 0
    assert not types(tracker) & JUDGING


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_boosted_booster_that_was_cut_short_is_still_found(library):
    tracker = BoostingTracker()
    train(library, tracker, 30, learning_rate=0.02)
    assert "booster_stagnation" in types(tracker)
    (finding,) = [one for one in tracker.findings() if one.rule_id == "booster_stagnation"]
    assert list(finding.plain) == [library]
    assert "early_stopping" in finding.plain[library]


# --- noise -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("metric", ["auc", "rmse"])
@pytest.mark.parametrize("observed", [True, False])
def test_few_validation_rows_wobble_and_accuse_nobody(library, metric, observed):
    """An AUC of 40 rows is at its best in some round by chance, and ends several per cent below it."""
    accused = 0
    for seed in range(4):
        x, y = rows(1500, 10 + seed)
        x_new, y_new = rows(40, 50 + seed)
        target = (y > 0, y_new > 0) if metric == "auc" else (y, y_new)
        objective = {"auc": {"xgboost": "binary:logistic", "lightgbm": "binary"}[library]}.get(metric)
        name = "eval_metric" if library == "xgboost" else "metric"
        tracker = BoostingTracker()
        train(library, tracker, 80, data=(x, target[0], x_new, target[1]), learning_rate=0.05, max_depth=3,
              **{name: metric}, **({"objective": objective} if objective else {}))  # fmt: skip
        if observed:
            tracker.observe_data(x, target[0], x_new, target[1])
        accused += "booster_overfitting" in types(tracker)
    assert accused == 0


def test_a_target_without_a_signal_does_not_stagnate():
    """Trees of noise gain as much late as early."""
    rng = np.random.default_rng(3)
    y, y_new = rng.random(600) < 0.5, rng.random(4000) < 0.5
    x_new = rng.normal(size=(4000, 6))
    tracker = BoostingTracker()
    train("xgboost", tracker, 60, data=(X, y, x_new, y_new), objective="binary:logistic",
          eval_metric="auc", eta=0.02, max_depth=2)  # fmt: skip
    assert tracker.measurements().scalars["late_tree_gain"] > 0.35
    assert "booster_stagnation" not in types(tracker)


def test_losses_of_classes_that_fall_to_nothing_on_training_rows_are_no_memory():
    """Three classes that part well: a logarithmic loss of .01 on training rows and .1 on held-out ones."""
    rng = np.random.default_rng(0)
    centre = np.array([[0, 0], [4, 0], [0, 4]])
    label, label_new = rng.integers(3, size=600), rng.integers(3, size=300)
    x, x_new = (centre[one] + rng.normal(size=(len(one), 2)) for one in (label, label_new))
    tracker = BoostingTracker()
    train("xgboost", tracker, 100, data=(x, label, x_new, label_new), objective="multi:softprob", num_class=3)
    tracker.observe_data(x, label, x_new, label_new)
    assert "rows_memorised" not in types(tracker)


@pytest.mark.parametrize(("rows_held_out", "fires"), [(20, False), (400, True), (math.nan, False)])
def test_an_area_under_the_curve_of_few_rows_is_no_sign_of_rows_learned_by_heart(rows_held_out, fires):
    scalars = {"stopped": 0.0, "higher_is_better": 1.0, "generalisation_gap": 0.38, "val_error": rows_held_out**-0.5}
    found = RuleBook.load().evaluate(Measurements("boosting", "booster", scalars))
    assert ("rows_memorised" in {one.rule_id for one in found}) == fires


@pytest.mark.parametrize("library", LIBRARIES)
def test_squared_errors_are_compared_by_their_roots(library):
    """A gap of .9 between squared errors is one of .68 between their roots."""
    found = []
    names = {"xgboost": ["rmse", "rmse"], "lightgbm": ["l2", "rmse"]}[library]
    for metric in names:
        tracker = BoostingTracker()
        key = "eval_metric" if library == "xgboost" else "metric"
        train(library, tracker, 60, **{key: metric}, **DEEP[library])
        found.append([tracker.measurements().scalars[name] for name in ("val_excess", "generalisation_gap")])
    assert found[0] == pytest.approx(found[1])


# --- coverage --------------------------------------------------------------------------------------------------------


def test_a_search_trains_copies_and_the_tracker_says_that_it_saw_nothing():
    tracker = BoostingTracker()
    model = xgb.XGBRegressor(n_estimators=5, n_jobs=1, callbacks=[tracker.as_xgb_callback()])
    search = GridSearchCV(model, {"max_depth": [2, 3]}, cv=2).fit(X, Y)
    report = tracker.to_report()
    assert report.status == NOT_OBSERVED
    assert "from_model" in report.coverage.blind
    after = BoostingTracker()
    after.from_model(search.best_estimator_)
    assert after.to_report().status != NOT_OBSERVED


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_was_seen_and_what_was_not(library):
    tracker = BoostingTracker()
    train(library, tracker, 30, learning_rate=0.3)
    found = tracker.measurements().coverage
    assert (found.seen["rounds"], found.seen["trees"], found.seen["evaluations"]) == (30, 30, 2)
    assert not found.blind
    assert "observe_data" in found.unseen["data"]
    tracker.observe_data(X, Y, X_NEW, Y_NEW)
    found = tracker.measurements().coverage
    assert found.seen["validation_rows"] == 400
    assert not found.unseen
    assert tracker.to_report().status == HEALTHY or tracker.findings()


def test_an_evaluation_of_nothing_but_the_training_rows_is_none():
    tracker = BoostingTracker()
    data = xgb.DMatrix(X, Y)
    xgb.train(QUIET["xgboost"], data, 5, evals=[(data, "train")], verbose_eval=False,
              callbacks=[tracker.as_xgb_callback()])  # fmt: skip
    found = tracker.measurements().coverage.unseen
    assert "validation_set" in found
    assert "training_evaluation" not in found


def test_linear_boosters_and_cross_validation_say_why_they_have_no_trees():
    linear, crossed = BoostingTracker(), BoostingTracker()
    train("xgboost", linear, 5, booster="gblinear")
    xgb.cv(QUIET["xgboost"], xgb.DMatrix(X, Y), 5, nfold=3, callbacks=[crossed.as_xgb_callback()])
    for tracker in (linear, crossed):
        assert "trees" in tracker.measurements().coverage.unseen
    assert "rounds_as_corrections" in linear.measurements().coverage.unseen
    assert crossed.measurements().scalars["boosts"] == 1


# --- what is said of the library -------------------------------------------------------------------------------------


@pytest.mark.parametrize("save_best", [True, False])
@pytest.mark.parametrize("last", [True, False])
def test_a_booster_that_early_stopping_cut_predicts_by_its_best_round(save_best, last):
    """With `save_best=True`, coverage still told that `Booster.predict` takes all rounds, unless save_best is set."""
    tracker = BoostingTracker()
    callbacks = [xgb.callback.EarlyStopping(rounds=5, save_best=save_best), tracker.as_xgb_callback()]
    held = xgb.DMatrix(X_NEW, Y_NEW)
    model = xgb.train({"eta": 0.5, "nthread": 1}, xgb.DMatrix(X, Y), 80, evals=[(held, "valid")], verbose_eval=False,
                      callbacks=callbacks if last else callbacks[::-1])  # fmt: skip
    measured = tracker.measurements()
    best = model.best_iteration + 1
    assert (measured.scalars["kept_round"], measured.scalars["stopped"]) == (best, 1)
    assert measured.scalars["trees"] == measured.scalars["rounds"] == best + 5
    assert ("prediction" in measured.coverage.unseen) != (save_best and last)
    if save_best and not last:  # it cannot be seen from before it
        assert "seen where the tracker's callback stands after it" in measured.coverage.unseen["prediction"]


def test_no_advice_names_a_parameter_that_data_in_memory_pass_by():
    """LightGBM heeds `ignore_column` only where it reads a text file itself."""
    for rule in RuleBook.load().values():
        assert "ignore_column" not in "".join(rule.plain.values())


RISING = {
    "val_excess": 0.0,
    "val_climb": 5.0,
    "best_round_share": 1.0,
    "stopped": 0.0,
    "rounds": 40.0,
    "best_round": 40.0,
}


@pytest.mark.parametrize(
    ("figures", "shown", "hidden"),
    [
        ({"late_tree_gain": 0.5, "late_train_gain": 0.01}, "gained 0.5 of", "improved by"),
        ({"late_tree_gain": 0.5, "late_train_gain": 0.2}, "gained 0.5 of", "improved by"),
        ({"late_tree_gain": 0.2, "late_train_gain": 0.15}, "15.0% came in the last fifth of 40 rounds", "A tree"),
        ({"late_train_gain": 0.15}, "15.0% came in the last fifth of 40 rounds", "A tree"),
        ({"late_tree_gain": 0.5, "val_climb": 0.1, "higher_is_better": 1.0, "generalisation_gap": 0.01,
          "train_last": 0.812, "val_last": 0.804}, "training rows give 0.812 and held-out rows 0.804", "round 40"),
    ],
)  # fmt: skip
def test_what_tells_that_training_was_cut_short_is_what_is_shown(figures, shown, hidden):
    """By what the training rows improved, stagnation was found, and a gain of the trees of .2 stood there as why."""
    (found,) = RuleBook.load().evaluate(Measurements("boosting", "booster", RISING | figures))
    assert found.rule_id == "booster_stagnation"
    assert shown in found.premise
    assert hidden not in found.premise
    assert "nan" not in found.premise
