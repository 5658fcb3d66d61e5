"""BoostingTracker where its callback is given to an estimator that scikit-learn copies, or to several fits: each figure
is of one fit, and what is not watched is told.
"""

import copy
import pickle
import threading

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from flowgrad import BoostingTracker

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(240, 4))
Y = (X[:, 0] + RANDOM.normal(size=240) > 0).astype(int)
ROUNDS = 7


def xgboost(tracker):
    module = pytest.importorskip("xgboost")
    return module.XGBClassifier(n_estimators=ROUNDS, n_jobs=1, callbacks=[tracker.as_xgb_callback()]), {}


def lightgbm(tracker):
    module = pytest.importorskip("lightgbm")
    return module.LGBMClassifier(n_estimators=ROUNDS, n_jobs=1, verbose=-1), {"callbacks": [tracker.as_lgb_callback()]}


def catboost(tracker):
    module = pytest.importorskip("catboost")
    settings = {"n_estimators": ROUNDS, "thread_count": 1, "verbose": False, "allow_writing_files": False}
    return module.CatBoostClassifier(**settings), {"callbacks": [tracker.as_catboost_callback()]}


def searched(kind, tracker, **settings):
    estimator, told = kind(tracker)
    return GridSearchCV(estimator, {"max_depth": [1, 2]}, cv=2, **settings).fit(X, Y, **told).best_estimator_


def cross_validated(kind, tracker):
    estimator, told = kind(tracker)
    return cross_validate(estimator, X, Y, cv=3, params=told, return_estimator=True)["estimator"]


@pytest.mark.parametrize("kind", [lightgbm, catboost])
@pytest.mark.parametrize("search", [searched, cross_validated])
def test_of_several_fits_the_first_alone_is_told(kind, search):
    """CatBoost's callback took the rounds of all fits for those of one."""
    tracker = BoostingTracker()
    search(kind, tracker)
    measured = tracker.measurements()
    assert measured.step == ROUNDS
    others = 4 if search is searched else 2
    assert f"{others} more were given to this tracker" in measured.coverage.unseen["other_trainings"]


def test_each_copy_of_a_search_has_a_tracker_of_its_own():
    """XGBoost's callback is a setting of the estimator, and is copied with it."""
    tracker = BoostingTracker("clicks", window=3)
    best = searched(xgboost, tracker)
    assert tracker.measurements().step == 0
    assert "best_estimator_.callbacks[0].tracker" in tracker.measurements().coverage.blind
    own = best.callbacks[0].tracker
    assert own.measurements().step == ROUNDS == own.measurements().scalars["trees"]
    assert (own.name, own._window) == ("clicks", 3)
    assert own.measurements().coverage.unseen.keys().isdisjoint({"copies", "other_trainings"})


@pytest.mark.parametrize(
    "wrap", [lambda one: one, lambda one: make_pipeline(StandardScaler(), one)], ids=["bare", "pipeline"]
)
def test_each_copy_of_a_cross_validation_has_a_tracker_of_its_own(wrap):
    tracker = BoostingTracker()
    estimator, _ = xgboost(tracker)
    fitted = cross_validate(wrap(estimator), X, Y, cv=3, return_estimator=True)["estimator"]
    for one in fitted:
        own = (one[-1] if hasattr(one, "steps") else one).callbacks[0].tracker
        assert own.measurements().step == ROUNDS
        assert own is not tracker
    assert "copied 3 times" in tracker.measurements().coverage.blind


def test_copies_of_an_estimator_that_was_fitted_are_fresh():
    """Each copy carried the figures of the fit before, passed its own over, and told of the fit before as its own."""
    tracker = BoostingTracker()
    estimator, _ = xgboost(tracker)
    estimator.fit(X, Y)
    search = RandomizedSearchCV(estimator, {"max_depth": [1, 2], "n_estimators": [4]}, n_iter=2, cv=2)
    best = search.fit(X, Y).best_estimator_
    measured = tracker.measurements()
    assert measured.step == ROUNDS
    assert measured.coverage.unseen["copies"].startswith("the callback was copied")
    assert best.callbacks[0].tracker.measurements().step == 4


def test_copies_of_copies_are_counted():
    tracker = BoostingTracker()
    estimator, _ = xgboost(tracker)
    once = clone(estimator)
    clone(once)
    assert "copied 2 times" in tracker.measurements().coverage.blind
    assert "copied 1 times" in once.callbacks[0].tracker.measurements().coverage.blind


@pytest.mark.parametrize("kind", [xgboost, lightgbm, catboost])
def test_copies_in_other_processes_are_told(kind):
    """Nothing comes back from them but the refitted estimator."""
    tracker = BoostingTracker()
    estimator, told = kind(tracker)
    callback = told["callbacks"][0] if told else estimator.callbacks[0]
    elsewhere = pickle.loads(pickle.dumps(callback))
    assert elsewhere.tracker is not tracker
    assert "best_estimator_" in tracker.measurements().coverage.blind


@pytest.mark.parametrize("kind", [xgboost, lightgbm, catboost])
def test_one_estimator_fitted_twice(kind):
    tracker = BoostingTracker()
    estimator, told = kind(tracker)
    for _ in range(2):
        estimator.fit(X, Y, **told)
    assert tracker.measurements().step == ROUNDS
    assert "1 more were given" in tracker.measurements().coverage.unseen["other_trainings"]


@pytest.mark.parametrize("kind", [xgboost, lightgbm, catboost])
def test_the_best_estimator_is_read_by_a_new_tracker(kind):
    best = searched(kind, BoostingTracker())
    tracker = BoostingTracker()
    tracker.from_model(best)
    assert tracker.measurements().scalars["trees"] == ROUNDS


def test_a_model_of_another_fit_is_not_taken_for_the_one_that_was_watched():
    """The trees of the best estimator were put beside the evaluations of a fold."""
    tracker = BoostingTracker()
    best = searched(catboost, tracker)
    with pytest.raises(ValueError, match="has watched another training than that of this model"):
        tracker.from_model(best)
    tracker = BoostingTracker()
    estimator, told = catboost(tracker)
    tracker.from_model(estimator.fit(X, Y, **told))
    assert tracker.measurements().scalars["trees"] == ROUNDS


def test_a_catboost_model_that_goes_on_is_another_training():
    tracker = BoostingTracker()
    estimator, told = catboost(tracker)
    estimator.fit(X, Y, **told)
    catboost(tracker)[0].fit(X, Y, init_model=estimator, **told)
    assert tracker.measurements().step == ROUNDS


def test_fits_in_several_threads_do_not_mix():
    """Threads share a callback that is an argument of fit: the rounds of one were told as those of another."""
    tracker, turns = BoostingTracker(), [threading.Event(), threading.Event()]

    def train(first):
        own, other = turns if first else turns[::-1]
        for step in range(3):
            own.wait(10)
            own.clear()
            if step == 0:
                tracker.begin(None, 0, "lightgbm")
            tracker.end_round([("valid", "l2", float(first), False)], last=False)
            other.set()

    threads = [threading.Thread(target=train, args=(first,)) for first in (True, False)]
    for one in threads:
        one.start()
    turns[0].set()
    for one in threads:
        one.join(10)
    assert tracker.evaluations()["valid l2"].tolist() == [1.0, 1.0, 1.0]
    assert "1 more were given" in tracker.measurements().coverage.unseen["other_trainings"]


@pytest.mark.parametrize("kind", [xgboost, lightgbm, catboost])
def test_fits_in_threads_of_a_search(kind):
    from joblib import parallel_backend

    tracker = BoostingTracker()
    with parallel_backend("threading"):
        best = searched(kind, tracker, n_jobs=2)
    measured = (tracker if kind is not xgboost else best.callbacks[0].tracker).measurements()
    assert measured.step == ROUNDS
    assert measured.scalars["trees"] == pytest.approx(ROUNDS, nan_ok=True) or kind is catboost


def test_a_copy_of_a_tracker_is_a_whole_copy():
    tracker = BoostingTracker()
    estimator, _ = xgboost(tracker)
    estimator.fit(X, Y)
    assert copy.deepcopy(tracker).measurements().step == ROUNDS
