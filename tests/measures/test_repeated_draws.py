"""Numbers that look drawn at random, and those that are laid out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from flowgrad.measures.repeated_draws import DRAWN, FIXED, PLAIN, kind_of_ids, kind_of_numbers


@pytest.mark.parametrize("rows", [32, 200, 1000])
@pytest.mark.parametrize("items", [100, 1700, 10**6])
def test_ids_drawn_at_random_look_drawn(rows, items):
    kinds = [kind_of_ids(np.random.default_rng(seed).integers(0, items, rows)) for seed in range(20)]
    assert kinds.count(DRAWN) >= 19


@given(
    st.integers(8, 60),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(0, 10**6),
    st.permutations(range(8)),
    st.booleans(),
)
def test_ranges_laid_out_any_number_of_times_are_plain(size, times, step, first, order, blocks):
    values = first + step * np.arange(size)
    values[:8] = values[:8][list(order)]
    laid = np.repeat(values, times) if blocks else np.tile(values, times)
    assert kind_of_ids(laid) == PLAIN


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=80), st.booleans())
def test_ids_in_order_never_look_drawn(values, falling):
    ordered = np.sort(np.array(values))
    assert kind_of_ids(ordered[::-1] if falling else ordered) in (PLAIN, FIXED)


@given(st.lists(st.integers(0, 6), max_size=300))
def test_few_distinct_ids_are_plain(values):
    assert kind_of_ids(np.array(values, dtype=np.int64)) == PLAIN


def test_irregular_ids_that_are_all_there_equally_often_are_fixed():
    stations = np.random.default_rng(0).permutation(1000)[:20]
    assert kind_of_ids(np.tile(stations, 3)) == FIXED


@pytest.mark.parametrize("shape", [(64,), (128, 8), (16, 3, 8, 8)])
def test_standard_noise_looks_drawn(shape):
    drawn = [
        kind_of_numbers(values)
        for seed in range(20)
        for rng in [np.random.default_rng(seed)]
        for values in (rng.standard_normal(shape), rng.random(shape), rng.uniform(-1, 1, shape))
    ]
    assert drawn.count(DRAWN) >= 59


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(0, 1, 400) ** 2,
        np.random.default_rng(0).standard_normal(1000) * 2,
        np.random.default_rng(0).standard_normal(1000).cumsum(),
        np.random.default_rng(0).integers(0, 256, 1000) / 255,
        np.random.default_rng(0).random(1000) < 0.5,
        np.random.default_rng(0).exponential(size=1000) - 1,
        np.array([np.nan] + [0.1] * 99),
        np.random.default_rng(0).standard_normal(63),
    ],
    ids=["curve", "scaled", "walk", "pixels", "mask", "skewed", "missing", "few"],
)
def test_other_numbers_are_fixed(values):
    before = values.copy()
    assert kind_of_numbers(values) == FIXED
    assert_array_equal(values, before)
