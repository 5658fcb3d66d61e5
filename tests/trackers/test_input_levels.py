"""Inputs from epoch to epoch: transformed again in each, or as sound loops have them."""

import math

import numpy as np
import pytest
import torch

from flowgrad import BatchTracker
from flowgrad.measures.input_levels import changed_alike, moments

KIND = "INPUTS_CHANGE_BY_EPOCH"


def images(rows=300, size=8, seed=3):
    generator = torch.Generator().manual_seed(seed)
    shape = torch.rand(rows, 1, size, size, generator=generator) < 0.5
    return torch.rand(rows, 1, size, size, generator=generator) * shape


def table(rows=300, seed=3):
    """Columns of several scales, one with heavy tails, one that is constant and one that is seldom not 0."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 6, generator=generator) * torch.tensor([1.0, 5, 0.1, 30, 1, 1])
    x[:, 4] = (x[:, 4] * 2.5).exp()
    x[:, 3] = 7.0
    x[:, 5] = (torch.rand(rows, generator=generator) < 0.02).float()
    return x


def told(epoch, *, epochs=8, batch=32, validation=None, shuffled=True):
    """A tracker of loops whose rows `epoch(k)` are, as they are read, and `validation(k)` beside."""
    tracker = BatchTracker()
    for k in range(epochs):
        rows = epoch(k)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(k)) if shuffled else None
        for part in (rows if order is None else rows[order]).split(batch):
            tracker.step(part)
        if validation is not None:
            tracker.validate(validation(k))
        tracker.end_epoch()
    return tracker


def found(tracker):
    return next((one for one in tracker.findings() if one.type == KIND), None)


def severity(tracker):
    return getattr(found(tracker), "severity", None)


def again(rows, summand, factor):
    """Rows that are transformed where they are stored, each time they are read."""
    stored = rows.clone()

    def read(_):
        return stored.sub_(summand).div_(factor).clone()

    return read


@pytest.mark.parametrize("batch", [16, 300])
@pytest.mark.parametrize(
    ("rows", "summand", "factor"),
    [
        (images(), 0.3, 0.35),
        (images(), 0.5, 0.5),
        (images() * 255, 0.0, 255.0),
        (images(), 0.3, 1.0),
        (table(), table().mean(0), table().std(0).clamp(min=0.01)),
    ],
)
def test_rows_that_are_normalised_where_they_are_stored(rows, summand, factor, batch):
    """Both parts drifted alike and looked well, and fresh rows were told at .11 of the accuracy."""
    tracker = told(again(rows, summand, factor), batch=batch, validation=again(images()[:99], 0.3, 0.35))
    assert severity(tracker) == "medium"
    assert found(tracker).candidates[0].cause == "PREPROCESSED_IN_PLACE"


def test_validation_rows_alone():
    tracker = told(lambda _: images(), validation=again(images(100, seed=9), 0.3, 0.35))
    assert severity(tracker) == "medium"
    assert found(tracker).rule_id == "validation_inputs_transformed_again"


def noise(rows, strength, k, like=torch.randn):
    return strength * like(rows.shape, generator=torch.Generator().manual_seed(100 + k))


SOUND = {
    "the same rows": lambda k: table(),
    "normalised outside": lambda k: (table() - table().mean(0)) / table().std(0).clamp(min=0.01),
    "new rows of the same kind": lambda k: table(seed=k),
    "few rows in each epoch": lambda k: table(40, seed=k),
    "strong noise": lambda k: images() + noise(images(), 3.0, k),
    "brightness of the whole row": lambda k: images() * (1 + 0.8 * noise(images()[:, :, :1, :1], 1.0, k)),
    "erased": lambda k: images() * (noise(images(), 1.0, k, torch.rand) > 0.5),
    "masked more at the beginning": lambda k: images() * (noise(images(), 1.0, k, torch.rand) > 0.3 / (k + 1)),
    "larger from epoch to epoch": lambda k: torch.nn.functional.interpolate(images(), size=(6 + 2 * k, 6 + 2 * k)),
    "ids": lambda k: torch.randint(0, 100 * (k + 1), (300, 12), generator=torch.Generator().manual_seed(k)),
}


@pytest.mark.parametrize("kind", SOUND)
def test_inputs_that_keep_their_level_are_silent(kind):
    tracker = told(SOUND[kind], validation=lambda _: table(100, seed=50))
    assert found(tracker) is None


def test_rows_in_order_of_time_within_an_epoch_are_silent():
    """Levels rise within each epoch, and fall back to where they were in the next."""
    series = table() + torch.arange(300.0)[:, None]
    assert found(told(lambda _: series, shuffled=False)) is None


def test_batches_of_one_series_each_are_silent():
    """A few of the batches are read, and each series has a level of its own."""
    generator = torch.Generator().manual_seed(1)
    levels = 5 * torch.randn(60, generator=generator)

    def epoch(k):
        order = torch.randperm(60, generator=torch.Generator().manual_seed(k))
        return torch.cat([levels[one] + torch.randn(32, 5, generator=generator) for one in order])

    assert found(told(epoch, shuffled=False)) is None


def test_validation_of_another_subject_in_each_fold_is_silent():
    assert found(told(lambda _: images(), validation=lambda k: images(100, seed=k) * (1 + k % 3) + k % 4)) is None


@pytest.mark.parametrize("jump", [3, 5])
def test_rows_of_another_source_are_a_low_question(jump):
    tracker = told(lambda k: table(seed=k) + (40.0 if k >= jump else 0.0))
    assert severity(tracker) == "low"


def test_two_epochs_are_not_judged():
    summary = told(again(images(), 0.3, 0.35), epochs=2).summary()
    assert math.isnan(summary.get("input_level_shift", math.nan))


def test_entries_that_are_not_finite_are_left_out():
    rows = table()
    rows[::7, 0] = math.nan
    rows[::9, 1] = math.inf
    summary = told(lambda _: rows).summary()
    assert summary["input_epochs"] == 8
    assert summary["input_level_shift"] == 0


def test_rows_of_epochs_are_summed_as_a_plain_loop_does():
    rows = table(100).double()
    tracker = told(lambda _: rows, epochs=3, batch=25)
    mean, deviation = moments(tracker._levels.levels["inputs"].sums[0].numpy())
    np.testing.assert_allclose(mean, rows.mean(0).numpy())
    np.testing.assert_allclose(deviation, rows.std(0, correction=0).numpy())


@pytest.mark.parametrize(("summand", "factor"), [(0.3, 0.4), (0.0, 3.0), (1.0, 1.0), (0.0, 1.0)])
def test_what_changes_alike(summand, factor):
    def sums(mean, deviation):
        x = mean + deviation * np.tile([-1.0, 1.0], 50)
        of_rows = [(x**power).sum() for power in (1, 2, 2, 4)]
        of_batch = [x.mean(), x.mean() ** 2, (x**2).mean(), (x**2).mean() ** 2]
        return np.array([100, *of_rows, 1, *of_batch, 0.0])[:, None]

    epochs = [(2.0, 1.0)]
    for _ in range(2):
        epochs.append(((epochs[-1][0] - summand) / factor, epochs[-1][1] / factor))
    first, second, third = (sums(*one) for one in epochs)
    alike, known = changed_alike(first, second, third)
    assert known[0]
    assert alike[0] == (factor != 1 or summand != 0)
    assert not changed_alike(first, second, sums(epochs[2][0] + 10 * epochs[2][1], epochs[2][1]))[0][0]


def test_a_state_goes_on_as_the_whole_run():
    whole = told(again(images(), 0.3, 0.35), epochs=6, validation=lambda _: images(50, seed=8))
    read = again(images(), 0.3, 0.35)
    first, second = told(read, epochs=4, validation=lambda _: images(50, seed=8)), BatchTracker()
    second.load_state_dict(first.state_dict())
    for k in (4, 5):
        for part in read(k)[torch.randperm(300, generator=torch.Generator().manual_seed(k))].split(32):
            second.step(part)
        second.validate(images(50, seed=8))
        second.end_epoch()
    assert second.summary() == pytest.approx(whole.summary(), nan_ok=True)
