from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.faults import (
    TrainingRatings,
    choose_rows,
    flipped_labels,
    never_sampled,
    oversampled,
    random_labels,
)
from flowgrad.errors import FlowGradError

ROWS = np.array([1, 4])
SIDES = pytest.mark.parametrize("side", ["users", "items"])


def ratings(count=400):
    rng = np.random.default_rng(3)
    return TrainingRatings(
        rng.integers(0, 9, count), rng.integers(0, 7, count), rng.integers(1, 6, count).astype(float)
    )


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.floats(0.01, 1), st.integers(0, 9))
def test_rows_chosen_are_eligible_distinct_and_as_many_as_asked(exposures, share, seed):
    exposures = np.array(exposures)
    eligible = np.flatnonzero(exposures >= 5)
    if not len(eligible):
        with pytest.raises(FlowGradError, match="least=5: no row"):
            choose_rows(exposures, share, 5, np.random.default_rng(seed))
        return
    chosen = choose_rows(exposures, share, 5, np.random.default_rng(seed))
    assert set(chosen) <= set(eligible)
    assert len(set(chosen)) == len(chosen) == max(1, round(share * len(eligible)))
    assert (np.diff(chosen) > 0).all()
    assert (chosen == choose_rows(exposures, share, 5, np.random.default_rng(seed))).all()


def test_rows_are_chosen_over_the_whole_popularity():
    """One of each fifth, so that no seed draws popular rows alone."""
    exposures = np.arange(100)
    for seed in range(20):
        assert (choose_rows(exposures, 0.05, 0, np.random.default_rng(seed)) // 20).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(FlowGradError, match="must lie in"):
        choose_rows(np.arange(9), share, 0, np.random.default_rng(0))


@SIDES
@pytest.mark.parametrize("spoil", [random_labels, flipped_labels])
def test_only_labels_of_the_rows_change(side, spoil):
    data = ratings()
    before = data.ratings.copy()
    spoiled = spoil(data, side, ROWS, np.random.default_rng(0))
    own = np.isin(data.side(side), ROWS)
    assert (data.ratings == before).all()
    assert (spoiled.ratings[~own] == before[~own]).all()
    assert (spoiled.ratings[own] != before[own]).mean() > 0.5
    assert set(spoiled.ratings) <= set(before)
    assert (spoiled.users == data.users).all()
    assert (spoiled.items == data.items).all()


@SIDES
def test_labels_flipped_twice_are_as_they_were(side):
    data, rng = ratings(), np.random.default_rng(0)
    assert (flipped_labels(flipped_labels(data, side, ROWS, rng), side, ROWS, rng).ratings == data.ratings).all()
    half = flipped_labels(data, side, ROWS, np.random.default_rng(0), 0.5).ratings
    changed = half != data.ratings
    assert 0.2 < changed.sum() / np.isin(data.side(side), ROWS).sum() < 0.6
    assert (half[changed] == 6 - data.ratings[changed]).all()


@SIDES
def test_rows_never_sampled_are_gone_and_others_are_not(side):
    data = ratings()
    left = never_sampled(data, side, ROWS)
    assert not np.isin(left.side(side), ROWS).any()
    assert len(left.ratings) == (~np.isin(data.side(side), ROWS)).sum()


@SIDES
def test_oversampled_rows_stand_there_so_many_times(side):
    data = ratings()
    more = oversampled(data, side, ROWS, 5)
    expected = np.bincount(data.side(side), minlength=9) * np.where(np.isin(np.arange(9), ROWS), 5, 1)
    assert (np.bincount(more.side(side), minlength=9) == expected).all()
