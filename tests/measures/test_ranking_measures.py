"""Measures of what a ranking model recommends: known cases, properties, and comparisons with slow plain versions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax

from flowgrad.measures.ranking import (
    duplicate_share,
    fit_scale_and_popularity,
    gains,
    list_overlap,
    personal_share,
    popularity_thirds,
    rank_share,
    ranks,
    recommended,
    spread,
    top_lists,
)

SCORES = arrays(float, st.tuples(st.integers(1, 6), st.integers(2, 9)), elements=st.integers(-4, 4).map(float))
VECTORS = arrays(float, st.tuples(st.integers(3, 9), st.integers(2, 5)), elements=st.floats(-9, 9, width=32))
COUNTS = st.lists(st.integers(0, 50), min_size=1, max_size=40)


def test_a_target_scored_highest_has_rank_0_and_the_whole_gain():
    rank = ranks([[0, 5, 1], [2, 1, 0]], [1, 0])
    assert rank.tolist() == [0, 0]
    assert gains(rank, 1).tolist() == [1, 1]


def test_a_target_beyond_the_cutoff_gains_nothing():
    assert gains([10], 10).tolist() == [0]
    assert gains([9], 10)[0] == pytest.approx(1 / math.log2(11))


@given(SCORES, st.data())
def test_the_ranks_of_all_items_of_a_query_average_to_the_middle(scores, data):
    targets = data.draw(st.integers(0, scores.shape[1] - 1))
    every = [ranks(scores, np.full(len(scores), item)) for item in range(scores.shape[1])]
    np.testing.assert_allclose(np.mean(every, axis=0), (scores.shape[1] - 1) / 2)
    assert (every[targets] >= 0).all()


@given(SCORES)
def test_ranks_do_not_depend_on_a_shift_or_a_scale(scores):
    targets = np.zeros(len(scores), dtype=int)
    np.testing.assert_array_equal(ranks(scores, targets), ranks(3 * scores + 7, targets))


@given(SCORES, st.integers(1, 12))
def test_lists_hold_the_highest_scores(scores, cutoff):
    lists = top_lists(scores, cutoff)
    assert lists.shape == (len(scores), min(cutoff, scores.shape[1]))
    for row, own in zip(scores, lists, strict=True):
        assert len(set(own)) == len(own)
        left_out = np.delete(row, own)
        assert not len(left_out) or row[own].min() >= left_out.max()


def test_items_that_are_no_candidates_are_in_no_list():
    lists = top_lists([[-np.inf, 1, -np.inf]], 2)
    assert lists.tolist() == [[1, -1]]
    assert recommended(lists, 3).tolist() == [0, 1, 0]


@given(SCORES, st.integers(1, 4))
def test_overlap_is_the_mean_over_all_pairs_of_queries(scores, cutoff):
    cutoff = min(cutoff, scores.shape[1])
    lists = top_lists(scores, cutoff)
    found = list_overlap(recommended(lists, scores.shape[1]), len(lists), cutoff)
    if len(lists) < 2:
        assert math.isnan(found)
        return
    pairs = [(a, b) for a in range(len(lists)) for b in range(a)]
    expected = np.mean([len(set(lists[a]) & set(lists[b])) / cutoff for a, b in pairs])
    assert found == pytest.approx(expected)


@given(COUNTS)
def test_thirds_are_in_order_of_popularity(counts):
    thirds = popularity_thirds(counts)
    counts = np.array(counts)
    for low, high in ((0, 1), (1, 2)):
        if (thirds == low).any() and (thirds == high).any():
            assert counts[thirds == low].max() <= counts[thirds == high].min()


@given(COUNTS.filter(any))
def test_no_third_exceeds_a_third_of_the_events_by_more_than_one_item(counts):
    thirds, counts = popularity_thirds(counts), np.array(counts)
    for third in (1, 2):
        assert counts[thirds == third].sum() <= counts.sum() / 3 + counts.max()


def test_scores_of_popularity_alone_are_not_personal():
    shared = np.arange(5.0)
    assert personal_share(shared + np.arange(3)[:, None]) == pytest.approx(0, abs=1e-12)


def test_scores_without_anything_in_common_are_personal():
    assert personal_share([[1, -1], [-1, 1]]) == 1


def test_scores_that_do_not_differ_have_no_personal_share():
    assert math.isnan(personal_share([[1, 1], [2, 2]]))


@given(VECTORS, st.floats(0.1, 10))
def test_spread_and_rank_share_do_not_depend_on_the_scale(vectors, factor):
    for figure in (spread, rank_share):
        a, b = figure(vectors), figure(factor * vectors)
        assert (math.isnan(a) and math.isnan(b)) or a == pytest.approx(b, rel=1e-3, abs=1e-6)


@given(VECTORS)
def test_spread_and_rank_share_are_shares(vectors):
    for found in (spread(vectors), rank_share(vectors)):
        assert math.isnan(found) or -1e-9 <= found <= 1 + 1e-9


def test_rank_share_of_points_on_a_line_is_one_dimension():
    line = np.outer(np.arange(6.0), [1, 2, 3, 4])
    assert rank_share(line) == pytest.approx(1 / 4, rel=1e-4)


def test_copies_count_as_duplicates_and_others_do_not():
    vectors = np.random.default_rng(0).normal(size=(40, 8))
    assert duplicate_share(vectors) == 0
    vectors[10:15] = vectors[0]
    assert duplicate_share(vectors) == 6 / 40
    assert duplicate_share(vectors * np.linspace(1, 9, 40)[:, None]) < 6 / 40


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (0.5, 1.0), (3.0, -0.5)])
def test_the_fit_finds_the_factors_that_targets_were_drawn_by(scale, offset):
    rng = np.random.default_rng(1)
    scores, level = rng.normal(size=(4000, 30)), rng.normal(size=30)
    logits = scale * scores + offset * level
    targets = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    found, errors = fit_scale_and_popularity(scores, level, targets)
    assert abs(found[0] - scale) < 4 * errors[0]
    assert abs(found[1] - offset) < 4 * errors[1]


def test_the_fit_is_where_the_likelihood_is_highest():
    rng = np.random.default_rng(2)
    scores, level = rng.normal(size=(300, 8)), rng.normal(size=8)
    scores[:, 3] = -np.inf
    targets = rng.choice([0, 1, 2, 4, 5, 6, 7], size=300)
    (a, b), _ = fit_scale_and_popularity(scores, level, targets)

    def likelihood(a, b):
        logits = (
            np.where(np.isfinite(scores), a * scores + b * level, -np.inf)
            if a
            else np.where(np.isfinite(scores), b * level, -np.inf)
        )
        return log_softmax(logits, axis=1)[np.arange(300), targets].mean()

    best = likelihood(a, b)
    for step in (0.01, -0.01):
        assert likelihood(a + step, b) < best
        assert likelihood(a, b + step) < best


def test_scores_that_put_every_target_first_have_no_finite_scale():
    assert fit_scale_and_popularity(np.eye(6) * 5, np.arange(6.0), np.arange(6)) is None


def test_scores_that_do_not_differ_have_no_scale():
    assert fit_scale_and_popularity(np.ones((4, 3)), np.arange(3.0), [0, 1, 2, 0]) is None
