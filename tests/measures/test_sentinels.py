"""Numbers that stand for missing values: found on real columns, at any scale, and not seen in sound ones."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

from flowgrad import BatchTracker
from flowgrad.measures.sentinels import sentinel_figures

SEEDS = st.integers(0, 10_000)


def filled(value, share=0.06, seed=0):
    """Real columns of amounts in which a share of the values is missing, written as one number."""
    x = load_diabetes(scaled=False).data.copy()
    x[np.random.default_rng(seed).random(x.shape) < share] = value
    return x


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.sampled_from([-999.0, 9999.0, -9999.0]), st.floats(0.01, 100.0), st.floats(-50.0, 50.0))
def test_a_value_far_from_all_others_is_found_whatever_the_scale(seed, value, scale, shift):
    found = sentinel_figures(filled(value, seed=seed) * scale + shift)
    assert found["sentinel_columns"] >= 5
    assert found["sentinel_value"] == value * scale + shift
    assert found["sentinel_share"] == pytest.approx(0.06, abs=0.04)
    assert found["sentinel_variance"] > 0.9


@pytest.mark.parametrize("load", [load_breast_cancer, load_diabetes, load_digits, load_wine])
def test_real_columns_have_none(load):
    x = load().data
    assert sentinel_figures(x)["sentinel_columns"] == 0
    assert sentinel_figures((x - x.mean(0)) / (x.std(0) + 1e-9))["sentinel_columns"] == 0


def test_what_most_rows_have_is_usual():
    """Most people have no capital gains; those who have have far more than nothing."""
    random = np.random.default_rng(0)
    gains = np.where(random.random(2000) < 0.9, 0.0, random.uniform(9000, 9900, 2000))
    assert sentinel_figures(gains[:, None])["sentinel_columns"] == 0


def test_codes_and_few_rows_are_none():
    random = np.random.default_rng(0)
    codes = random.choice([0.0, 100.0, 101.0, 102.0], 500)
    outliers = np.concatenate([random.normal(size=496), np.full(4, 1e4)])
    assert sentinel_figures(np.stack([codes, outliers], 1))["sentinel_columns"] == 0


def test_whole_numbers_beside_others_may_be_ids():
    random = np.random.default_rng(0)
    ids = np.where(random.random(500) < 0.1, 0.0, random.integers(90_000, 91_000, 500))
    assert sentinel_figures(ids[:, None])["sentinel_columns"] == 1
    assert math.isnan(sentinel_figures(ids[:, None], whole=False)["sentinel_columns"])
    assert sentinel_figures(np.stack([ids, random.normal(size=500)], 1), whole=False)["sentinel_columns"] == 0


def test_missing_values_are_left_out():
    x = filled(math.nan)
    assert sentinel_figures(x)["sentinel_columns"] == 0
    assert math.isnan(sentinel_figures(x[:0])["sentinel_columns"])


@pytest.mark.parametrize(("value", "asked"), [(-999.0, True), (None, False)])
def test_numbers_that_stand_for_missing_values_are_asked_about(value, asked):
    """Scaled behind a fillna(-999), what rows differ by was squeezed into nothing, and the report said HEALTHY."""
    random = torch.Generator().manual_seed(0)
    x = 5 * torch.randn(256, 10, generator=random) + 40
    missing = torch.rand(x.shape, generator=random) < 0.05
    x = torch.where(missing, x.median() if value is None else torch.tensor(value), x)
    x = (x - x.mean(0)) / x.std(0)
    batches = BatchTracker()
    for k in range(0, 192, 32):
        batches.step(x[k : k + 32])
    assert ("MISSING_VALUES_AS_NUMBERS" in {found.type for found in batches.findings()}) == asked
