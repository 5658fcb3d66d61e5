"""Events in order of time, and their splits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.events import split_events
from datasets.ratings import encode_ratings, leave_one_out
from datasets.synthetic import make_ratings
from datasets.tables import TEST, TRAIN, VALIDATION
from flowgrad.errors import FlowGradError


def ratings(*rows):
    users, items, times = zip(*rows, strict=True)
    return encode_ratings("mine", "here", users, items, np.ones(len(rows)), times)


def synthetic(users, events):
    return make_ratings(users, 30, events, dim=2, noise=0.5, popularity_exponent=1.0, seed=0)


def test_each_users_last_event_is_tested_and_the_one_before_validated():
    events = split_events(ratings(("a", "x", 3), ("a", "y", 1), ("a", "z", 2), ("b", "x", 1), ("b", "y", 2)))
    assert events.users.tolist() == [0, 0, 0, 1, 1]
    assert events.items.tolist() == [1, 2, 0, 0, 1]
    assert events.parts.tolist() == [TRAIN, VALIDATION, TEST, TRAIN, TRAIN]


def test_an_item_that_comes_again_is_an_event_of_its_own():
    events = split_events(ratings(("a", "x", 1), ("a", "y", 2), ("a", "x", 3), ("a", "x", 4)))
    assert events.items.tolist() == [0, 1, 0, 0]
    assert events.parts.tolist() == [TRAIN, TRAIN, VALIDATION, TEST]


def test_without_repeats_the_split_is_that_of_ratings():
    data = synthetic(40, 600)
    events, split = split_events(data), leave_one_out(data)
    for part, frame in ((TRAIN, split.train), (VALIDATION, split.validation), (TEST, split.test)):
        own = events.parts == part
        found = set(zip(events.users[own].tolist(), events.items[own].tolist(), strict=True))
        assert found == set(zip(frame["user"].tolist(), frame["item"].tolist(), strict=True))


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 30)), min_size=20, max_size=60),
    st.sampled_from(["leave_one_out", "time"]),
)
def test_parts_never_fall_along_a_users_events(rows, split):
    try:
        events = split_events(ratings(*((f"u{u}", f"i{i}", t) for u, i, t in rows)), split)
    except FlowGradError:
        return
    assert len(events.users) == len(rows)
    for user in np.unique(events.users):
        assert (np.diff(events.parts[events.users == user]) >= 0).all()


def test_by_time_no_event_is_trained_on_that_is_later_than_one_held_out():
    data = synthetic(60, 900)
    frame = data.frame
    events = split_events(data, "time", test_share=0.2, validation_share=0.2)
    order = np.lexsort((frame["timestamp"].to_numpy(), frame["user"].to_numpy()))
    times = frame["timestamp"].to_numpy()[order]
    latest = [times[events.parts == part].max() for part in (TRAIN, VALIDATION)]
    earliest = [times[events.parts == part].min() for part in (VALIDATION, TEST)]
    assert latest[0] < earliest[0]
    assert latest[1] < earliest[1]
    assert abs((events.parts == TEST).mean() - 0.2) < 0.05


def test_a_split_that_is_none_of_time_is_refused():
    with pytest.raises(FlowGradError, match=r"dataset\.split='random'"):
        split_events(synthetic(9, 90), "random")


def test_a_part_that_would_be_empty_is_refused():
    with pytest.raises(FlowGradError, match="leave the validation part empty; no user has three events"):
        split_events(ratings(("a", "x", 1), ("b", "x", 2)))
    with pytest.raises(FlowGradError, match="too few moments"):
        split_events(ratings(("a", "x", 1), ("b", "x", 1), ("c", "x", 1)), "time")
