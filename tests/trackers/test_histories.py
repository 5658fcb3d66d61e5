"""Histories that come again with other targets, beside those that may."""

import pytest
import torch

from flowgrad.trackers.batches import BatchTracker

LENGTH, ITEMS, USERS = 6, 400, 60


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def paths(*, steps=40):
    """Items that each user takes, in order, shape (users, steps): each at most once."""
    random = generator()
    return torch.stack([torch.randperm(ITEMS - 1, generator=random)[:steps] + 1 for _ in range(USERS)])


def rows_of(taken, cut, *, behind=False):
    """A row for each item but the first of a user: what came before, cut and filled up by 0, and that item."""
    rows, targets = [], []
    for path in taken:
        for at in range(1, len(path)):
            past = cut(path[:at])
            row = torch.zeros(LENGTH, dtype=torch.int64)
            row[: len(past)] = past
            rows.append(row if behind else row.roll(LENGTH - len(past)))
            targets.append(path[at])
    return torch.stack(rows), torch.stack(targets)


def newest(past):
    return past[-LENGTH:]


def oldest(past):
    return past[:LENGTH]


def told(rows, targets, *, epochs=2):
    """Tell a tracker of batches of these rows; returns the finding on histories, and the tracker."""
    tracker, order = BatchTracker(), generator(1)
    for _ in range(epochs):
        for chosen in torch.randperm(len(rows), generator=order).split(64):
            tracker.step(rows[chosen], targets[chosen])
        tracker.end_epoch()
    return next((one for one in tracker.findings() if one.type == "HISTORIES_STAND_STILL"), None), tracker


@pytest.mark.parametrize("behind", [False, True])
def test_histories_that_are_cut_at_their_new_end_are_asked_about(behind):
    """Nothing was said of history[:length] for history[-length:], by which the hit rate was a third."""
    found, _ = told(*rows_of(paths(), oldest, behind=behind))
    assert found.candidates[0].cause == "NEWEST_CUT_OFF"
    assert found.fix is None


@pytest.mark.parametrize("behind", [False, True])
def test_histories_that_end_next_to_their_target_are_sound(behind):
    assert told(*rows_of(paths(), newest, behind=behind))[0] is None


def test_short_histories_may_be_alike():
    """All begin with one of few items, and the rest of the row is filled up."""
    rows = torch.zeros(3000, LENGTH, dtype=torch.int64)
    rows[:, -1] = torch.randint(1, 4, (3000,), generator=generator())
    found, tracker = told(rows, torch.randint(1, ITEMS, (3000,), generator=generator(2)))
    assert found is None
    assert tracker.measurements().scalars["histories"] == 0


def test_rounds_that_come_again_with_what_follows_them_are_sound():
    """Each user goes round in a cycle of 12 items, so that a history comes again, and so does what follows it."""
    found, tracker = told(*rows_of(paths(steps=12).repeat(1, 4), newest))
    assert found is None
    assert tracker.measurements().scalars["histories_again"] > 0.9


def test_other_tasks_are_left_out():
    """Several sequences in a row, or targets that are labels, are no histories with what follows."""
    rows, targets = rows_of(paths(), oldest)
    tracker = BatchTracker()
    tracker.step({"seen": rows, "next": rows.roll(1, 0)}, targets)
    assert tracker.measurements().scalars["histories"] == 0
    assert told(rows, targets % 2)[0] is None


def test_of_many_rows_all_of_a_sequence_are_kept_or_none(monkeypatch):
    monkeypatch.setattr("flowgrad.trackers.batches.histories.MOST", 1000)
    found, tracker = told(*rows_of(paths(), oldest))
    assert tracker.measurements().scalars["histories"] <= 1000
    assert found is not None


def test_the_figures_survive_a_checkpoint():
    _, tracker = told(*rows_of(paths(), oldest))
    other = BatchTracker()
    other.load_state_dict(tracker.state_dict())
    for name in ("histories", "histories_again", "histories_agree"):
        assert other.measurements().scalars[name] == tracker.measurements().scalars[name]
