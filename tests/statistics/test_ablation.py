from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from flowgrad.errors import StatisticsError
from flowgrad.statistics import ablation, corrected_t, mean_gain

ERROR = {"metric": "mse", "higher_is_better": False}
NUMBERS = st.floats(-100, 100).map(lambda value: round(value, 3))


def test_an_error_that_rises_without_the_part_is_a_loss():
    found = ablation([2.0, 2.2, 2.4], [1.0, 1.1, 1.2], 4.0, **ERROR)
    assert found.loss == pytest.approx(1.1)
    assert found.share == pytest.approx(1.1 / 4)
    assert found.ci_low < found.loss < found.ci_high
    assert (found.share_low, found.share_high) == pytest.approx((found.ci_low / 4, found.ci_high / 4))
    assert (found.with_it, found.without, found.n) == (pytest.approx(1.1), pytest.approx(2.2), 3)


def test_an_accuracy_that_falls_without_the_part_is_a_loss():
    found = ablation([0.7, 0.8, 0.72], [0.9, 0.95, 0.97], 0.5, metric="accuracy", higher_is_better=True)
    assert found.loss == pytest.approx(0.2)
    assert 0 < found.ci_low < found.ci_high


def test_equal_runs_lose_nothing_and_the_interval_says_so():
    found = ablation([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], 1.0, **ERROR)
    assert (found.loss, found.ci_low, found.ci_high, found.share, found.p) == (0, 0, 0, 0, 1)


def test_a_run_without_the_part_that_has_one_value_on_every_seed_is_a_loss_all_the_same():
    """An accuracy of chance on every seed was taken for one run, and had no interval."""
    found = ablation([0.1, 0.1, 0.1], [0.9, 0.92, 0.95], 0.8, metric="accuracy", higher_is_better=True)
    assert found.share > 1
    assert math.isfinite(found.share_low)


def test_runs_that_diverge_without_the_part_lose_everything():
    found = ablation([1.0, math.nan, 3.0], [1.0, 2.0, 3.0], 1.0, **ERROR)
    assert found.loss == found.share == math.inf
    assert math.isnan(found.share_low)


def test_a_gain_of_nothing_cannot_be_shared_out():
    assert math.isnan(ablation([2.0, 3.0, 5.0], [1.0, 2.0, 3.0], 0.0, **ERROR).share)


def test_splits_that_share_rows_have_the_wider_interval():
    without, with_it = [2.0, 2.3, 2.2, 2.6], [1.0, 1.1, 1.3, 1.2]
    plain, wide = (ablation(without, with_it, 1.0, **ERROR, overlap=overlap) for overlap in (None, 0.5))
    right = corrected_t(without, with_it, **ERROR, overlap=0.5)
    assert (wide.ci_low, wide.ci_high) == pytest.approx((-right.ci_high, -right.ci_low))
    assert wide.ci_high - wide.ci_low > plain.ci_high - plain.ci_low


def test_unpaired_arms_are_refused():
    with pytest.raises(StatisticsError, match="not paired"):
        ablation([1.0, 2.0], [1.0, 2.0, 3.0], 1.0, **ERROR)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=3, max_size=12), st.booleans())
def test_loss_and_interval_are_those_of_the_plain_differences(pairs, better):
    without, with_it = (np.array(values) for values in zip(*pairs, strict=True))
    worse = with_it - without if better else without - with_it
    found = ablation(without, with_it, 2.0, metric="m", higher_is_better=better)
    assert found.loss == pytest.approx(worse.mean(), abs=1e-9)
    assert mean_gain(without, with_it, higher_is_better=better) == pytest.approx(worse.mean(), abs=1e-9)
    if math.isfinite(found.ci_low) and np.ptp(worse) > 1e-6:
        half = stats.t.ppf(0.975, len(worse) - 1) * worse.std(ddof=1) / math.sqrt(len(worse))
        assert found.ci_high - found.loss == pytest.approx(half, rel=1e-6)
