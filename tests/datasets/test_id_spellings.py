"""Ids that were changed on their way into a file."""

from __future__ import annotations

import base64
import logging

import numpy as np
import pytest

from datasets.ratings_csv import load_ratings_csv
from flowgrad.errors import FlowGradError

COLUMNS = {"user": "user", "item": "item", "rating": "rating", "timestamp": "time"}
RANDOM = np.random.default_rng(0)
PAIRS = RANDOM.permutation(60 * 40)[:300]
RATINGS = [(f"{p // 40 + 100}", f"i{p % 40}", RANDOM.integers(1, 6), 880_000_000 + 37 * k) for k, p in enumerate(PAIRS)]


def written(tmp_path, rows):
    path = tmp_path / "ratings.csv"
    path.write_text("user,item,rating,time\n" + "".join(f"{u},{i},{r},{t}\n" for u, i, r, t in rows))
    return path


@pytest.mark.parametrize("spelling", ["{}.0", " {}", "{} ", "00{}"])
def test_two_exports_of_one_log_are_refused(tmp_path, spelling):
    """Each rating stood twice, under two spellings of its user, and a proof on them was confirmed."""
    path = written(tmp_path, [*RATINGS, *((spelling.format(u), i, r, t) for u, i, r, t in RATINGS)])
    with pytest.raises(FlowGradError, match=r"300 of 600 ratings stand there twice, .* on lines 2 and 302.*keep"):
        load_ratings_csv(path, COLUMNS)
    assert len(load_ratings_csv(path, COLUMNS, duplicates="keep").frame) == 600


@pytest.mark.parametrize(
    "spelling",
    [
        lambda u, k: f"{u}.0",
        lambda u, k: base64.b64encode(u.encode()).decode()[:3],
        lambda u, k: u.upper() if k % 2 else "0" + u,
    ],
    ids=["all alike", "case tells", "two users"],
)
def test_ids_of_users_of_their_own_are_read(tmp_path, spelling, caplog):
    rows = [(spelling(u, k), f"{i}.{k}", r, t) for k, (u, i, r, t) in enumerate(RATINGS)]
    assert len(load_ratings_csv(written(tmp_path, rows), COLUMNS).frame) == 300
    assert not caplog.records


@pytest.mark.parametrize(
    ("spelling", "warned"),
    [
        (lambda u: f"{791_557_233_689_870_338 + 10**13 * int(u):.8E}", True),
        (lambda u: str(791_557_233_689_870_338 + 10**13 * int(u)), False),
        (lambda u: f"{u[:-2]}e{u[-2:]}", False),
    ],
    ids=["spreadsheet", "as they stand", "hashes"],
)
def test_ids_that_a_spreadsheet_rounded_are_told(tmp_path, spelling, warned, caplog):
    with caplog.at_level(logging.WARNING):
        load_ratings_csv(written(tmp_path, [(spelling(u), i, r, t) for u, i, r, t in RATINGS]), COLUMNS)
    assert ("user ids are rounded numbers" in caplog.text) == warned


def test_rounded_ids_are_told_where_they_repeat_pairs(tmp_path):
    rows = [(f"{791_557_233_689_870_338 + int(u):.5E}", i, r, t) for u, i, r, t in RATINGS]
    with pytest.raises(FlowGradError, match=r"occur more than once.*rounded numbers such as '7\.91557E\+17'.*as text"):
        load_ratings_csv(written(tmp_path, rows), COLUMNS)
