import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgrad import EmbeddingTracker
from flowgrad.rules import RuleBook
from flowgrad.testing import seeded
from flowgrad.trackers.embedding import windows
from flowgrad.trackers.embedding.probes import FIRST_PROBES, STRIDE
from flowgrad.trackers.embedding.sampling import even_rows, stratified_rows

CPU = torch.device("cpu")
RULES = RuleBook.load()


@given(st.integers(1, 400), st.data())
@settings(max_examples=300)
def test_a_sample_has_its_size_and_holds_the_most_looked_up_rows(rows, data):
    size = data.draw(st.integers(1, rows))
    seed, flat = data.draw(st.integers(0, 99)), data.draw(st.booleans())
    generator = np.random.default_rng(seed)
    # Flat counts have ties, the others none.
    counts = generator.integers(0, 4, rows) if flat else generator.permutation(rows)
    chosen = stratified_rows(torch.from_numpy(counts.astype(np.int32)), size)
    assert chosen.dtype == torch.int64
    assert len(chosen) == size
    assert (chosen[1:] > chosen[:-1]).all(), "distinct and ascending"
    assert 0 <= int(chosen[0]) <= int(chosen[-1]) < rows
    head = np.sort(counts)[::-1][: size // 2]
    assert np.sort(counts[chosen.numpy()])[::-1][: size // 2].tolist() == head.tolist()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000, 12_288])
def test_a_sample_is_full_whatever_share_of_the_table_it_is(size):
    """The spread half must find enough rows outside the head, also where the sample is nearly the whole table."""
    for rows in sorted({size, size + 1, size + 2, *(int(size * factor) for factor in (1.05, 1.3, 1.9, 2, 2.6, 5, 40))}):
        for counts in (torch.zeros(rows), torch.arange(rows), torch.arange(rows).flip(0)):
            chosen = stratified_rows(counts.int(), size)
            assert len(chosen.unique()) == size


def test_the_other_half_is_spread_over_all_ids():
    counts = torch.zeros(100_000, dtype=torch.int32)
    counts[:500] = 9
    chosen = stratified_rows(counts, 1000)
    assert chosen[:500].tolist() == list(range(500))
    tenths = torch.bincount(chosen[500:] // 10_000, minlength=10)
    assert tenths.min() >= 35
    assert tenths.max() <= 65


def test_a_sample_draws_no_random_number_and_is_always_the_same():
    counts = torch.arange(1000, dtype=torch.int32)
    state = torch.get_rng_state()
    assert torch.equal(stratified_rows(counts, 100), stratified_rows(counts, 100))
    assert torch.equal(torch.get_rng_state(), state)


@given(st.integers(1, 10**12), st.integers(1, 300))
def test_even_rows_are_distinct_ends_included_and_apart_alike(rows, size):
    """In float32 the last of 20 million rows used to be one beyond the table's end."""
    size = min(rows, size)
    chosen = even_rows(rows, size, CPU).tolist()
    assert len(set(chosen)) == size
    assert chosen[0] == 0
    assert chosen[-1] == (rows - 1 if size > 1 else 0)
    gaps = np.diff(chosen)
    assert size == 1 or gaps.max() - gaps.min() <= 1


# --- a tracker that follows a sample ---------------------------------------------------------------------------------


ROWS, SAMPLE = 60, 20


def track(layer, sample=SAMPLE):
    return EmbeddingTracker(layer, rules=RULES, sample=sample)


def training(layer, steps, batch=2400, lr=0.0025, ends=(), loss=None):
    """Train `layer`, lower ids looked up more often and row 0 never; the number of each step taken, from 1 on.

    The last batch of an epoch is smaller; `loss(looked_up)` is the squared error to noisy targets by default.
    """
    optimizer = torch.optim.SGD(layer.parameters(), lr=lr)
    generator = np.random.default_rng(0)
    target = torch.from_numpy(generator.normal(size=layer.weight.shape)).float()
    for number in range(1, steps + 1):
        share = generator.random(batch - (number in ends)) ** 2
        ids = torch.from_numpy((len(target) * share).astype(int)).clamp(min=1)
        optimizer.zero_grad()
        looked_up = layer(ids)
        noisy = target[ids] + torch.from_numpy(generator.normal(size=looked_up.shape)).float()
        (loss(looked_up) if loss else (looked_up - noisy).square().sum()).backward()
        optimizer.step()
        yield number


@pytest.fixture
def layer():
    with seeded():
        return torch.nn.Embedding(ROWS, 4)


@pytest.mark.parametrize("ends", [(), range(20, 201, 20), range(45, 201, 45), range(32, 201, 32)])
@pytest.mark.parametrize("announced", [False, True])
def test_a_sample_tells_of_its_rows_what_an_exact_tracker_does(layer, ends, announced, monkeypatch):
    """One attached when the sample was chosen. Epochs of sampled tables used to go unrecognised, for batch sizes were
    read from then on only.
    """
    monkeypatch.setattr(windows, "EARLY", 200)  # the larger table is to be seen as often
    monkeypatch.setattr(windows, "EARLY_STEPS", 1)
    begin = min([FIRST_PROBES, *ends])
    trackers = [track(layer), track(layer, ROWS)]
    for number in training(layer, 200, ends=ends):
        for tracker in trackers:
            tracker.step()
        if number == begin:
            trackers.append(track(layer, ROWS))
        if number in ends:
            for tracker in trackers if announced else trackers[2:]:
                tracker.end_epoch()
    sampled, whole, late = (tracker.row_table() for tracker in trackers)
    followed = sampled.index[sampled["init_cosine"].notna()]
    assert [len(followed), ROWS] == [tracker.measurements().scalars["followed_rows"] for tracker in trackers[:2]]
    assert len(followed) == SAMPLE
    assert sampled["exposures"].equals(whole["exposures"])
    assert sampled["norm"].equals(whole["norm"])
    learned = followed.drop(0, errors="ignore")
    for column in ("coherence", "jitter", "init_cosine"):
        np.testing.assert_allclose(sampled[column][followed], late[column][followed], rtol=1e-5, err_msg=column)
        assert sampled[column].drop(followed).isna().all(), column
        assert sampled[column][learned].notna().all(), column
    for column in ("gradient_steps", "move_steps", "velocity"):
        known = sampled.index[sampled[column].notna()]
        assert learned.difference(known).empty, column
        np.testing.assert_allclose(sampled[column][known], whole[column][known], rtol=1e-6, err_msg=column)
    closed = [tracker.measurements().scalars["windows"] for tracker in trackers]
    assert closed[0] == closed[2]
    assert closed[1] == (len(ends) or closed[1])


def test_the_rows_looked_up_most_in_the_first_steps_are_followed(layer):
    tracker = track(layer)
    for number in training(layer, FIRST_PROBES):
        assert tracker.measurements().scalars["followed_rows"] == 0, number
        tracker.step()
    table = tracker.row_table()
    head = table["exposures"].sort_values(ascending=False, kind="stable").index[: SAMPLE // 2]
    assert table["init_cosine"][head].tolist() == pytest.approx([1] * len(head))


def test_padding_is_not_counted_among_the_rows_followed():
    layer = torch.nn.Embedding(ROWS, 4, padding_idx=1)
    tracker = track(layer)
    for _ in training(layer, 60):
        tracker.step()
    scalars = tracker.measurements().scalars
    assert scalars["rows"] == ROWS - 1
    assert scalars["followed_rows"] == SAMPLE - 1, "it is looked up most"


def names(tracker):
    measured = tracker.measurements()
    return {rule: RULES.select(rule, measured).index for rule in ("frozen_rows", "stuck_rows", "dead_rows")}


def test_rows_that_are_not_followed_are_not_blamed_on_a_few_looks():
    """The loss is hinged: rows learn in their first lookups, mostly between two probes, and are at rest in the later
    ones. Those not followed were called frozen.
    """
    with seeded():
        layer = torch.nn.Embedding(3000, 4)
    torch.nn.init.constant_(layer.weight, 0.1)
    start, tracker = layer.weight.detach().clone(), track(layer)
    steps = 40 * STRIDE
    for _ in training(layer, steps, batch=100, lr=0.5, loss=lambda rows: (1 - rows.sum(dim=1)).relu().sum()):
        tracker.step()
    moved = (layer.weight.detach() != start).any(dim=1).numpy()
    table = tracker.row_table()
    assert (moved == (table["exposures"] > 0)).all()
    at_rest = (table["gradient_steps"] == 0) & (tracker._probes.looks.numpy() > 0)
    assert not (at_rest & table["init_cosine"].isna()).any(), "not followed"
    assert names(tracker)["frozen_rows"].empty
    assert names(tracker)["stuck_rows"].empty
    assert names(tracker)["dead_rows"].tolist() == np.flatnonzero(~moved).tolist()


def test_rows_looked_up_while_the_learning_rate_warmed_up_are_not_stuck():
    """Its first step had a learning rate of zero; rows not looked at again in a probe were called stuck."""
    with seeded():
        layer = torch.nn.Embedding(3000, 4)
    start, tracker = layer.weight.detach().clone(), track(layer)
    for lr in (0.0, 0.1):
        for _ in training(layer, 100 if lr else 1, batch=100, lr=lr):
            tracker.step()
    still = (layer.weight.detach() == start).all(dim=1).numpy()
    assert set(names(tracker)["stuck_rows"]) <= set(np.flatnonzero(still))


def test_masked_rows_of_a_sampled_table_are_found():
    """Their share among the rows that tell is their share of the table."""
    with seeded():
        layer = torch.nn.Embedding(600, 4)
    masked = torch.arange(600) % 5 == 0
    layer.weight.register_hook(lambda gradient: gradient * ~masked.unsqueeze(1))
    tracker = track(layer, 200)
    for _ in training(layer, 400, batch=100):
        tracker.step()
    frozen = names(tracker)["frozen_rows"]
    assert len(frozen) > 30
    assert masked[frozen.tolist()].all()
    assert RULES.shares(tracker.measurements())["frozen_share"] == pytest.approx(0.2, abs=0.06)
    assert names(tracker)["stuck_rows"].empty
