"""Batches of loops that a user writes, sound and not: what is said of their rows and their order."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from flowgrad import BatchTracker
from flowgrad.report import from_xml, to_xml
from flowgrad.testing import seeded
from flowgrad.trackers.batches.rows import Hash, RowSample

ROWS, COLUMNS = 400, 12


def data(rows=ROWS, seed=0, classes=4):
    """Rows about the centre of their class."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, classes, (rows,), generator=generator)
    centres = torch.randn(classes, COLUMNS, generator=torch.Generator().manual_seed(99))
    return centres[y] + torch.randn(rows, COLUMNS, generator=generator), y


def told(tracker, train, validation, *, epochs=3, batch=32, order=None):
    """Batches of some epochs, shuffled anew in each unless an order is given."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(epochs):
        places = order if order is not None else torch.randperm(len(train[0]), generator=generator)
        for index in places.split(batch):
            tracker.step(train[0][index], train[1][index])
        for index in torch.arange(len(validation[0])).split(batch):
            tracker.validate(validation[0][index], validation[1][index])
        tracker.end_epoch()
    return tracker


def rated_pairs():
    """Distinct pairs of sixty users and sixty items, with a rating each."""
    generator = torch.Generator().manual_seed(0)
    pairs = torch.unique(torch.randint(0, 60, (2000, 2), generator=generator), dim=0)
    return pairs, torch.randint(1, 6, (len(pairs),), generator=generator).float()


def types(tracker):
    return [finding.type for finding in tracker.findings()]


@pytest.fixture
def model():
    with seeded():
        return nn.Sequential(nn.Linear(COLUMNS, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 4))


class TestSound:
    @pytest.mark.parametrize("batch", [8, 32, 100, ROWS])
    def test_shuffled_batches_of_a_split_are_no_finding(self, model, batch):
        tracker = told(BatchTracker(), data(), data(100, seed=5), batch=batch)
        assert types(tracker) == []
        assert tracker.to_report().status == "HEALTHY"

    def test_more_rows_than_are_kept(self):
        tracker = told(BatchTracker(sample=64), data(5000), data(1000, seed=5))
        assert types(tracker) == []
        assert tracker.summary()["distinct_rows"] == pytest.approx(5000, rel=0.4)

    def test_minority_classes_drawn_more_often_are_no_finding(self, model):
        x, y = data()
        often = torch.cat([torch.arange(ROWS), torch.nonzero(y == 0).flatten().repeat(4)])
        assert types(told(BatchTracker(), (x[often], y[often]), data(100, seed=5))) == []

    def test_columns_of_few_values_meet_by_chance(self):
        """Rows of three binary columns are all met in training, and copies could not be told from them."""
        rows = torch.randint(0, 2, (600, 3), generator=torch.Generator().manual_seed(0)).float()
        target = torch.randint(0, 2, (600,), generator=torch.Generator().manual_seed(1))
        tracker = told(BatchTracker(), (rows[:400], target[:400]), (rows[400:], target[400:]))
        assert "VALIDATION_ROWS_SEEN" not in types(tracker)


class TestRows:
    @pytest.mark.parametrize("sample", [400, 2048])
    def test_validation_rows_that_training_saw(self, sample):
        train = data(1000)
        validation = tuple(torch.cat([part[:100], other]) for part, other in zip(train, data(100, seed=5), strict=True))
        tracker = told(BatchTracker(sample=sample), train, validation)
        assert types(tracker) == ["VALIDATION_ROWS_SEEN"]
        assert tracker.summary()["validation_seen"] == pytest.approx(0.5, abs=0.15)

    def test_rows_that_were_doubled_before_the_split(self):
        """Columns of few values: it is the whole number of times that each row stands there that tells."""
        pairs, rating = rated_pairs()
        doubled = pairs.float().repeat(2, 1), rating.repeat(2)
        found = told(BatchTracker(), doubled, (pairs[::3].float(), rating[::3])).findings()
        assert [(one.type, len(one.candidates)) for one in found if "SEEN" in one.type] == [("VALIDATION_ROWS_SEEN", 0)]

    def test_rows_of_few_values_that_are_repeated_as_a_whole_are_no_copies(self):
        """A training set gone through twice an epoch: its rows meet by chance, and so do those of validation."""
        generator = torch.Generator().manual_seed(0)
        rows = torch.randint(0, 3, (900, 4), generator=generator).float()
        target = rows.sum(1) + torch.randint(0, 2, (900,), generator=generator)
        tracker = told(BatchTracker(), (rows[:600].repeat(2, 1), target[:600].repeat(2)), (rows[600:], target[600:]))
        assert tracker.summary()["validation_seen"] > 0.4  # of two targets that like rows have, the first one is kept
        assert "VALIDATION_ROWS_SEEN" not in types(tracker)

    def test_rows_met_again_are_a_question(self):
        """Validation rows stand in training, and those of training never do twice: a copy, or a thing met again."""
        pairs, rating = rated_pairs()
        found = told(BatchTracker(), (pairs.float(), rating), (pairs[::3].float(), rating[::3])).findings()
        assert found[0].type == "ROWS_MET_AGAIN"
        assert found[0].candidates[0].cause == "VALIDATION_ROWS_SEEN"

    def test_short_sequences_meet_by_nature(self):
        """Sequences cut to a few tokens are often equal, in training as in validation, and no copies for that."""
        generator = torch.Generator().manual_seed(0)
        tokens = torch.randint(1, 4, (1000, 5), generator=generator).cumsum(1)
        targets = torch.cat([tokens[:, 1:], tokens[:, -1:] + 1], 1)
        tracker = told(BatchTracker(), (tokens[:700], targets[:700]), (tokens[700:], targets[700:]))
        assert tracker.summary()["validation_seen"] > 0.3
        assert types(tracker) == []

    def test_pairs_of_ids_with_their_targets(self):
        pairs, rating = rated_pairs()
        assert "VALIDATION_ROWS_SEEN" in types(told(BatchTracker(), (pairs, rating), (pairs[::3], rating[::3])))

    def test_the_same_batch_again_and_again(self):
        x, y = data(32)
        tracker = BatchTracker()
        for _ in range(2):
            told(tracker, (x.repeat(8, 1), y.repeat(8)), data(100, seed=5), order=torch.arange(256), epochs=1)
        assert "SAME_BATCH" in types(tracker)

    @pytest.mark.parametrize("rows", [20, 40])
    def test_few_rows_many_times(self, rows):
        assert "FEW_DISTINCT_ROWS" in types(told(BatchTracker(), data(rows), data(100, seed=5), epochs=10))

    def test_rows_that_differ_in_each_epoch_are_not_compared(self):
        """Augmented rows never come again: that validation has none of them says nothing, and that is told."""
        tracker = BatchTracker()
        for epoch in range(3):
            told(tracker, data(seed=epoch), data(100, seed=50), epochs=1)
        assert math.isnan(tracker.summary().get("validation_seen", math.nan))
        assert "repeated_rows" in tracker.measurements().coverage.unseen
        assert types(tracker) == []


class TestOrder:
    @pytest.mark.parametrize("kind", ["classes", "descending", "clicks", "amounts"])
    def test_rows_sorted_by_target(self, kind):
        x, y = data()
        y = {"clicks": (y > 1).float(), "amounts": x[:, 0]}.get(kind, y)
        order = torch.argsort(y, stable=True, descending=kind == "descending")
        tracker = told(BatchTracker(), (x, y), (x[:100], y[:100]), order=order)
        assert "NOT_SHUFFLED" in types(tracker)

    def test_batches_of_one_class_drawn_anew_are_a_question(self):
        x, y = data()
        blocks = torch.argsort(y, stable=True).split(32)
        tracker = BatchTracker()
        for epoch in range(3):
            order = torch.randperm(len(blocks), generator=torch.Generator().manual_seed(epoch))
            told(tracker, (x, y), data(100, seed=5), order=torch.cat([blocks[i] for i in order]), epochs=1)
        assert types(tracker) == ["BATCHES_OF_LIKE_TARGETS"]

    def test_a_fixed_order_of_mixed_rows_is_no_finding(self):
        assert types(told(BatchTracker(), data(), data(100, seed=5), order=torch.arange(ROWS))) == []


def test_steps_beside_the_batches_told_are_a_question(model):
    """The loop over validation batches trains: its steps are counted by the optimizer's hook."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = BatchTracker(optimizer=optimizer)
    x, y = data()
    for _ in range(3):
        for index in torch.arange(ROWS).split(64):
            optimizer.step()
            tracker.step(x[index], y[index])
        for _ in range(4):
            optimizer.step()
        tracker.end_epoch()
    assert types(tracker) == ["STEPS_WHILE_VALIDATING"]
    tracker.detach()
    optimizer.step()
    assert tracker.summary()["late_steps"] == 4


@pytest.mark.parametrize("before", [False, True])
def test_optimizers_that_take_turns_are_no_steps_beside_the_batches(model, before):
    """A loop that tells its batch before both optimizers step ends each epoch with two steps that follow a batch."""
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for _ in range(2)]
    tracker = BatchTracker(optimizer=optimizers)
    x, y = data()
    for _ in range(3):
        for index in torch.arange(ROWS).split(64):
            if before:
                tracker.step(x[index], y[index])
            for optimizer in optimizers:
                optimizer.step()
            if not before:
                tracker.step(x[index], y[index])
        tracker.end_epoch()
    assert types(tracker) == []


def test_a_loss_that_is_none_that_is_known_is_said_to_be_so():
    x, y = data()
    tracker = BatchTracker()
    for index in torch.arange(ROWS).split(64):
        tracker.step(x[index], y[index], outputs=torch.zeros(0), loss="high")
    assert "loss" in tracker.measurements().coverage.unseen


def test_a_state_goes_on_as_the_whole_run(model):
    train, validation = data(300), data(80, seed=4)
    whole = told(BatchTracker(sample=64), train, validation, epochs=2, order=torch.arange(300))
    first = told(BatchTracker(sample=64), train, validation, epochs=1, order=torch.arange(300))
    state = first.state_dict()
    told(first, train, validation, epochs=1)
    second = BatchTracker(sample=64)
    second.load_state_dict(state)
    told(second, train, validation, epochs=1, order=torch.arange(300))
    assert second.summary() == pytest.approx(whole.summary(), nan_ok=True)


def test_nothing_told_is_not_observed():
    assert BatchTracker().to_report().status == "NOT_OBSERVED"


@pytest.mark.parametrize(
    ("inputs", "targets", "said"),
    [
        ("text", None, "no tensor with rows"),
        ({"a": torch.zeros(3), "b": torch.zeros(4)}, None, "different numbers of rows"),
        (torch.zeros(3, 2), torch.zeros(4), "do not belong to 3 rows"),
    ],
)
def test_what_cannot_be_read_is_an_error(inputs, targets, said):
    with pytest.raises(ValueError, match=said):
        BatchTracker().step(inputs, targets)


def test_no_random_number_is_drawn_and_nothing_is_written(model):
    x, y = data()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    told(BatchTracker(), (x, y), data(100, seed=5), order=torch.arange(ROWS))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@given(
    rows=st.lists(st.lists(st.integers(-3, 3), min_size=2, max_size=2), min_size=1, max_size=60),
    batch=st.integers(1, 20),
    size=st.integers(2, 80),
)
def test_a_sample_counts_what_it_keeps_exactly(rows, batch, size):
    """Every row kept has its own values and the times that it came; all are kept while there is room."""
    x = torch.tensor(rows, dtype=torch.float32)
    sample, hashed = RowSample(size), Hash()
    for index in torch.arange(len(x)).split(batch):
        sample.see(hashed({"x": x[index]}), {"x": x[index]}, x[index].sum(1))
    distinct, counts = torch.unique(x, dim=0, return_counts=True)
    assert len(sample.keys) == min(size, len(distinct))
    times = {tuple(row.tolist()): int(count) for row, count in zip(distinct, counts, strict=True)}
    for row, target, count in zip(sample.rows("values"), sample.rows("targets"), sample.times, strict=True):
        assert times[tuple(row.tolist())] == int(count) or sample.full
        assert target.item() == row.sum()


def test_hashes_are_of_the_numbers_and_not_of_the_batch():
    x = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    whole = Hash()({"x": x})
    assert torch.equal(torch.cat([Hash()({"x": part}) for part in x.split(3)]), whole)
    assert torch.equal(Hash()({"x": x + 0.0}), whole)
    assert len(torch.unique(whole)) == 50


def test_the_report_is_xml_that_the_schema_holds_for():
    tracker = told(BatchTracker("cnn"), data(), data(100, seed=5), order=torch.argsort(data()[1], stable=True))
    report = tracker.to_report()
    assert from_xml(to_xml(report)).findings[0].type == "NOT_SHUFFLED"
