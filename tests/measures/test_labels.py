import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from flowgrad.measures.labels import _distinct, label_conflict


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=40))
def test_distinct_examples_are_those_of_numpy(examples):
    columns = np.array(examples, dtype=float).T
    assert np.array_equal(_distinct(columns), np.unique(columns, axis=1))


def test_an_example_given_twice_is_no_more_evidence():
    random = np.random.default_rng(0)
    rows, others = random.integers(0, 20, 600), random.integers(0, 30, 600)
    labels = np.clip(np.round(3 + random.normal(size=30)[others] + 0.3 * random.normal(size=600)), 1, 5)
    once = np.unique(np.stack([rows, others, labels]), axis=1)
    told = label_conflict(*once.astype(int), 20)
    assert np.isfinite(told).all()
    assert np.array_equal(told, label_conflict(*np.repeat(once, 3, axis=1).astype(int), 20))
