"""Rows that are copies but for noise, or but for one column."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer

from flowgrad import BoostingTracker, FeatureAnalyzer
from flowgrad.gate import distinct_rows, near_copies_seen, table_objection

REAL = load_breast_cancer().data[:, :10]
CLASSES = (np.random.default_rng(0).random(len(REAL)) < 0.1).astype(int)


def again(kind, seed=0):
    """Every row three times, in random order, and the row that each one is."""
    random = np.random.default_rng(seed)
    rows = random.permutation(np.repeat(np.arange(len(REAL)), 3))
    X = REAL[rows]
    if kind == "noise":
        X = X * (1 + 1e-7 * random.normal(size=X.shape))
    elif kind == "time":
        X = np.c_[X, random.random(len(rows))]
    else:
        X = np.c_[X * (1 + 1e-7 * random.normal(size=X.shape)), random.random(len(rows))]
    return X, CLASSES[rows], rows


@pytest.mark.parametrize("kind", ["noise", "time", "noise and time"])
def test_rows_written_down_again_are_no_evidence(kind):
    """Labels without a signal were confirmed on a log that had written each row three times with its time."""
    X, y, rows = again(kind)
    found = table_objection(pd.DataFrame(X).rename(columns={10: "logged_at"}), y)
    assert (found.check, found.level) == ("near copies", "downgraded")
    assert found.count > 0.6 * len(X)
    assert "groups=" in found.way_out
    assert ("logged_at" in found.reason) == ("time" in kind)
    assert FeatureAnalyzer(X, y).prove().verdict == "inconclusive"
    assert table_objection(X, y, rows) is None


def test_copies_with_noise_count_once_within_their_group():
    X, y, rows = again("noise")
    assert len(distinct_rows(X, y, rows)) < 1.1 * len(REAL)


def test_a_booster_asks_of_validation_rows_that_are_nearly_seen():
    X, y, rows = again("noise and time")
    tracker = BoostingTracker()
    tracker.observe_data(X[:1200], y[:1200], X[1200:], y[1200:])
    assert tracker.summary()["near_share"] == pytest.approx(np.isin(rows[1200:], rows[:1200]).mean(), abs=0.05)
    (found,) = (finding for finding in tracker.findings() if finding.rule_id == "validation_rows_nearly_seen")
    assert (found.severity, found.fix) == ("low", None)
    one = np.isin(rows, np.arange(400))
    tracker = BoostingTracker()
    tracker.observe_data(X[one], y[one], X[~one], y[~one])
    assert tracker.summary()["near_share"] == 0


WRITTEN_AGAIN = {
    "in 32 bits": lambda X: X.astype(np.float32),
    "in 32 bits, read as 64": lambda X: X.astype(np.float32).astype(float),
    "with noise": lambda X: X * (1 + 1e-7 * np.random.default_rng(3).normal(size=X.shape)),
    "as it was": lambda X: X,
}


@pytest.mark.parametrize("kind", WRITTEN_AGAIN)
@pytest.mark.parametrize("fitted", ["all", "others"])
def test_held_out_rows_that_are_training_rows_written_down_again(kind, fitted):
    """An estimator was fitted to the whole table; 100 % of the held-out rows, kept as float32, were a low question."""
    held_out = np.arange(len(REAL)) % 3 == 0
    train = ~held_out if fitted == "others" else held_out | True
    tracker = BoostingTracker()
    tracker.observe_data(REAL[train], CLASSES[train], WRITTEN_AGAIN[kind](REAL[held_out]), CLASSES[held_out])
    found = [one for one in tracker.findings() if one.type == "VALIDATION_ROWS_SEEN"]
    exact = kind != "with noise"
    severity = {True: "high", False: "medium"}[exact]
    assert [(one.severity, one.fix) for one in found] == [(severity, None)] * (fitted == "all")
    if fitted == "all":
        assert f"{held_out.sum()}" in found[0].premise
        assert exact or {"FITTED_TO_ALL_ROWS", "GROUPS_ON_BOTH_SIDES"} <= {one.cause for one in found[0].candidates}


FEW_COLUMNS = ("events", "one column of the item", "designed")
"""Tables in which too few columns tell rows apart for near copies to be looked for."""


def honest():
    random = np.random.default_rng(1)
    users, items = random.normal(size=(60, 4)), random.normal(size=(80, 4))
    user, item = random.integers(0, 60, 1500), random.integers(0, 80, 1500)
    once = np.unique(80 * user + item, return_index=True)[1]
    user, item = user[once], item[once]
    series = np.cumsum(random.normal(size=(1500, 5)) * 0.02, axis=0)
    latent = random.normal(size=1500)
    amounts = np.where(random.random((1500, 6)) < 0.7, 0, np.exp(random.normal(size=(1500, 6))))
    mixes = random.normal(size=(100, 6))[random.integers(0, 100, 800)]
    return {
        "measured": (REAL, CLASSES),
        "events": (np.c_[users[user], items[item]], random.integers(0, 2, len(user))),
        "one column of the item": (np.c_[users[user], items[item, :1]], random.integers(0, 2, len(user))),
        "series": (series, (series[:, 0] > 0).astype(int)),
        "one latent value": (np.c_[latent, latent**2, np.exp(latent), np.sin(latent)], (latent > 0).astype(int)),
        "amounts": (amounts, (random.random(1500) < 0.2).astype(int)),
        "designed": (np.c_[mixes, random.normal(size=800)], mixes[:, 0] + random.normal(size=800)),
        "grid": (random.uniform(0, 20, (1500, 4)).round(1), random.normal(size=1500)),
    }


@pytest.mark.parametrize("kind", list(honest()))
def test_honest_rows_are_no_copies(kind):
    X, y = honest()[kind]
    assert table_objection(X, y) is None
    cut = 2 * len(X) // 3
    order = np.random.default_rng(2).permutation(len(X))
    whole = np.c_[X, y][order]
    seen = near_copies_seen(whole[:cut], whole[cut:])
    assert (seen is None) == (kind in FEW_COLUMNS)
    assert seen is None or seen.count == 0
