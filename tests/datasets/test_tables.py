"""Tables: their checks, their splits, and the small ones that scikit-learn ships."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.small_tables import load_small_table
from datasets.tables import TEST, TRAIN, VALIDATION, Table, at_random, by_time, content_sha256
from flowgrad.errors import FlowGradError


def table(**changes):
    features = pd.DataFrame({"a": [1.0, 2.0, np.nan], "b": [0.0, 1.0, 0.0]})
    parts = {"features": features, "targets": {"y": np.array([1.0, 2.0, 3.0])}, "parts": np.array([0, 1, 2])}
    return Table(**({"name": "t", "source": "here", "groups": None, "sha256": "0"} | parts | changes))


BAD = {
    "differ in length": {"parts": np.array([0, 1])},
    "groups differ in length": {"groups": np.array([0, 1])},
    "two columns are named 'a'": {"features": pd.DataFrame([[1.0, 2.0]] * 3, columns=["a", "a"])},
    "column 'a' is int64; expected float64": {"features": pd.DataFrame({"a": [1, 2, 3]})},
    "target 'y' holds NaN or inf": {"targets": {"y": np.array([1.0, np.nan, 3.0])}},
    "no row is left to validation": {"parts": np.array([0, 0, 2])},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_tables(message):
    with pytest.raises(FlowGradError, match=message):
        table(**BAD[message])


def test_the_checksum_is_of_names_and_values():
    good = table()
    sums = {
        content_sha256(frame, targets)
        for frame, targets in (
            (good.features, good.targets),
            (good.features + 0.001, good.targets),
            (good.features.rename(columns={"a": "c"}), good.targets),
            (good.features, {"z": good.targets["y"]}),
        )
    }
    assert len(sums) == 4
    assert content_sha256(good.features + 1e-12, good.targets) in sums


@given(st.lists(st.integers(0, 30), min_size=10, max_size=200))
def test_a_split_by_time_never_looks_ahead(times):
    time = np.array(times)
    parts = by_time(time, 0.2, 0.3)
    for earlier, later in ((TRAIN, VALIDATION), (TRAIN, TEST), (VALIDATION, TEST)):
        if (parts == earlier).any() and (parts == later).any():
            assert time[parts == earlier].max() < time[parts == later].min()
    assert (parts == TEST).sum() <= 0.3 * len(time) + 1


def test_a_random_split_gives_each_class_its_share():
    classes = np.repeat([0, 1], [80, 20])
    parts = at_random(100, 0.1, 0.2, seed=3, classes=classes)
    for kind, n in ((0, 80), (1, 20)):
        counts = np.bincount(parts[classes == kind], minlength=3)
        assert counts.tolist() == [0.7 * n, 0.1 * n, 0.2 * n]
    assert (at_random(100, 0.1, 0.2, seed=3, classes=classes) == parts).all()
    assert (at_random(100, 0.1, 0.2, seed=4, classes=classes) != parts).any()


@pytest.mark.parametrize(
    ("name", "rows", "columns", "targets"),
    [
        ("diabetes", 442, 10, ["progression"]),
        ("breast_cancer", 569, 30, ["malignant"]),
        ("digits", 1797, 64, ["digit", "odd"]),
    ],
)
def test_small_tables(name, rows, columns, targets):
    found = load_small_table(name)
    assert found.features.shape == (rows, columns)
    assert list(found.targets) == targets
    assert np.bincount(found.parts) == pytest.approx(rows * np.array([0.6, 0.2, 0.2]), abs=8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "iris"}, "dataset.name='iris' is unknown; use diabetes"),
        ({"name": "digits", "test_share": 0.0}, "dataset.test_share=0.0: must lie between 0 and 1"),
        ({"name": "digits", "test_share": 0.5, "validation_share": 0.5}, "leave no row to train on"),
    ],
)
def test_bad_small_tables(settings, message):
    with pytest.raises(FlowGradError, match=message):
        load_small_table(**settings)
