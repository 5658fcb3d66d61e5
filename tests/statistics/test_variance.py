import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from flowgrad.errors import StatisticsError
from flowgrad.statistics import variance_test

values = st.lists(st.integers(-100, 100), min_size=4, max_size=12)


def test_it_is_the_correlation_of_sums_and_differences():
    rng = np.random.default_rng(0)
    a = rng.normal(size=10)
    b = 0.5 * a + 0.3 * rng.normal(size=10)
    found = variance_test(a, b, metric="mse")
    reference = stats.pearsonr(a + b, b - a)
    assert found.p == pytest.approx(reference.pvalue)
    assert found.statistic == pytest.approx(reference.statistic * math.sqrt(8 / (1 - reference.statistic**2)))
    assert found.ratio == pytest.approx(np.var(b) / np.var(a))
    assert (found.n, found.df) == (10, 8)
    assert found.sd_treated == pytest.approx(np.std(b, ddof=1))
    assert found.p_brown_forsythe == stats.levene(a, b, center="median").pvalue


def test_interval_ends_where_the_test_turns():
    """A ratio at an end of the interval, put in as the truth, has p = alpha."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 12))
    found = variance_test(a, b, metric="mse")
    for end in (found.ci_low, found.ci_high):
        assert variance_test(a, b / math.sqrt(end), metric="mse").p == pytest.approx(0.05)


def test_false_alarms_keep_to_the_level():
    rng = np.random.default_rng(2)
    shared = rng.normal(size=(2000, 10))
    alarms = sum(
        variance_test(common + one, common + other, metric="m").p < 0.05
        for common, one, other in zip(shared, *rng.normal(size=(2, 2000, 10)), strict=True)
    )
    assert stats.binomtest(alarms, 2000, 0.05).pvalue > 0.01


def test_a_calmer_arm_is_seen():
    rng = np.random.default_rng(3)
    a = rng.normal(size=10)
    assert variance_test(a, 0.1 * rng.normal(size=10), metric="mse").verdict == "lower"
    assert variance_test(0.1 * rng.normal(size=10), a, metric="mse").verdict == "higher"


@given(values, st.integers(0, 1000), st.floats(0.01, 100), st.floats(-10, 10))
def test_units_do_not_matter_and_arms_swap(a, seed, scale, shift):
    b = np.random.default_rng(seed).normal(size=len(a)).tolist()
    assume(len(set(a)) > 2)
    there = variance_test(a, b, metric="m")
    moved = variance_test([scale * x + shift for x in a], [scale * x for x in b], metric="m")
    assert moved.p == pytest.approx(there.p, rel=1e-6, abs=1e-12)
    back = variance_test(b, a, metric="m")
    assert back.p == pytest.approx(there.p, rel=1e-6)
    assert back.ratio == pytest.approx(1 / there.ratio)
    assert (back.ci_low, back.ci_high) == pytest.approx((1 / there.ci_high, 1 / there.ci_low), rel=1e-6)


@pytest.mark.parametrize(
    ("baseline", "treated", "told"),
    [
        ([1, 2], [2, 1], "needs at least 3"),
        ([1, 2, 3], [1, 2], "not paired"),
        ([1, 2, math.nan], [1, 2, 4], "the baseline arm's value nan at pair 2"),
        ([1, 2, 3], [1, 1, 1], "the treated arm is 1 on every seed"),
        ([1, 2, 3], [2, 4, 6], "one arm follows from the other"),
    ],
)
def test_what_cannot_be_tested(baseline, treated, told):
    with pytest.raises(StatisticsError, match=told):
        variance_test(baseline, treated, metric="mse")
