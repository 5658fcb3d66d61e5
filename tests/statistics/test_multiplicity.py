import math
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from flowgrad.statistics import holm

FEW = settings(max_examples=30)
P_VALUES = st.lists(st.floats(0, 1), max_size=12)


def slow_holm(p_values):
    """Holm (1979), step by step: the k-th smallest of m times (m - k + 1), never below the one before."""
    m, adjusted, floor = len(p_values), [0.0] * len(p_values), 0.0
    for step, at in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        floor = max(floor, min(1.0, (m - step) * p_values[at]))
        adjusted[at] = floor
    return adjusted


def test_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_one_test_is_not_adjusted():
    assert holm([0.03]) == [0.03]


@FEW
@given(P_VALUES)
def test_agrees_with_a_slow_plain_version(p_values):
    assert holm(p_values) == pytest.approx(slow_holm(p_values))


@FEW
@given(P_VALUES.filter(len))
def test_agrees_with_statsmodels_to_the_last_digit(p_values):
    """Tables that were written before are computed anew, and compared."""
    with patch("gc.collect"):  # which it calls, and which takes a second late in a suite
        assert holm(p_values) == multipletests(p_values, method="holm")[1].tolist()


@FEW
@given(P_VALUES)
def test_never_smaller_never_above_one_and_in_the_same_order(p_values):
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    by_p = [adjusted[i] for i in np.argsort(p_values, kind="stable")]
    assert by_p == sorted(by_p)


@FEW
@given(P_VALUES, st.integers(0, 12))
def test_unknown_values_stay_unknown_and_do_not_count(p_values, at):
    with_gap = [*p_values[:at], math.nan, *p_values[at:]]
    adjusted = holm(with_gap)
    assert math.isnan(adjusted.pop(min(at, len(p_values))))
    assert adjusted == pytest.approx(holm(p_values))


def test_nothing():
    assert holm([]) == []
    assert math.isnan(holm([math.nan])[0])


def test_family_wise_error_is_held():
    """Five true nulls a family: the probability of a rejection is 1 - .99^5 (binomial bounds at 1e-6)."""
    generator = np.random.default_rng(0)
    rejected = sum(min(slow_holm(list(generator.uniform(size=5)))) < 0.05 for _ in range(2000))
    low, high = stats.binom.interval(1 - 1e-6, 2000, 1 - 0.99**5)
    assert low <= rejected <= high
