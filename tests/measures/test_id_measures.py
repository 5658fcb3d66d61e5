"""Statistics of ids against hand-made cases, slow plain versions and what chance gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from flowgrad.measures import id_pairs, id_ties, ids


def drawn(seed):
    return np.random.default_rng(seed)


def sums_of(groups, values, count):
    return np.bincount(groups, minlength=count), np.bincount(groups, values, count), float((values**2).sum())


@given(seed=st.integers(0, 10_000), count=st.integers(2, 30), rows=st.integers(60, 200))
@settings(max_examples=40, deadline=None)
def test_f_is_that_of_scipy(seed, count, rows):
    rng = drawn(seed)
    groups, values = rng.integers(0, count, rows), rng.normal(size=rows)
    parts = [values[groups == group] for group in range(count) if (groups == group).any()]
    found = ids.one_way(*sums_of(groups, values, count))
    assert found.f == pytest.approx(stats.f_oneway(*parts).statistic, rel=1e-9)


def test_rows_that_were_all_counted_three_times_are_as_good_as_once():
    rng = drawn(1)
    groups, values = rng.integers(0, 20, 400), rng.normal(size=400)
    once = ids.one_way(*sums_of(groups, values, 20))
    thrice = ids.one_way(*sums_of(np.tile(groups, 3), np.tile(values, 3), 20), repeats=3.0)
    assert thrice.f == pytest.approx(once.f)
    assert thrice.high == pytest.approx(once.high)


@pytest.mark.parametrize("values", [np.ones(50), np.full(50, 1e6)])
def test_a_target_that_does_not_vary_tells_nothing(values):
    assert math.isnan(ids.one_way(*sums_of(np.arange(50) % 5, values, 5)).icc)


def test_one_group_or_one_row_each_cannot_be_analysed():
    values = drawn(0).normal(size=40)
    assert math.isnan(ids.one_way(*sums_of(np.zeros(40, dtype=int), values, 1)).f)
    assert math.isnan(ids.one_way(*sums_of(np.arange(40), values, 40)).f)


def test_the_interval_holds_the_intraclass_correlation():
    rng, inside = drawn(3), 0
    for _ in range(40):
        groups = rng.integers(0, 200, 4000)
        values = rng.normal(size=200)[groups] * 0.0 + rng.normal(size=4000)
        found = ids.one_way(*sums_of(groups, values, 200))
        inside += abs(found.icc) <= ids.SURE * found.error
    assert inside >= 39


@given(seed=st.integers(0, 10_000), size=st.integers(1, 40))
@settings(max_examples=15, deadline=None)
def test_expected_distinct_is_the_mean_of_draws(seed, size):
    rng = drawn(seed)
    counts = rng.integers(1, 9, 12)
    rows = np.repeat(np.arange(12), counts)
    size = min(size, len(rows))
    met = [len(np.unique(rng.permutation(rows)[:size])) for _ in range(400)]
    assert ids.expected_distinct(counts, size) == pytest.approx(np.mean(met), abs=0.35)


def test_expected_distinct_of_everything_is_everything():
    assert ids.expected_distinct([3, 0, 2], 5) == 2.0


def test_batches_of_many_lengths_are_compared_too():
    rng = drawn(4)
    rows = rng.integers(0, 500, 40_000)
    sizes = rng.integers(100, 400, 130)
    parts = np.split(rows[: sizes.sum()], np.cumsum(sizes)[:-1])
    distinct = np.array([len(np.unique(part)) for part in parts])
    ratio, few, batches = ids.make_up(np.bincount(rows).astype(float), sizes, distinct)
    assert ratio == pytest.approx(1.0, abs=0.1)
    assert (few, batches) == (0.0, 130.0)


def parted(seed, drift=0.0, order=None):
    """Sums by id of two parts whose ids have effects, with what `mean_agreement` asks for."""
    rng = drawn(seed)
    effects, ids_ = rng.normal(size=300), [rng.integers(0, 300, 9000), rng.integers(0, 300, 3000)]
    later = (1 - drift) * effects + math.sqrt(1 - (1 - drift) ** 2) * rng.normal(size=300)
    later = later if order is None else later[order]
    parts = []
    for one, effect in zip(ids_, (effects, later), strict=True):
        counts, sums, squares = sums_of(one, effect[one] + rng.normal(size=len(one)), 300)
        parts.append((counts.astype(float), sums, ids.one_way(counts, sums, squares)))
    return ids.mean_agreement(*parts, (1.0, 1.0))


@pytest.mark.parametrize("seed", range(5))
def test_means_agree_where_ids_are_the_same(seed):
    assert parted(seed).value == pytest.approx(1.0, abs=0.2)
    assert parted(seed, order=drawn(seed).permutation(300)).high < 0.4
    assert parted(seed, drift=0.5).value == pytest.approx(0.5, abs=0.2)


def test_means_that_say_nothing_in_one_part_are_not_compared():
    counts = np.full(100, 20.0)
    noise = ids.one_way(*sums_of(np.repeat(np.arange(100), 20), drawn(1).normal(size=2000), 100))
    assert math.isnan(ids.mean_agreement((counts, counts, noise), (counts, counts, noise), (1.0, 1.0)).value)


def test_counts_of_a_drawn_column_are_not_compared():
    rng = drawn(5)
    even = [np.bincount(rng.integers(0, 300, rows), minlength=300).astype(float) for rows in (9000, 3000)]
    assert math.isnan(ids.count_agreement(*even, (1.0, 1.0)).value)
    shares = 1 / np.arange(1, 301)
    skewed = [np.bincount(rng.choice(300, rows, p=shares / shares.sum()), minlength=300) for rows in (9000, 3000)]
    assert ids.count_agreement(*(one.astype(float) for one in skewed), (1.0, 1.0)).value > 0.7
    mixed = skewed[1][rng.permutation(300)].astype(float)
    assert ids.count_agreement(skewed[0].astype(float), mixed, (1.0, 1.0)).high < 0.4


def counted(rng, shares, rows):
    return np.bincount(rng.choice(len(shares), rows, p=shares / shares.sum()), minlength=len(shares)).astype(float)


@pytest.mark.parametrize("rows", [1200, 20_000])
def test_columns_of_the_same_things_have_the_same_frequent_ids(rows):
    rng = drawn(6)
    shares = rng.permutation(1 / np.arange(1, 401))
    assert ids.same_numbers(counted(rng, shares, rows), counted(rng, shares, rows)) > 0.4


def test_columns_that_are_both_numbered_as_they_appeared_are_not_the_same_things():
    rng = drawn(7)
    shares = 1 / np.arange(1, 401)
    appeared = [counted(rng, shares * rng.uniform(0.5, 2, 400), 20_000) for _ in range(2)]
    assert abs(ids.same_numbers(*appeared)) < 0.3


@pytest.mark.parametrize("seed", range(6))
def test_ties_are_standard_normal_where_columns_have_nothing_to_do_with_each_other(seed):
    """Copies of a popular pair that fall into one half once gave z above 10 here."""
    rng = drawn(seed)
    shares = 1 / np.arange(1, 401)
    first, second = rng.integers(0, 300, 30_000), rng.choice(400, 30_000, p=shares / shares.sum())
    halves = np.stack([half := rng.random(30_000) < 0.5, ~half]).astype(float)
    assert max(abs(one.z) for one in id_ties.ties(first, second, halves, (300, 400))) < 4
    assert abs(id_ties.interplay(first, second, rng.normal(size=30_000), halves, (300, 400))) < 4


def test_ties_are_found_where_there_are_tastes():
    rng = drawn(7)
    tastes, kinds = rng.normal(size=300), rng.normal(size=400)
    first, candidates = rng.integers(0, 300, 30_000), rng.integers(0, 400, (3, 30_000))
    best = (tastes[first] * kinds[candidates]).argmax(axis=0)
    second = candidates[best, np.arange(30_000)]
    halves = np.stack([half := rng.random(30_000) < 0.5, ~half]).astype(float)
    assert max(one.low for one in id_ties.ties(first, second, halves, (300, 400))) > 0.05


def test_a_target_of_pairs_alone_is_found():
    """A factorisation without effects of its ids: one-way analyses see nothing in it."""
    rng = drawn(8)
    first, second = rng.integers(0, 300, 40_000), rng.integers(0, 400, 40_000)
    targets = (rng.normal(size=(300, 4))[first] * rng.normal(size=(400, 4))[second]).sum(1) + rng.normal(size=40_000)
    halves = np.stack([half := rng.random(40_000) < 0.5, ~half]).astype(float)
    assert id_ties.interplay(first, second, targets, halves, (300, 400)) > 6


def sorted_rows(keys, targets, times=None):
    order = np.lexsort((targets, keys))
    times = np.ones(len(keys)) if times is None else np.asarray(times, dtype=float)
    return np.asarray(keys, dtype=np.uint64)[order], np.asarray(targets, dtype=float)[order], times[order]


def test_conflicts_by_hand():
    keys, targets, times = sorted_rows([1, 1, 2, 3, 4], [0, 1, 1, 0, 1], [1, 1, 2, 1, 1])
    found = id_pairs.conflicts(keys, targets, times)
    assert found["ids_conflict_share"] == 0.25
    assert found["ids_discord"] == 0.5
    assert found["ids_discord_chance"] == pytest.approx(1 - (4 / 6) ** 2 - (2 / 6) ** 2)


def test_seen_by_hand():
    trained = sorted_rows([1, 1, 2, 3], [0, 1, 1, 0])
    validated = sorted_rows([1, 2, 3, 9], [1, 0, 0, 1])
    found = id_pairs.seen(trained, validated, target=True)
    assert found["ids_seen_share"] == 0.75
    assert found["ids_seen_same"] == pytest.approx(2 / 3)
    assert found["ids_seen_same_chance"] == pytest.approx((1.0 + 0.5 + 0.5) / 3)
    assert math.isnan(id_pairs.seen(trained, validated, target=False)["ids_seen_same"])
