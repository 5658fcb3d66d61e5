import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowgrad.trackers import lookups
from flowgrad.trackers.lookups import LookupCounter

ROWS = 9
CPU = torch.device("cpu")

batches = st.lists(st.lists(st.integers(0, ROWS - 1), max_size=12), max_size=12)


def counter_of(batches):
    counter = LookupCounter(ROWS, CPU)
    for batch in batches:
        counter.add(torch.tensor(batch, dtype=torch.long))
    return counter


@pytest.mark.parametrize("buffer", [1, 7, lookups.BUFFERED])
def test_counts_are_those_of_numpy(buffer):
    @given(batches, st.sets(st.integers(0, 11)))
    def check(batches, read_after):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lookups, "BUFFERED", buffer)
            counter = LookupCounter(ROWS, CPU)
            seen = np.empty(0, dtype=int)
            for number, batch in enumerate(batches):
                counter.add(torch.tensor(batch, dtype=torch.long))
                seen = np.append(seen, np.array(batch, dtype=int))
                assert counter.total == len(seen)
                if number in read_after:
                    assert counter.counts().tolist() == np.bincount(seen, minlength=ROWS).tolist()
            assert counter.counts().tolist() == np.bincount(seen, minlength=ROWS).tolist()

    check()


@pytest.mark.parametrize("ring", [1, 2, 5, lookups.FIRST])
@pytest.mark.parametrize("memory", [torch.tensor, lambda ids: torch.from_numpy(np.array(ids))])
def test_a_loop_may_fill_the_same_memory_again(ring, memory):
    """Ids are kept by reference; a loop with static input buffers writes its next batches into them."""
    counter = LookupCounter(ROWS, CPU)
    buffers = [memory([0, 0, 0]) for _ in range(ring)]
    drawn = np.random.default_rng(0).integers(0, ROWS, (60, 3))
    for number, ids in enumerate(drawn):
        buffers[number % ring].numpy()[:] = ids  # unseen by the version counter of torch
        counter.add(buffers[number % ring])
    assert counter.counts().tolist() == np.bincount(drawn.ravel(), minlength=ROWS).tolist()


def test_memory_that_comes_again_late_costs_what_it_held_at_most():
    """Fresh tensors first, then one buffer: all but the buffer's first batch are counted, and later ones too."""
    counter = LookupCounter(ROWS, CPU)
    for _ in range(30):
        counter.add(torch.tensor([1, 2]))
    buffer = torch.tensor([3, 3])
    counter.add(buffer)
    for _ in range(10):
        buffer.fill_(4)
        counter.add(buffer)
    assert counter.counts()[1:3].tolist() == [30, 30]
    assert counter.counts()[3:5].sum() == 22
    assert counter.counts()[4] >= 20


def test_no_lookup_is_kept_once_enough_have_come(monkeypatch):
    """What is kept is bounded."""
    monkeypatch.setattr(lookups, "BUFFERED", 10)
    counter = LookupCounter(ROWS, CPU)
    for number in range(100):
        counter.add(torch.tensor([1, 2, 3]))
        assert number < lookups.FIRST or sum(len(ids) for ids in counter._kept) < 10
    assert counter.counts()[1:4].tolist() == [100, 100, 100]


def test_more_than_two_to_the_31_lookups_do_not_overflow():
    """Counts are kept in 32 bits as long as they fit."""
    counter = LookupCounter(ROWS, CPU)
    assert counter.counts().dtype == torch.int32
    most = 2**31 - 1
    counter.load(torch.tensor([most - 1, *[0] * (ROWS - 1)], dtype=torch.int32), most - 1)
    counter.add(torch.tensor([0]))
    assert counter.counts().tolist()[0] == most
    counter.add(torch.tensor([0, 0, 3]))
    assert counter.counts().tolist() == [most + 2, 0, 0, 1, 0, 0, 0, 0, 0]
    assert counter.total == most + 3


@given(batches, batches, batches)
def test_counting_goes_on_from_what_was_loaded(before, dropped, after):
    source = counter_of(before)
    counter = counter_of(dropped)
    counter.load(source.counts(), source.total)
    source.add(torch.tensor([0]))  # what was loaded is a copy
    for batch in after:
        counter.add(torch.tensor(batch, dtype=torch.long))
    expected = np.bincount(np.array([id for batch in before + after for id in batch], dtype=int), minlength=ROWS)
    assert counter.counts().tolist() == expected.tolist()
    assert counter.total == expected.sum()
