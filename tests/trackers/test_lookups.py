import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowgrad.trackers.embedding.lookups import LookupCounter

ROWS = 9
CPU = torch.device("cpu")

batches = st.lists(st.lists(st.integers(0, ROWS - 1), max_size=12), max_size=12)


def counter_of(batches):
    counter = LookupCounter(ROWS, CPU)
    for batch in batches:
        counter.add(torch.tensor(batch, dtype=torch.long))
    return counter


@given(batches)
def test_counts_are_those_of_numpy(batches):
    counter = counter_of(batches)
    drawn = np.array([id for batch in batches for id in batch], dtype=int)
    assert counter.counts.tolist() == np.bincount(drawn, minlength=ROWS).tolist()
    assert counter.total == len(drawn)


def test_a_loop_may_fill_the_same_memory_again():
    counter = LookupCounter(ROWS, CPU)
    buffer = torch.zeros(3, dtype=torch.long)
    drawn = np.random.default_rng(0).integers(0, ROWS, (60, 3))
    for ids in drawn:
        buffer.numpy()[:] = ids  # unseen by the version counter of torch
        counter.add(buffer)
    assert counter.counts.tolist() == np.bincount(drawn.ravel(), minlength=ROWS).tolist()


def test_more_than_two_to_the_31_lookups_do_not_overflow():
    """Counts are kept in 32 bits as long as they fit."""
    counter = LookupCounter(ROWS, CPU)
    assert counter.counts.dtype == torch.int32
    most = 2**31 - 1
    counter.load(torch.tensor([most - 1, *[0] * (ROWS - 1)], dtype=torch.int32), most - 1)
    counter.add(torch.tensor([0]))
    assert counter.counts.tolist()[0] == most
    counter.add(torch.tensor([0, 0, 3]))
    assert counter.counts.tolist() == [most + 2, 0, 0, 1, 0, 0, 0, 0, 0]
    assert counter.total == most + 3


@given(batches, batches, batches)
def test_counting_goes_on_from_what_was_loaded(before, dropped, after):
    source = counter_of(before)
    counter = counter_of(dropped)
    counter.load(source.counts, source.total)
    source.add(torch.tensor([0]))  # what was loaded is a copy
    for batch in after:
        counter.add(torch.tensor(batch, dtype=torch.long))
    expected = np.bincount(np.array([id for batch in before + after for id in batch], dtype=int), minlength=ROWS)
    assert counter.counts.tolist() == expected.tolist()
    assert counter.total == expected.sum()
