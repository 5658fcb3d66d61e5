"""Faults of columns: what is added, to which rows, and that nothing else changes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import table_faults
from datasets.tables import TEST, TRAIN, VALIDATION, Table

N = 2000


def table(n=N, classes=False, seed=0):
    rng = np.random.default_rng(seed)
    features = pd.DataFrame({"a": rng.normal(size=n), "b": rng.integers(5, size=n).astype(float)})
    features.loc[3, "a"] = np.nan
    y = features["b"].to_numpy() + rng.normal(size=n)
    target = (y > 2).astype(float) if classes else y
    return Table("t", "here", features, {"y": target}, np.arange(n) % 5 // 3 + (np.arange(n) % 5 == 4), None, "0")


FAULTS = {
    "leak": lambda t, rng: table_faults.leak(t, "y", rng, 0.1),
    "leak_proxy": lambda t, rng: table_faults.leak_proxy(t, "y", rng, 0.5),
    "target_encoding": lambda t, rng: table_faults.target_encoding(t, "y", rng, 3),
    "smoothed_encoding": lambda t, rng: table_faults.target_encoding(t, "y", rng, 6, 1),
    "ids_in_order": lambda t, rng: table_faults.ids_in_order(t, "y", rng, 0.5),
    "batch_codes": lambda t, rng: table_faults.batch_codes(t, "y", rng, 20, 0.5),
    "dominant_column": lambda t, rng: table_faults.dominant_column(t, "y", rng, 2),
    "copied_columns": lambda t, rng: table_faults.copied_columns(t, rng, 2, 0.02),
    "constant_columns": lambda t, rng: table_faults.constant_columns(t),
    "noise_columns": lambda t, rng: table_faults.noise_columns(t, rng, 3),
}
EACH = pytest.mark.parametrize("fault", FAULTS)


def column(faulted):
    return faulted.table.features[faulted.columns[0]].to_numpy()


def correlation(x, y):
    return np.corrcoef(x, y)[0, 1]


@EACH
@pytest.mark.parametrize("classes", [False, True])
def test_columns_are_added_and_nothing_else_changes(fault, classes):
    before = table(classes=classes)
    kept = before.features.copy()
    faulted = FAULTS[fault](before, np.random.default_rng(1))
    pd.testing.assert_frame_equal(before.features, kept)
    pd.testing.assert_frame_equal(faulted.table.features[["a", "b"]], kept)
    assert list(faulted.table.features) == ["a", "b", *faulted.columns]
    assert (faulted.table.targets["y"] == before.targets["y"]).all()
    assert (faulted.table.parts == before.parts).all()
    assert faulted.table.sha256 != before.sha256


@EACH
@given(seed=st.integers(0, 50))
@settings(max_examples=5)
def test_a_seed_gives_one_table(fault, seed):
    first, again = (FAULTS[fault](table(200), np.random.default_rng(seed)) for _ in range(2))
    pd.testing.assert_frame_equal(first.table.features, again.table.features)
    assert first.table.sha256 == again.table.sha256


def test_names_that_are_taken_are_passed_over():
    before = table()
    first = table_faults.constant_columns(before)
    second = table_faults.constant_columns(first.table)
    assert (first.columns, second.columns) == (("added_1", "added_2"), ("added_3", "added_4"))


@pytest.mark.parametrize("noise", [0.1, 0.5])
def test_a_leak_knows_the_target_but_in_use(noise):
    before = table()
    found, y = column(table_faults.leak(before, "y", np.random.default_rng(0), noise)), before.targets["y"]
    for part in (TRAIN, VALIDATION):
        rows = before.parts == part
        assert correlation(found[rows], y[rows]) ** 2 == pytest.approx(1 / (1 + noise**2), abs=0.05)
    tested = before.parts == TEST
    assert abs(correlation(found[tested], y[tested])) < 0.15
    assert set(found[tested]) <= set(found[before.parts == TRAIN])


def test_a_proxy_is_a_bent_leak():
    before = table()
    found = column(table_faults.leak_proxy(before, "y", np.random.default_rng(0), 0.5))
    rows = before.parts == VALIDATION
    assert (found > 0).all()
    assert correlation(np.log(found[rows]), before.targets["y"][rows]) > 0.8


@pytest.mark.parametrize(("rows", "prior"), [(2, 0), (5, 0), (5, 2)])
def test_an_encoding_knows_its_own_row_in_training_alone(rows, prior):
    before = table(6000)
    found = column(table_faults.target_encoding(before, "y", np.random.default_rng(0), rows, prior))
    y, train = before.targets["y"], before.parts == TRAIN
    assert correlation(found[train], y[train]) > 0.3
    assert abs(correlation(found[~train], y[~train])) < 0.1


def test_an_encoding_agrees_with_group_means():
    before = table(300)
    y, train = before.targets["y"], before.parts == TRAIN
    group = np.random.default_rng(4).integers(round(train.sum() / 3), size=300)
    means = pd.Series(y[train]).groupby(group[train]).agg(["sum", "count"])
    expected = (means["sum"] + 2 * y[train].mean()) / (means["count"] + 2)
    found = column(table_faults.target_encoding(before, "y", np.random.default_rng(4), 3, 2))
    assert found == pytest.approx(pd.Series(group).map(expected).fillna(y[train].mean()).to_numpy())


def test_ids_are_unique_and_go_on_after_training():
    before = table()
    found, train = column(table_faults.ids_in_order(before, "y", np.random.default_rng(0), 0)), before.parts == TRAIN
    assert sorted(found) == list(range(N))
    assert found[train].max() < found[~train].min()
    assert (np.diff(before.targets["y"][train][np.argsort(found[train])]) >= 0).all()
    assert abs(correlation(found[~train], before.targets["y"][~train])) < 0.1


def test_codes_tell_the_target_in_training_alone_and_their_order_nothing():
    before = table()
    found = column(table_faults.batch_codes(before, "y", np.random.default_rng(0), 20, 0.2))
    y, train = before.targets["y"], before.parts == TRAIN
    means = pd.Series(y[train]).groupby(found[train]).mean()
    assert correlation(pd.Series(found[train]).map(means), y[train]) > 0.9
    assert abs(correlation(pd.Series(found[~train]).map(means), y[~train])) < 0.2
    assert abs(correlation(found[train], y[train])) < 0.3
    assert set(found[~train]) <= set(found[train])


def test_a_dominant_column_explains_so_many_times_what_the_best_other_does():
    before = table(20_000)
    found = column(table_faults.dominant_column(before, "y", np.random.default_rng(0), 1.2))
    y = before.targets["y"]
    best = correlation(before.features["b"], y) ** 2
    assert correlation(found, y) ** 2 == pytest.approx(min(1.2 * best, 0.9), abs=0.03)
    capped = column(table_faults.dominant_column(before, "y", np.random.default_rng(0), 100))
    assert correlation(capped, y) ** 2 == pytest.approx(0.9, abs=0.02)


def test_copies_repeat_columns_that_vary():
    before = table()
    constant = table_faults.constant_columns(before).table
    faulted = table_faults.copied_columns(constant, np.random.default_rng(0), 2, 0.02)
    known = before.features.drop(index=3)
    for name in faulted.columns:
        copy = faulted.table.features[name].drop(index=3)
        assert max(abs(correlation(copy, known[column])) for column in known) > 0.99


def test_constant_columns_hold_one_value_or_none():
    faulted = table_faults.constant_columns(table())
    assert [faulted.table.features[name].nunique() for name in faulted.columns] == [1, 0]


def test_noise_has_nothing_to_do_with_the_target():
    before = table()
    faulted = table_faults.noise_columns(before, np.random.default_rng(7), 3)
    assert len(faulted.columns) == 3
    for name in faulted.columns:
        assert abs(correlation(faulted.table.features[name], before.targets["y"])) < 0.1
