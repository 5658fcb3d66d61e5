"""BoostingTracker on tables, targets and settings out of the ordinary, in both libraries: each is seen whole, or is a
clear error, or has a treatment that is said here.
"""

import math

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from scipy import sparse

from flowgrad import BoostingTracker
from flowgrad.report import from_xml, validate

LIBRARIES = ["xgboost", "lightgbm"]
RNG = np.random.default_rng(0)
N = 400
X = pd.DataFrame(RNG.normal(size=(N, 4)), columns=list("abcd"))
Y = (X["a"] * X["b"] + X["c"] + RNG.normal(size=N)).to_numpy()
HALF = N // 2
QUERIES = [20] * 10


def train(library, X, y, rounds=20, group=None, stop=None, **params):
    """A booster and its tracker; the second half of the rows is held out. NaN are missing to both libraries."""
    tracker = BoostingTracker(window=8)
    parts = [(X[:HALF], y[:HALF]), (X[HALF:], y[HALF:])]
    if library == "xgboost":
        kind = {"enable_categorical": True} if isinstance(X, pd.DataFrame) else {}
        data, held_out = (xgb.DMatrix(*part, nthread=1, **kind) for part in parts)
        if group:
            data.set_group(group)
            held_out.set_group(group)
        callbacks = [tracker.as_xgb_callback(), *([stop] if stop else [])]
        booster = xgb.train({"nthread": 1} | params, data, rounds, evals=[(data, "train"), (held_out, "valid")],
                            callbacks=callbacks, verbose_eval=False)  # fmt: skip
        return booster, tracker
    own = {"num_threads": 1, "verbose": -1, "min_data_in_leaf": 2, "min_data_per_group": 2} | params
    data = lgb.Dataset(*parts[0], group=group, params=own)
    held_out = lgb.Dataset(*parts[1], group=group, reference=data, params=own)
    callbacks = [tracker.as_lgb_callback(), *([stop] if stop else [])]
    booster = lgb.train(own, data, rounds, valid_sets=[data, held_out], valid_names=["train", "valid"],
                        callbacks=callbacks)  # fmt: skip
    return booster, tracker


def splits_of(library, booster):
    """Splits on each column, as the library counts them."""
    if library == "xgboost":
        return booster.get_score(importance_type="weight")
    return dict(zip(booster.feature_name(), booster.feature_importance("split"), strict=True))


def check_whole(library, booster, tracker, rounds=20):
    """Everything was seen, and the report is whole."""
    measured = tracker.measurements()
    table = measured.tables["rows"]
    counted = splits_of(library, booster)
    assert measured.scalars["rounds"] == rounds
    assert {name: counted.get(name, 0) for name in table.index} == table["splits"].to_dict()
    text = tracker.to_agent_xml()
    validate(text)
    assert from_xml(text) == tracker.to_report()
    return measured


@pytest.mark.parametrize("library", LIBRARIES)
def test_constant_columns_are_listed_and_unused(library):
    table = X.assign(same=3.0, empty=np.nan)
    measured = check_whole(library, *train(library, table, Y))
    rows = measured.tables["rows"]
    assert rows.loc[["same", "empty"], "splits"].tolist() == [0, 0]
    assert measured.scalars["unused_share"] == 2 / 6


@pytest.mark.parametrize("library", LIBRARIES)
def test_missing_values_are_the_librarys_affair_and_a_value_to_the_columns(library):
    table = X.mask(RNG.random(X.shape) < 0.3)
    booster, tracker = train(library, table, Y)
    tracker.observe_data(table[:HALF], Y[:HALF], table[HALF:], Y[HALF:])
    measured = check_whole(library, booster, tracker)
    assert np.isfinite(measured.tables["rows"]["val_r2"]).all()


@pytest.mark.parametrize("library", LIBRARIES)
def test_infinite_values(library):
    """XGBoost refuses them and LightGBM takes them as large numbers; the look at the columns refuses them."""
    table = X.assign(a=X["a"].where(X["a"] < 1, np.inf))
    if library == "xgboost":
        with pytest.raises(xgb.core.XGBoostError, match="inf"):
            train(library, table, Y)
    else:
        check_whole(library, *train(library, table, Y))
    with pytest.raises(ValueError, match="column 'a' holds infinity"):
        BoostingTracker().observe_data(table[:HALF], Y[:HALF], table[HALF:], Y[HALF:])


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("one_hot", [1, 100])
def test_categories(library, one_hot):
    kind = pd.Categorical(RNG.choice(list("pqrstuvw"), N))
    table = X.assign(kind=kind)
    target = Y + 3 * np.isin(kind, ["p", "q", "s"])
    booster, tracker = train(library, table, target, max_cat_to_onehot=one_hot)
    tracker.observe_data(table[:HALF], target[:HALF], table[HALF:], target[HALF:])
    rows = check_whole(library, booster, tracker).tables["rows"]
    assert rows.loc["kind", "splits"] > 0
    assert rows.loc["kind", "val_r2"] > rows.loc["d", "val_r2"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_text_is_refused_by_the_library_and_taken_by_its_values_here(library):
    table = X.assign(said=RNG.choice(["yes", "no"], N))
    with pytest.raises(ValueError, match="said"):
        train(library, table, Y)
    tracker = BoostingTracker()
    tracker.observe_data(table[:HALF], Y[:HALF], table[HALF:], Y[HALF:])
    assert np.isfinite(tracker.measurements().tables["rows"].loc["said", "val_r2"])


@pytest.mark.parametrize("library", LIBRARIES)
def test_fewer_rows_than_columns(library):
    count = HALF + 10
    table = pd.DataFrame(RNG.normal(size=(N, count)), columns=[f"x{i}" for i in range(count)])
    booster, tracker = train(library, table, Y, 3)
    measured = check_whole(library, booster, tracker, 3)
    assert measured.scalars["columns"] == count
    tracker.observe_data(table[:HALF], Y[:HALF], table[HALF:], Y[HALF:])
    assert len(tracker.measurements().tables["rows"]) == count


@pytest.mark.parametrize("library", LIBRARIES)
def test_one_class_alone(library):
    """There is nothing to split: no gain, no share, and the look at the columns says why."""
    objective = {"xgboost": "binary:logistic", "lightgbm": "binary"}[library]
    _, tracker = train(library, X, np.zeros(N), 5, objective=objective)
    measured = tracker.measurements()
    assert measured.scalars["rounds"] == 5
    assert (measured.tables["rows"]["splits"] == 0).all()
    assert math.isnan(measured.scalars["top_gain_share"])
    assert (tracker.trees()["gain"] == 0).all()
    assert (tracker.trees()["depth"] == 0).all()
    validate(tracker.to_agent_xml())
    with pytest.raises(ValueError, match="there is nothing to predict"):
        tracker.observe_data(X[:HALF], np.zeros(HALF), X[HALF:], np.zeros(HALF))


@pytest.mark.parametrize("library", LIBRARIES)
def test_several_classes_have_a_tree_each_a_round(library):
    objective = {"xgboost": "multi:softprob", "lightgbm": "multiclass"}[library]
    metric = {"xgboost": {"eval_metric": "mlogloss"}, "lightgbm": {"metric": "multi_logloss"}}[library]
    booster, tracker = train(library, X, np.digitize(Y, [-1, 1]), objective=objective, num_class=3, **metric)
    measured = check_whole(library, booster, tracker)
    assert measured.scalars["trees"] == 60
    assert tracker.trees()["round"].tolist() == [n for n in range(1, 21) for _ in range(3)]
    assert tracker.gain_by_window().index.tolist() == [8, 16, 20]


def test_trees_of_several_outputs():
    targets = np.column_stack([Y, -Y, X["d"]])
    tracker = BoostingTracker()
    data = xgb.DMatrix(X, targets)
    xgb.train({"nthread": 1, "multi_strategy": "multi_output_tree", "tree_method": "hist"}, data, 6,
              evals=[(data, "train"), (data, "valid")], verbose_eval=False,
              callbacks=[tracker.as_xgb_callback()])  # fmt: skip
    trees = tracker.trees()
    assert len(trees) == 6
    assert (trees[["gain", "leaf_size", "leaf_hessian"]] > 0).to_numpy().all()


@pytest.mark.parametrize("library", LIBRARIES)
def test_ranking(library):
    """NDCG is better when higher, at any cut-off."""
    params = {
        "xgboost": {"objective": "rank:ndcg", "eval_metric": ["ndcg@3", "map@3-"]},
        "lightgbm": {"objective": "lambdarank", "metric": "ndcg", "eval_at": [3]},
    }[library]
    relevance = np.digitize(Y, [-1, 1]) if library == "lightgbm" else (Y > 0).astype(int)
    booster, tracker = train(library, X, relevance, group=QUERIES, **params)
    measured = check_whole(library, booster, tracker).scalars
    assert measured["higher_is_better"] == 1
    judged = tracker.evaluations()[{"xgboost": "valid map@3-", "lightgbm": "valid ndcg@3"}[library]]
    assert measured["best_round"] == judged.idxmax()


@pytest.mark.parametrize("library", LIBRARIES)
def test_dart_is_told_as_it_was_read(library):
    """Trees are scaled anew later; their number, columns and gains stay. XGBoost keeps the scale apart from the trees,
    and LightGBM within.
    """
    params = {"xgboost": {"booster": "dart", "rate_drop": 0.5}, "lightgbm": {"boosting": "dart", "drop_rate": 0.5}}
    booster, tracker = train(library, X, Y, **params[library])
    check_whole(library, booster, tracker)
    after = BoostingTracker(window=8)
    after.from_model(booster)
    pd.testing.assert_frame_equal(after.gain_by_window(), tracker.gain_by_window())
    assert np.allclose(after.trees()["leaf_size"], tracker.trees()["leaf_size"]) == (library == "xgboost")


@pytest.mark.parametrize("library", LIBRARIES)
def test_arrays_have_the_librarys_names(library):
    booster, tracker = train(library, X.to_numpy(), Y)
    names = {"xgboost": ["f0", "f1", "f2", "f3"], "lightgbm": [f"Column_{i}" for i in range(4)]}[library]
    assert sorted(check_whole(library, booster, tracker).tables["rows"].index) == names


ODD = {
    "xgboost": ["Preis in €", "a=b", "x;y\"z'", "日本 & $k$"],  # it refuses [, ] and <
    "lightgbm": ["Preis_in_€", "a=b", "Tree=1", "日本&$k$"],
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_odd_names(library):
    table = X.set_axis(ODD[library], axis=1)
    booster, tracker = train(library, table, Y)
    assert sorted(check_whole(library, booster, tracker).tables["rows"].index) == sorted(ODD[library])


@pytest.mark.parametrize("save_best", [False, True])
def test_what_xgboost_cuts_off_was_seen_all_the_same(save_best):
    """`save_best` cuts the model back; a tracker after it would see the cut one, were it not told of the whole."""
    found = []
    for first in (True, False):
        tracker = BoostingTracker(window=8)
        callbacks = [tracker.as_xgb_callback(), xgb.callback.EarlyStopping(rounds=5, save_best=save_best)]
        data, held_out = xgb.DMatrix(X[:HALF], Y[:HALF]), xgb.DMatrix(X[HALF:], Y[HALF:])
        booster = xgb.train({"nthread": 1, "eta": 0.8}, data, 200, evals=[(data, "train"), (held_out, "valid")],
                            callbacks=callbacks if first else callbacks[::-1], verbose_eval=False)  # fmt: skip
        rounds = tracker.measurements().scalars["rounds"]
        assert booster.num_boosted_rounds() == (rounds - 5 if save_best else rounds)
        assert len(tracker.trees()) == rounds
        found.append(tracker.trees())
    pd.testing.assert_frame_equal(*found)


def test_lightgbm_keeps_no_trees_after_the_best():
    """It lets go of them when early stopping ends the training: only whole windows of them were seen."""
    booster, tracker = train("lightgbm", X, Y, 200, stop=lgb.early_stopping(12, verbose=False), learning_rate=0.5)
    best = booster.best_iteration
    assert tracker.measurements().scalars["rounds"] == best + 12
    assert len(tracker.evaluations()) == best + 12
    assert len(tracker.trees()) == max(best, (best + 12) // 8 * 8)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_target_that_is_the_same_everywhere(library):
    _, tracker = train(library, X, np.full(N, 2.5), 5)
    assert tracker.measurements().scalars["rounds"] == 5
    assert math.isnan(tracker.measurements().scalars["top_gain_share"])
    validate(tracker.to_agent_xml())


@pytest.mark.parametrize("library", LIBRARIES)
def test_evaluations_that_are_not_finite_are_never_the_best(library):
    """A metric of one's own that breaks down in round 3."""
    seen = iter([5.0, 4.0, math.nan, -math.inf, 3.0, 3.5])
    tracker = BoostingTracker()
    if library == "xgboost":
        held_out = xgb.DMatrix(X[HALF:], Y[HALF:])
        xgb.train({"nthread": 1, "disable_default_eval_metric": 1}, xgb.DMatrix(X, Y), 6, evals=[(held_out, "valid")],
                  custom_metric=lambda p, d: ("mae", next(seen)), callbacks=[tracker.as_xgb_callback()],
                  verbose_eval=False)  # fmt: skip
    else:
        data = lgb.Dataset(X, Y)
        lgb.train({"num_threads": 1, "verbose": -1, "metric": "none"}, data, 6,
                  valid_sets=[lgb.Dataset(X, Y, reference=data)], feval=lambda p, d: ("mae", next(seen), False),
                  callbacks=[tracker.as_lgb_callback()])  # fmt: skip
    measured = tracker.measurements().scalars
    assert (measured["val_best"], measured["best_round"], measured["val_nonfinite"]) == (3, 5, 1)


HOSTILE = {
    "lists": (lambda X: pd.DataFrame({"a": [[1]] * len(X), "b": X[:, 0]}), "cannot be compared"),
    "values without squares": (lambda X: np.sign(X) * 1e200, "whose squares no float holds"),
    "complex numbers": (lambda X: X + 1j, "complex"),
    "rows of several lengths": (lambda X: [[1.0], [1.0, 2.0]], "is no array"),
    "three axes": (lambda X: X[:, :, None], "shape"),
    "nothing": (lambda X: None, "shape"),
    "names that are one as text": (lambda X: pd.DataFrame(X[:, :2], columns=[1, "1"]), "named '1'"),
    "too many columns": (lambda X: np.tile(X, (1, 2000)), "at most 5000"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_data_that_cannot_be_looked_at_are_refused_in_one_line(name):
    """An error of pandas or LAPACK, or gigabytes and minutes for a hundred thousand columns."""
    make, told = HOSTILE[name]
    X = np.random.default_rng(0).normal(size=(60, 3))
    with pytest.raises(ValueError, match=told) as error:
        BoostingTracker().observe_data(make(X), X[:, 0], make(X), X[:, 0])
    assert len(str(error.value).splitlines()) == 1


def test_what_a_mask_hides_is_missing():
    """`numpy.asarray` took what lies under the mask."""
    X = np.random.default_rng(0).normal(size=(60, 3))
    hidden = X[:, 1] > 0
    masked = np.ma.masked_array(X.copy(), np.zeros(X.shape, bool))
    masked[hidden, 1] = np.ma.masked
    gaps = X.copy()
    gaps[hidden, 1] = np.nan
    tables = []
    for data in (masked, gaps):
        tracker = BoostingTracker()
        tracker.observe_data(data, X[:, 0], data, X[:, 0])
        tables.append(tracker._columns.table())
    pd.testing.assert_frame_equal(*tables)
    with pytest.raises(ValueError, match="y holds NaN"):
        BoostingTracker().observe_data(X, masked[:, 1], X, X[:, 0])


# --- parts in two forms, and evaluations of other rows ----------------------------------------------------------------


def counts(seed, n):
    """Rows of counts, most of them 0, whose sum of three decides a class; such as words of texts."""
    random = np.random.default_rng(seed)
    X = random.poisson(0.4, size=(n, 8)).astype(float)
    return X, (X[:, 0] + X[:, 1] + X[:, 2] - X[:, 3] > 0.5).astype(int)


def boosted(tracker, train, valid, metric="auc", **params):
    sets = [(xgb.DMatrix(*train), "train"), (xgb.DMatrix(*valid), "valid")]
    settings = {"objective": "binary:logistic", "eval_metric": metric, "nthread": 1, "seed": 0} | params
    xgb.train(settings, sets[0][0], 60, evals=sets, verbose_eval=False, callbacks=[tracker.as_xgb_callback()])


@pytest.mark.parametrize("forms", ["sparse, dense", "sparse, sparse", "dense, dense"])
def test_a_sparse_part_beside_a_dense_one_is_asked_about(forms):
    """Zeros that a sparse matrix leaves out are missing to XGBoost: .98 fell to .57, and ROWS_MEMORISED was told."""
    X, y, X_new, y_new = *counts(0, 800), *counts(1, 400)
    one, other = (sparse.csr_matrix if form == "sparse" else np.asarray for form in forms.split(", "))
    tracker = BoostingTracker()
    boosted(tracker, (one(X), y), (other(X_new), y_new))
    tracker.observe_data(one(X), y, other(X_new), y_new)
    found = {finding.type: finding for finding in tracker.findings()}
    assert ("ZEROS_FOR_MISSING" in found) == ("EVALUATED_ROWS_MADE_OTHERWISE" in found) == (forms == "sparse, dense")
    assert not any(finding.fix for finding in found.values())
    assert all(found[name].severity == "low" for name in found if name == "ZEROS_FOR_MISSING")


def test_a_sparse_matrix_that_is_too_large_to_look_at_is_refused():
    wide = sparse.csr_matrix((200_000, 1_000))
    with pytest.raises(ValueError, match=r"X is a sparse matrix of the shape \(200000, 1000\)"):
        BoostingTracker().observe_data(wide, np.arange(200_000) % 2, wide, np.arange(200_000) % 2)


@pytest.mark.parametrize("metric", ["auc", "logloss"])
@pytest.mark.parametrize("made", ["columns moved", "as told", "noisy and overfitted"])
def test_an_evaluation_of_rows_that_were_made_otherwise(made, metric):
    """Held-out targets of the rows told follow from training rows; the evaluation, made another way, is no better than
    a coin. That was told as overfitting or as rows learned by heart, with a change.
    """
    X, y, X_new, y_new = *counts(0, 800), *counts(1, 400)
    if made == "noisy and overfitted":
        y, y_new = (
            np.where(np.random.default_rng(k).random(len(t)) < 0.25, 1 - t, t) for k, t in enumerate((y, y_new))
        )
    evaluated = np.roll(X_new, 4, axis=1) if made == "columns moved" else X_new
    tracker = BoostingTracker()
    boosted(tracker, (X, y), (evaluated, y_new), metric, max_depth=8, eta=0.3)
    tracker.observe_data(X, y, X_new, y_new)
    found = {finding.type: finding for finding in tracker.findings()}
    assert ("EVALUATED_ROWS_MADE_OTHERWISE" in found) == (made == "columns moved")
    if made == "columns moved":
        assert not any(finding.fix for finding in found.values())


@pytest.mark.parametrize(("own_row", "type_"), [(True, "HELD_OUT_GETS_WORSE"), (False, "BOOSTER_OVERFITTING")])
def test_where_the_leading_column_does_not_carry_over_the_trees_are_not_blamed(own_row, type_):
    """A mean of the target by category, each row's own among it: early stopping was prescribed against the encoding."""
    random = np.random.default_rng(0)
    codes, new_codes = random.integers(600, size=(2, 1500))
    X, X_new = random.normal(size=(2, 1500, 3))
    y, y_new = ((x[:, 0] + 2 * random.normal(size=1500) > 0).astype(int) for x in (X, X_new))
    means = np.bincount(codes, y, 600) / np.maximum(np.bincount(codes, minlength=600), 1)
    if own_row:
        X[:, 2], X_new[:, 2] = means[codes], means[new_codes]
    tracker = BoostingTracker()
    boosted(tracker, (X, y), (X_new, y_new), "logloss", max_depth=4, eta=0.3)
    tracker.observe_data(X, y, X_new, y_new)
    (found,) = [finding for finding in tracker.findings() if finding.rule_id == "booster_overfitting"]
    assert (found.type, found.fix is None) == (type_, own_row)


@pytest.mark.parametrize("rows", ["sorted", "shuffled", "validation shuffled", "by id"])
def test_groups_that_hold_rows_of_several_queries_are_a_question(rows):
    """Sizes of groups were given for rows that were shuffled: NDCG rose as told, and fell in truth."""
    random = np.random.default_rng(0)
    parts = []
    for shuffled in (rows in ("shuffled", "by id"), rows in ("shuffled", "validation shuffled", "by id")):
        query = np.repeat(np.arange(40), 15)
        level = random.normal(size=40)[query]
        x = np.column_stack([level + random.normal(size=600), random.normal(size=(600, 2))])
        order = random.permutation(600) if shuffled else np.arange(600)
        sizes = query[order] if rows == "by id" else np.full(40, 15)
        parts.append((x[order], random.integers(0, 4, size=600), sizes))
    (x, y, groups), (new_x, new_y, new_groups) = parts
    tracker = BoostingTracker()
    sets = [xgb.DMatrix(x, y), xgb.DMatrix(new_x, new_y)]
    for one in sets:
        one.set_group(np.full(40, 15))
    xgb.train({"objective": "rank:ndcg", "nthread": 1}, sets[0], 5, evals=[(sets[1], "valid")], verbose_eval=False,
              callbacks=[tracker.as_xgb_callback()])  # fmt: skip
    tracker.observe_data(x, y, new_x, new_y)
    assert "observe_data(…, groups=…" in tracker.measurements().coverage.unseen["groups"]
    tracker.observe_data(x, y, new_x, new_y, groups=groups, groups_validation=new_groups)
    found = {finding.type for finding in tracker.findings()}
    assert ("GROUPS_NOT_OF_THEIR_ROWS" in found) == (rows in ("shuffled", "validation shuffled"))
    assert "groups" not in tracker.measurements().coverage.unseen
    with pytest.raises(ValueError, match="groups has 3 entries, which are neither one for each of 600 rows"):
        tracker.observe_data(x, y, new_x, new_y, groups=[200, 200, 100])
