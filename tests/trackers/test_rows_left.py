"""Rows that change their part while a training goes on: those of folds, of a growing pool, of time."""

import pytest
import torch

from flowgrad import BatchTracker
from flowgrad.trackers.batches.form import FOLLOWED

EARLIER, SEEN = "VALIDATION_ROWS_TRAINED_EARLIER", {"VALIDATION_ROWS_SEEN", "ROWS_MET_AGAIN"}


def data(rows=400, seed=7):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 6, generator=generator)
    return x, x[:, 0] + 0.1 * torch.randn(rows, generator=generator)


def pairs():
    """Distinct pairs of users and items, with a rating each."""
    generator = torch.Generator().manual_seed(7)
    found = torch.unique(torch.randint(0, 60, (2000, 2), generator=generator), dim=0)
    found = found[torch.randperm(len(found), generator=generator)]
    return found, torch.randint(1, 6, (len(found),), generator=generator).float()


def epoch(tracker, rows, train, validation, *, late=False, seed=0):
    """One epoch of a tracker, told to be over before its validation where that is late."""
    x, y = rows
    for index in train[torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))].split(32):
        tracker.step(x[index], y[index])
    if late:
        tracker.end_epoch()
    tracker.validate(x[validation], y[validation])
    if not late:
        tracker.end_epoch()


def types(tracker):
    return {found.type for found in tracker.findings()}


def in_folds(rows, folds, epochs, **settings):
    tracker = BatchTracker(**settings)
    places = torch.arange(len(rows[0]))
    for fold in range(folds):
        for k in range(epochs):
            epoch(tracker, rows, places[places % folds != fold], places[places % folds == fold], seed=k)
    return tracker


@pytest.mark.parametrize(("folds", "epochs"), [(5, 6), (5, 1), (2, 4), (10, 2)])
@pytest.mark.parametrize("rows", [data, pairs])
def test_one_model_for_all_folds_is_asked_about_and_no_copies_are_claimed(rows, folds, epochs):
    """Dropping rows as duplicates was prescribed, where no row stood there twice."""
    tracker = in_folds(rows(), folds, epochs)
    found = next(one for one in tracker.findings() if one.type == EARLIER)
    assert found.candidates[0].cause == "MODEL_OF_AN_EARLIER_FOLD"
    assert not types(tracker) & SEEN
    assert tracker.summary()["validation_left"] == pytest.approx(1 - 1 / folds, abs=0.05)


def test_folds_are_told_by_the_rows_that_are_kept():
    assert EARLIER in types(in_folds(data(3000), 5, 3, sample=256))


def test_a_split_that_is_drawn_anew_in_each_epoch():
    tracker = BatchTracker()
    for k in range(6):
        order = torch.randperm(400, generator=torch.Generator().manual_seed(40 + k))
        epoch(tracker, data(), order[80:], order[:80], seed=k)
    assert EARLIER in types(tracker)
    assert not types(tracker) & SEEN


def test_folds_whose_epochs_end_before_their_validation():
    tracker, rows, places = BatchTracker(), data(), torch.arange(400)
    for fold in range(4):
        for k in range(8):
            epoch(tracker, rows, places[places % 4 != fold], places[places % 4 == fold], late=True, seed=k)
    assert EARLIER in types(tracker)
    assert not types(tracker) & SEEN


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_copies_are_copies_where_an_epoch_goes_through_few_rows(share):
    """An epoch holds as many of the copies of rows as of all others."""
    tracker, rows = BatchTracker(), data()
    for k in range(12):
        drawn = torch.randperm(300, generator=torch.Generator().manual_seed(k))[: int(300 * share)]
        epoch(tracker, rows, drawn, torch.arange(250, 400), seed=k)
    assert EARLIER not in types(tracker)
    assert (SEEN & types(tracker)) or share < 1  # rows differ from epoch to epoch: nothing is said


def test_a_pool_that_grows_beside_validation_rows_is_silent():
    tracker, rows = BatchTracker(), data()
    for k in range(6):
        epoch(tracker, rows, torch.arange(50 * (k + 1)), torch.arange(320, 400), seed=k)
    assert not types(tracker) & (SEEN | {EARLIER})
    assert tracker.summary()["validation_left"] == 0


@pytest.mark.parametrize("late", [False, True])
def test_rows_that_are_validated_before_they_are_trained_on_are_new(late):
    """A pool whose rows are validated until they are labelled, and weeks that are validated before they are learned."""
    tracker, rows = BatchTracker(), data()
    for k in range(6):
        epoch(tracker, rows, torch.arange(60 * (k + 1)), torch.arange(60 * (k + 1), 400), late=late and k == 5, seed=k)
    assert not types(tracker) & (SEEN | {EARLIER})


def test_a_validation_after_the_last_epoch_counts():
    tracker, rows = BatchTracker(), data()
    for k in range(3):
        epoch(tracker, rows, torch.arange(200), torch.arange(0), seed=k)
    for k in range(3):
        epoch(tracker, rows, torch.arange(200, 400), torch.arange(0), seed=k)
    x, y = rows
    tracker.validate(x[100:200], y[100:200])
    assert EARLIER in types(tracker)


def test_a_state_within_a_fold_goes_on():
    rows, places = data(), torch.arange(400)
    whole, first, second = BatchTracker(), BatchTracker(), BatchTracker()
    for fold in range(3):
        for one in (whole, first) if fold < 2 else (whole, second):
            epoch(one, rows, places[places % 3 != fold], places[places % 3 == fold])
        if fold == 1:
            second.load_state_dict(first.state_dict())
    assert second.summary() == pytest.approx(whole.summary(), nan_ok=True)


def test_a_state_of_an_earlier_release_goes_on():
    rows = data()
    tracker = BatchTracker()
    epoch(tracker, rows, torch.arange(300), torch.arange(300, 400))
    state = {name: value for name, value in tracker.state_dict().items() if name not in FOLLOWED}
    other = BatchTracker()
    other.load_state_dict(state)
    epoch(other, rows, torch.arange(300), torch.arange(300, 400))
    assert other.summary()["validation_left"] == 0
