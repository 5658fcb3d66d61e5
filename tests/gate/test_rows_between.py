"""Rows that were made from two others, before the data were split or after."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestNeighbors

from flowgrad import BoostingTracker, FeatureAnalyzer
from flowgrad.gate import rows_between, table_objection

X, Y = load_breast_cancer(return_X_y=True)
Y = 1 - Y


def oversampled(X, y, seed=0):
    """SMOTE of class 1 up to the size of the other (Chawla et al. 2002)."""
    random, own = np.random.default_rng(seed), X[y == 1]
    wanted = int((y == 0).sum()) - len(own)
    near = NearestNeighbors(n_neighbors=6).fit(own).kneighbors(own)[1][:, 1:]
    of = random.integers(len(own), size=wanted)
    to = near[of, random.integers(5, size=wanted)]
    return np.vstack([X, own[of] + random.random((wanted, 1)) * (own[to] - own[of])]), np.r_[y, np.ones(wanted, int)]


def parts(kind):
    split = {"test_size": 0.3, "random_state": 0}
    if kind == "before the split":
        A, B, a, b = train_test_split(*oversampled(X, Y), **split)
    else:
        A, B, a, b = train_test_split(X, Y, stratify=Y, **split)
        A, a = oversampled(A, a) if kind == "after it" else (A, a)
    return A, a, B, b


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_held_out_rows_between_training_rows_are_found(dtype):
    A, a, B, b = parts("before the split")
    scaled = (A - A.mean(0)) / A.std(0), (B - A.mean(0)) / A.std(0)
    for train, held_out in ((A, B), scaled):
        assert rows_between([*train.astype(dtype).T, a], [*held_out.astype(dtype).T, b]).share > 0.2


@pytest.mark.parametrize("kind", ["after it", "not at all"])
def test_rows_made_in_the_training_part_alone_are_none(kind):
    A, a, B, b = parts(kind)
    assert not rows_between([*A.T, a], [*B.T, b]).share > 0


@pytest.mark.parametrize("kind", ["whole", "real"])
def test_rows_on_lines_by_nature_are_none(kind):
    """All columns follow one, in both classes, by whole numbers or not."""
    time = np.arange(2000.0) if kind == "whole" else np.random.default_rng(0).random(2000)
    table = np.stack([time, 2 * time + 1, -time, 3 * time], 1)
    rare = (np.arange(2000) % 9 == 0).astype(int)
    A, B, a, b = train_test_split(table, rare, random_state=0)
    assert not rows_between([*A.T, a], [*B.T, b]).share > 0.01


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_share_users_and_items_are_none(seed):
    """Means, deviations and shrunken means of things that were met once lie on a line, and recur in many rows."""
    random = np.random.default_rng(seed)
    things = []
    for count in (300, 400):
        size, mean = random.integers(1, 4, count), random.integers(1, 6, count).astype(float)
        spread = np.where(size == 1, 0.0, random.random(count))
        things.append(np.stack([mean + spread / 3, spread, (mean - 3) * size / (size + 5.0)], 1))
    users, items = random.integers(0, 300, 4000), random.integers(0, 400, 4000)
    table = np.c_[things[0][users], things[1][items]]
    rare = (random.random(4000) < 0.2).astype(int)
    A, B, a, b = train_test_split(table, rare, random_state=seed)
    assert not rows_between([*A.T, a], [*B.T, b]).share > 0


@pytest.mark.parametrize("columns", [2, 30])
def test_what_cannot_be_told_is_not_known(columns):
    """Two columns put rows on lines by chance; a target of amounts has no classes."""
    target = Y if columns == 2 else X[:, 0]
    assert np.isnan(rows_between([*X[:300, :columns].T, target[:300]], [*X[300:, :columns].T, target[300:]]).share)


def test_a_booster_accuses_the_split_and_not_honest_oversampling():
    found = {}
    for kind in ("before the split", "after it"):
        tracker = BoostingTracker()
        A, a, B, b = parts(kind)
        tracker.observe_data(A, a, B, b)
        found[kind] = {one.type for one in tracker.findings()}
    assert "ROWS_MADE_BEFORE_THE_SPLIT" in found["before the split"]
    assert "ROWS_MADE_BEFORE_THE_SPLIT" not in found["after it"]


def test_nothing_is_confirmed_on_rows_that_were_made():
    made, of = oversampled(X, Y)
    objection = table_objection(made, of)
    assert (objection.check, objection.level) == ("rows between others", "downgraded")
    assert table_objection(X, Y) is None
    assert FeatureAnalyzer(made[:, :6], of).prove().verdict == "inconclusive"
