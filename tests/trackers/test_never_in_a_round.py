"""A tracker of a booster never ends its training, whatever breaks: one warning, and the report is blind."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from flowgrad.rules import RuleBook
from flowgrad.trackers import BoostingTracker, TrackingStopped

RULES = RuleBook.load()
X = np.random.default_rng(0).normal(size=(120, 3))
Y = X[:, 0] + 0.1 * X[:, 1]


def by_xgboost(tracker):
    xgb = pytest.importorskip("xgboost")
    data = xgb.DMatrix(X, Y)
    calls = [tracker.as_xgb_callback()] if tracker else []
    return xgb.train({"nthread": 1}, data, 12, evals=[(data, "train")], callbacks=calls, verbose_eval=False).save_raw()


def by_lightgbm(tracker):
    lgb = pytest.importorskip("lightgbm")
    data = lgb.Dataset(X, Y)
    calls = [tracker.as_lgb_callback()] if tracker else []
    params = {"verbosity": -1, "num_threads": 1, "deterministic": True}
    return lgb.train(params, data, 12, valid_sets=[data], callbacks=calls).model_to_string()


class Broken:
    """A part of which nothing can be had."""

    def __getattr__(self, name):
        raise RuntimeError("broken")


@pytest.mark.parametrize("train", [by_xgboost, by_lightgbm])
@pytest.mark.parametrize("part", ["_evaluations", "_source", "_columns"])
def test_boosting_goes_on_whatever_breaks(train, part):
    """A metric that gave no number, or trees that could not be read, ended the training within its callback."""
    tracker = BoostingTracker(window=3, rules=RULES)
    end_round, times = tracker._evaluations.end_round, []

    def breaks(*args, **kwargs):
        times.append(1)
        if len(times) == 5:
            setattr(tracker, part, Broken())
            if part == "_evaluations":
                raise RuntimeError("broken")
        return end_round(*args, **kwargs)

    tracker._evaluations.end_round = breaks
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found = train(tracker)
        tracker.detach()
    assert found == train(None)
    if part == "_columns":  # is read in the report alone, which may fail
        assert not tracker.stopped
        return
    assert sum(one.category is TrackingStopped for one in warned) == 1
    report = tracker.to_report()
    assert report.status == "NOT_OBSERVED"
    assert "rounds alone" in tracker.report()
    assert "broken" in tracker.to_agent_xml()


def test_a_value_that_is_no_number_ends_the_watching():
    tracker = BoostingTracker(rules=RULES)
    tracker.begin(None, 0)
    tracker.end_round([("valid", "own", 0.5, None)], last=True)
    with pytest.warns(TrackingStopped, match="stopped watching at a round, after 2 rounds"):
        tracker.end_round([("valid", "own", "much", None)], last=True)
    tracker.end_round([("valid", "own", 0.5, None)], last=True)
    tracker.end(None)
    assert tracker.to_report().status == "NOT_OBSERVED"
