"""Logs of clicks as tables: codes of categories, the three data sets, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets import flights, insteval_clicks, movielens_clicks
from datasets.click_tables import MISSING, click_table
from datasets.ratings import encode_ratings
from datasets.tables import TEST, TRAIN, VALIDATION, Table
from flowgrad.errors import FlowGradError

PARTS = np.array([TRAIN, TRAIN, VALIDATION, TEST], dtype=np.int8)


def table(values, parts=PARTS):
    frame = pd.DataFrame({"city": values, "price": np.arange(len(values), dtype=float)})
    clicked = {"clicked": np.arange(len(values)) % 2}
    return click_table("log", "here", frame, ["city"], ["price"], clicked, parts)


def test_codes_follow_the_sorted_texts_and_a_gap_is_a_category():
    made = table(["b", None, "a", "b"])
    assert made.categories["city"].tolist() == [MISSING, "a", "b"]
    assert made.features["city"].tolist() == [2, 0, 1, 2]
    assert made.features["price"].tolist() == [0, 1, 2, 3]
    assert made.targets["clicked"].tolist() == [0, 1, 0, 1]


@given(st.lists(st.text("ab0", max_size=2), min_size=4, max_size=30))
def test_codes_give_back_every_value(values):
    parts = np.resize(PARTS, len(values))
    made = table(values, parts)
    assert made.categories["city"][made.features["city"].astype(int)].tolist() == values


def test_the_checksum_knows_the_values_and_not_their_codes_alone():
    assert table(list("aabb")).sha256 != table(list("ccdd")).sha256
    assert table(list("aabb")).sha256 == table(list("aabb")).sha256


def test_a_code_without_a_value_is_refused():
    made = table(list("aabb"))
    with pytest.raises(FlowGradError, match="categories of 'city': expected a column of codes from 0 to 0"):
        Table(made.name, made.source, made.features, made.targets, made.parts, None, "", {"city": np.array(["a"])})


def test_flights_are_late_by_more_than_a_quarter_of_an_hour(monkeypatch):
    n = 40
    frame = pd.DataFrame(
        {
            "year": 2013, "month": 1, "day": np.repeat(np.arange(1, 11), 4),
            "arr_delay": [0.0, 15.0, 16.0, np.nan] * 10,
            "carrier": "UA", "flight": np.arange(n) % 3, "tailnum": ["N1", None] * 20, "origin": "EWR", "dest": "ORD",
            "hour": 5, "minute": 30, "distance": 700,
            "time_hour": [f"2013-01-{day:02}T10:00:00Z" for day in np.repeat(np.arange(1, 11), 4)],
        }
    )  # fmt: skip
    monkeypatch.setattr(flights, "load_frame", lambda *_: (frame.sample(frac=1, random_state=0), "here"))
    made = flights.load_flights()
    assert len(made.features) == 30  # those that never arrived are left out
    assert made.targets["late"].mean() == pytest.approx(1 / 3)
    assert made.categories["tailnum"].tolist() == [MISSING, "N1"]
    assert made.categories["weekday"][int(made.features["weekday"].iloc[0])] == "1"  # a Tuesday
    assert np.bincount(made.parts).tolist() == [21, 3, 6]  # days stay whole, the last ones are to test


def test_insteval_is_split_with_the_same_share_of_likes(monkeypatch):
    rows = 200
    frame = pd.DataFrame({"s": np.arange(rows) % 40, "d": np.arange(rows) % 7, "studage": 2, "lectage": 1, "service": 0,
                          "dept": np.arange(rows) % 3, "y": np.arange(rows) % 5 + 1})  # fmt: skip
    monkeypatch.setattr(insteval_clicks, "load_frame", lambda *_: (frame, "here"))
    made = insteval_clicks.load_insteval_clicks()
    assert list(made.features) == list(insteval_clicks.CATEGORICAL)
    for part in (TRAIN, VALIDATION, TEST):
        assert made.targets["liked"][made.parts == part].mean() == pytest.approx(0.4)


def test_films_have_the_rarest_of_their_genres(monkeypatch):
    rows = 20
    users, items = [str(one % 4) for one in range(rows)], [str(one % 3) for one in range(rows)]
    ratings = encode_ratings("few", "here", users, items, np.arange(rows) % 5 + 1.0, np.arange(rows))
    people = pd.DataFrame({"age": [20.0, 30, 40, 50], "male": [True, False] * 2, "occupation": ["artist"] * 4})
    films = pd.DataFrame({"year": [1994.0, np.nan, 2000.0], "genres": [{"Drama", "War"}, {"Drama"}, set()]})
    monkeypatch.setattr(movielens_clicks, "load_movielens_100k", lambda *_: ratings)
    monkeypatch.setattr(movielens_clicks, "users_and_items", lambda *_: (people, films))
    made = movielens_clicks.load_movielens_clicks()
    genre = made.categories["genre"][made.features["genre"].astype(int)]
    decade = made.categories["decade"][made.features["decade"].astype(int)]
    assert genre[:3].tolist() == ["War", "Drama", MISSING]
    assert decade[:3].tolist() == ["1990", MISSING, "2000"]
    assert made.targets["liked"][:5].tolist() == [0, 0, 0, 1, 1]
