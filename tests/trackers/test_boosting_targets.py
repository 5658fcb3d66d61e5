"""What a tracker of boosters says of targets that are not of their rows, of columns in another order, and of rates."""

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from flowgrad import BoostingTracker


def table(seed=0, rows=1600):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 6)) * [1, 3, 9, 1, 5, 2] + [0, 4, 0, 7, 1, 3]
    x[:, 3] = rng.random(rows) < 0.3
    y = x[:, 0] + x[:, 1] / 3 + x[:, 3] + rng.normal(size=rows)
    return pd.DataFrame(x, columns=list("abcdef")), y


def said(X, y, new_X, new_y, rate=0.1, rounds=40):
    tracker = BoostingTracker()
    data, held_out = xgb.DMatrix(X, y), xgb.DMatrix(new_X, new_y)
    xgb.train({"nthread": 1, "max_depth": 3, "eta": rate}, data, rounds, evals=[(data, "train"), (held_out, "valid")],
              verbose_eval=False, callbacks=[tracker.as_xgb_callback()])  # fmt: skip
    tracker.observe_data(X, y, new_X, new_y)
    return {finding.rule_id: finding for finding in tracker.findings() if finding.severity not in ("low", "info")}


def parts(seed=0):
    X, y = table(seed)
    return X[:1100], y[:1100], X[1100:].reset_index(drop=True), y[1100:]


def test_a_sound_table_is_held_nothing_against():
    assert not said(*parts())


def test_targets_in_another_order_than_their_rows_are_a_question():
    """Rows were sorted and their targets were not; nothing was said, or to regularise."""
    X, y, new_X, new_y = parts(1)
    rng = np.random.default_rng(1)
    found = said(X, rng.permutation(y), new_X, rng.permutation(new_y), rounds=150, rate=0.3)
    assert found["targets_not_of_their_rows"].candidates[0].cause == "TARGETS_SHUFFLED"
    assert "booster_overfitting" not in found or found["booster_overfitting"].fix is None


def test_a_third_of_the_training_targets_of_other_rows_is_a_question():
    X, y, new_X, new_y = parts(2)
    rng = np.random.default_rng(2)
    chosen = np.flatnonzero(rng.random(len(y)) < 0.35)
    y = y.copy()
    y[chosen] = y[rng.permutation(chosen)]
    found = said(X, y, new_X, new_y)
    assert list(found) == ["labels_wrong_in_training"]
    assert found["labels_wrong_in_training"].fix is None


@pytest.mark.parametrize("order", ["bacdef", "fedcba", "badcfe"])
def test_columns_in_another_order_under_the_names_of_training_are_told(order):
    X, y, new_X, new_y = parts(3)
    moved = pd.DataFrame(new_X[list(order)].to_numpy(), columns=list("abcdef"))
    assert "columns_in_another_order" in said(X, y, moved, new_y)


def test_columns_that_are_standardised_in_validation_alone_are_a_question():
    X, y, new_X, new_y = parts(4)
    assert "inputs_scaled_differently" in said(X, y, (new_X - X.mean()) / X.std() / 3, new_y)


@pytest.mark.parametrize(("rate", "named"), [(1.6, True), (1.0, True), (0.3, False)])
def test_a_rate_at_which_trees_overshoot_is_named(rate, named):
    """It was called overfitting, for the held-out error rises."""
    assert ("booster_rate_too_high" in said(*parts(5), rate=rate, rounds=60)) == named
