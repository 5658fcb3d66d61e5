"""Planes' destinations, from a table made here."""

import pandas as pd
import pytest

from datasets import flight_sequences


@pytest.fixture
def flights(monkeypatch):
    frame = pd.DataFrame(
        {
            "year": 2013, "month": [1, 1, 2, 1], "day": [1, 1, 3, 2], "hour": [7, 6, 5, 9], "minute": [30, 0, 15, 0],
            "tailnum": ["N1", "N1", "N1", None], "dest": ["LAX", "MIA", "MIA", "BOS"],
        }
    )  # fmt: skip
    monkeypatch.setattr(flight_sequences, "load_frame", lambda *_: (frame, "a table"))


def test_each_flight_with_a_tail_number_is_an_event_at_its_scheduled_minute(flights):
    data = flight_sequences.load_flight_sequences(12)
    frame = data.frame
    assert data.item_ids[frame["item"]].tolist() == ["LAX", "MIA", "MIA"]
    assert (frame["timestamp"] * 60).tolist() == [
        int(pd.Timestamp(moment).timestamp()) for moment in ("2013-01-01 07:30", "2013-01-01 06:00", "2013-02-03 05:15")
    ]
    assert not data.rated
    assert data.timed


def test_later_months_can_be_left_out(flights):
    assert len(flight_sequences.load_flight_sequences(1).frame) == 2
