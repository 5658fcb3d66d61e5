"""Windows that are cut from series and split, in sound ways and at random."""

import inspect
import math

import numpy as np
import pytest
import torch

from flowgrad import BatchTracker
from flowgrad.measures.overlaps import overlap_figures

KIND = "WINDOWS_ACROSS_THE_SPLIT"


def told(train, validation, *, epochs=2, **settings):
    tracker = BatchTracker(**settings)
    for k in range(epochs):
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(k))
        for index in order.split(256):
            tracker.step(train[index], torch.zeros(len(index)))
        for index in torch.arange(len(validation)).split(256):
            tracker.validate(validation[index], torch.zeros(len(index)))
        tracker.end_epoch()
    return tracker


def types(train, validation, **settings):
    return {found.type for found in told(train, validation, **settings).findings()}


def cut(series, length, stride):
    """Windows of each series, with the series and the step that each begins at."""
    rows, places = [], []
    for number, one in enumerate(series):
        for start in range(0, len(one) - length + 1, stride):
            rows.append(one[start : start + length])
            places.append((number, start))
    return torch.stack(rows), torch.tensor(places)


def at_random(rows, share=0.2, seed=11):
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    kept = int(share * len(rows))
    return rows[order[kept:]], rows[order[:kept]]


def walks(count=10, steps=400, channels=(), seed=5):
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(count, steps, *channels, generator=generator).cumsum(1))


def ids(count=20, steps=200, seed=5):
    """Ids of a few frequent things and many rare ones, some of them met in the same order by several users."""
    generator = torch.Generator().manual_seed(seed)
    lists = (1 / torch.rand(count, steps, generator=generator)).clamp(max=900).long()
    lists[::3, 40:60] = lists[0, 40:60]
    return list(lists)


SERIES = {
    "one number": (walks(), 24),
    "time first": (walks(channels=(3,)), 24),
    "few steps of many channels": (walks(5, channels=(40,)), 16),
    "channels first": (walks(channels=(3,)), 24),
    "one channel": (walks(channels=(1,)), 24),
    "ids": (ids(), 20),
}


def windows(kind, stride=4):
    series, length = SERIES[kind]
    rows, places = cut(series, length, stride)
    return (rows.transpose(1, 2) if kind == "channels first" else rows), places


@pytest.mark.parametrize("kind", SERIES)
def test_windows_that_overlap_and_are_drawn_at_random_are_asked_about(kind):
    """Validation told how well series were remembered, and nothing was said, as no row was a copy."""
    found = told(*at_random(windows(kind)[0])).findings()
    assert [one.candidates[0].cause for one in found if one.type == KIND] == ["WINDOWS_CUT_BEFORE_THE_SPLIT"]


@pytest.mark.parametrize("kind", SERIES)
def test_windows_split_by_series_by_time_or_cut_without_overlap_are_silent(kind):
    rows, places = windows(kind)
    held = places[:, 0] % 5 == 0
    assert KIND not in types(rows[~held], rows[held])
    late = places[:, 1] >= 0.8 * places[:, 1].max()
    assert KIND not in types(rows[~late], rows[late])
    assert KIND not in types(*at_random(windows(kind, stride=SERIES[kind][1])[0]))


def test_a_block_of_time_between_two_of_training_is_silent():
    """Only its first and last windows touch what was trained on."""
    rows, _ = cut(walks(2, 3000), 24, 3)
    block = (torch.arange(len(rows)) % 997) // 200 == 2
    assert KIND not in types(rows[~block], rows[block])


@pytest.mark.parametrize("sample", [128, 2048])
def test_weeks_that_are_trained_on_once_they_were_validated_are_silent(sample):
    """All windows were in both parts in the end, and those of any week overlap with those of the next."""
    rows, places = cut(walks(3, 1200), 24, 3)
    week, tracker = places[:, 1] // 200, BatchTracker(sample=sample)
    for k in range(1, 5):
        for index in torch.nonzero(week < k).flatten().split(64):
            tracker.step(rows[index])
        tracker.validate(rows[week == k])
        tracker.end_epoch()
    assert KIND not in {found.type for found in tracker.findings()}


def test_half_of_a_window_in_the_next_one():
    rows, _ = cut(walks(20, 600), 32, 16)
    assert KIND in types(*at_random(rows))


def test_windows_longer_than_what_is_kept_of_a_row():
    rows, _ = cut(walks(2, 20000), 1500, 60)
    assert KIND in types(*at_random(rows), epochs=1)


def test_the_samples_of_a_long_training():
    """Of 16,000 windows every thirtieth is kept, and few pairs of those overlap."""
    rows, places = cut(walks(10, 6400), 40, 4)
    tracker = told(*at_random(rows), epochs=1, sample=512)
    assert KIND in {found.type for found in tracker.findings()}
    assert tracker.summary()["overlaps_ahead"] == pytest.approx(6 * 0.8, rel=0.3)
    held = places[:, 0] % 5 == 0
    assert KIND not in types(rows[~held], rows[held], epochs=1, sample=512)


def test_histories_whose_last_step_is_validated_are_silent():
    """The history that validation sees is that of training and a step more: it is met behind, and never ahead."""
    lists = torch.nn.functional.pad(torch.stack(ids(300, 30)), (6, 0))
    assert KIND not in types(lists[:, 3:34], lists[:, 4:35])


def test_rows_that_are_read_a_step_more_each_and_drawn_at_random():
    """Examples of one session, one a step: what is to be predicted stands in the next one's history."""
    rows = [torch.nn.functional.pad(one[:end], (24 - end, 0)) for one in ids(80, 24) for end in range(12, 24)]
    assert KIND in types(*at_random(torch.stack(rows)))


def test_texts_that_are_cut_without_overlap_are_silent():
    """Phrases come again in every text; they end somewhere within a row, not at its end."""
    text = torch.tensor(list(inspect.getsource(inspect).encode()))
    for length in (24, 64):
        rows = text[: len(text) // length * length].reshape(-1, length).long()
        assert KIND not in types(*at_random(rows))
        half = len(text) // 2
        crops = torch.randint(0, half - length, (600,), generator=torch.Generator().manual_seed(0))
        train = torch.stack([text[start : start + length] for start in crops.tolist()]).long()
        other = torch.stack([text[half + start : half + start + length] for start in crops[:300].tolist()]).long()
        assert KIND not in types(train, other)


def test_padded_texts_are_silent():
    generator = torch.Generator().manual_seed(3)
    rows = torch.zeros(900, 40, dtype=torch.long)
    for row, length in zip(rows, torch.randint(5, 38, (900,), generator=generator).tolist(), strict=True):
        row[:length] = torch.randint(1, 60, (length,), generator=generator)
    assert KIND not in types(*at_random(rows))
    assert KIND not in types(*at_random(rows.flip(1)))


@pytest.mark.parametrize("levels", [2, 6])
def test_states_of_few_values_are_silent(levels):
    """Machines that stand in one state for long agree by chance, as often when read from their end."""
    generator = torch.Generator().manual_seed(2)
    moves = torch.randint(-1, 2, (40, 300), generator=generator) * (torch.rand(40, 300, generator=generator) < 0.3)
    series = list(moves.cumsum(1) % levels)
    rows, places = cut(series, 24, 3)
    held = places[:, 0] % 4 == 0
    assert KIND not in types(rows[~held], rows[held])


def test_images_and_tables_are_silent():
    generator = torch.Generator().manual_seed(4)
    images = (torch.rand(600, 1, 12, 12, generator=generator) * 4).round() * torch.linspace(0, 1, 12).round()
    assert KIND not in types(*at_random(images))
    assert KIND not in types(*at_random((torch.rand(600, 40, generator=generator) < 0.1).float()))
    assert KIND not in types(*at_random(torch.randint(0, 5, (600, 30), generator=generator).float()))


def test_rows_of_several_lengths_are_not_judged():
    tracker = BatchTracker()
    for length in (20, 24, 20):
        tracker.step(torch.rand(30, length, generator=torch.Generator().manual_seed(length)))
        tracker.validate(torch.rand(30, length, generator=torch.Generator().manual_seed(length + 1)))
    assert math.isnan(tracker.summary().get("overlap_pairs", math.nan))


def test_pairs_are_those_of_a_plain_comparison():
    rng = np.random.default_rng(8)
    series = rng.integers(0, 9, 300).astype(float)
    rows = np.unique(np.stack([series[start : start + 14] for start in range(0, 280, 2)]), axis=0)
    rows = rng.permutation(rows)
    train, validation = rows[::2], rows[1::2]
    pairs = sum(
        len(set(b[:8])) >= 4 and any((a[d:] == b[: 14 - d]).all() for d in range(1, 3))
        for one, other in ((validation, train), (train, validation))
        for a in one
        for b in other
    )
    assert overlap_figures(train, validation, 1.0)["overlap_pairs"] == pairs > 20
