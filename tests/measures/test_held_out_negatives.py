"""Counts of validation pairs among the training rows of the lower target, against a slow version."""

from collections import Counter
from math import exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgrad.measures.held_out_negatives import spared

pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=60)


def counted(rows):
    """Keys in order, and times, of distinct pairs."""
    times = Counter(rows)
    keys = np.array(sorted(a * 6 + b for a, b in times), dtype=np.uint64)
    return keys, np.array([float(times[divmod(int(key), 6)]) for key in keys])


@given(pairs.filter(bool), pairs, pairs)
def test_counts_equal_those_of_loops(negatives, positives, held_out):
    users, items, rows = Counter(a for a, _ in negatives), Counter(b for _, b in negatives), len(negatives)

    def chance(pair):
        return 1 - exp(-users[pair[0]] * items[pair[1]] / rows)

    def shares(keys):
        pair = [divmod(int(key), 6) for key in keys]
        return np.array([users[a] * items[b] / rows**2 for a, b in pair])

    (low, low_times), (high, high_times), (asked, _) = map(counted, (negatives, positives, held_out))
    found = spared((low, low_times, shares(low)), (high, high_times), (asked, shares(asked)), float(rows))
    new = set(held_out) - set(positives)
    assert found["ids_held_out_pairs"] == len(new)
    assert found["ids_held_out_met"] == len(new & set(negatives))
    assert found["ids_held_out_expected"] == pytest.approx(sum(map(chance, new)))
    again = Counter(negatives)
    assert found["ids_negatives_again"] == pytest.approx(sum(again[pair] > 1 for pair in negatives) / rows)
    assert found["ids_negatives_again_chance"] == pytest.approx(sum(map(chance, negatives)) / rows)


def test_what_draws_give_is_what_is_expected():
    """The expectation is that of pairs drawn at random: over 40 draws, the counts met are its mean."""
    met, expected = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        user, item = rng.integers(0, 30, 600), (rng.random(600) ** 2 * 40).astype(int)
        keys, times = np.unique(user * 40 + item, return_counts=True)
        users, items = np.bincount(user, minlength=30) / 600, np.bincount(item, minlength=40) / 600
        asked = np.arange(0, 1200, 7)
        shares = [users[which // 40] * items[which % 40] for which in (keys, asked)]
        none = np.zeros(0, dtype=np.uint64)
        found = spared(
            (keys.astype(np.uint64), times.astype(float), shares[0]),
            (none, np.zeros(0)),
            (asked.astype(np.uint64), shares[1]),
            600.0,
        )
        met.append(found["ids_held_out_met"])
        expected.append(found["ids_held_out_expected"])
        assert np.isnan(found["ids_positives_again"])
    assert np.mean(met) == pytest.approx(np.mean(expected), rel=0.05)
