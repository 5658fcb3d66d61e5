import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowgrad.trackers.flow.sparse_rows import LOOKUPS, rows_of

ROWS = 5000


def gradient_of(seed, lookups, rows=ROWS, dim=3):
    random = torch.Generator().manual_seed(seed)
    ids = (torch.rand(lookups, generator=random) ** 4 * rows).long()
    return ids, torch.randn(lookups, dim, generator=random)


def summed(ids, values):
    """Sum of the values of each row, by PyTorch's own way."""
    whole = torch.sparse_coo_tensor(ids[None], values, (ROWS, values.shape[1]), check_invariants=True).coalesce()
    return whole.indices()[0], whole.values()


@given(
    st.lists(st.tuples(st.integers(1, 2 * LOOKUPS - 1), st.integers(1, 4)), min_size=1, max_size=5), st.integers(0, 99)
)
def test_all_rows_of_few_lookups_are_read(shapes, seed):
    gradients = [gradient_of(seed + k, lookups, dim=dim) for k, (lookups, dim) in enumerate(shapes)]
    for given_, read in zip(gradients, rows_of(gradients), strict=True):
        ids, sums = summed(*given_)
        assert read.one_in == 1
        assert torch.equal(read.ids, ids)
        torch.testing.assert_close(read.sums, sums)


@pytest.mark.parametrize("lookups", [2 * LOOKUPS, 8 * LOOKUPS + 5])
def test_of_many_lookups_whole_rows_are_read(lookups):
    gradients = [gradient_of(seed, lookups) for seed in range(3)]
    for given_, read in zip(gradients, rows_of(gradients), strict=True):
        ids, sums = summed(*given_)
        assert read.one_in == 1 << (lookups // LOOKUPS).bit_length() - 1
        chosen = torch.isin(ids, read.ids)
        assert 0 < int(chosen.sum()) < len(ids)
        assert torch.equal(read.ids, ids[chosen])
        torch.testing.assert_close(read.sums, sums[chosen])


def test_a_batch_of_one_row_is_read_whole():
    """It is drawn or not: of a table none of whose rows is drawn, all are read."""
    alone = [(torch.full((4 * LOOKUPS,), row), torch.ones(4 * LOOKUPS, 2)) for row in (0, 1, 5, 77)]
    for (ids, _), read in zip(alone, rows_of(alone), strict=True):
        assert (read.ids.tolist(), read.one_in) == ([int(ids[0])], 1)
        assert read.sums.tolist() == [[4 * LOOKUPS] * 2]


def test_the_norm_scaled_up_is_about_that_of_the_whole():
    ids, values = torch.arange(ROWS), torch.randn(ROWS, 8, generator=torch.Generator().manual_seed(1))
    [read] = rows_of([(ids, values)])
    assert float(read.sums.norm()) * read.one_in**0.5 == pytest.approx(float(values.norm()), rel=0.15)
