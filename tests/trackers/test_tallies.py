"""Sums by row in little space are those in full space."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flowgrad import EmbeddingTracker
from flowgrad.trackers.embedding import tallies
from flowgrad.trackers.embedding.tallies import COLUMNS, RowTallies


def filled(rows=500, rounds=40):
    random = torch.Generator().manual_seed(0)
    made = RowTallies(rows, torch.device("cpu"))
    for place in range(rounds):
        ids = torch.randint(rows // 3, (64,), generator=random) * 3
        made.add(
            ids,
            looks=torch.ones(64, dtype=torch.int32),
            moves=torch.rand(64, generator=random) < 0.5,
            path=torch.rand(64, generator=random),
            early=torch.rand(50, generator=random) < 0.5,
        )
        if place % 7 == 0:
            made.of("looks", torch.arange(0, rows, 5))
    return made


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(tallies, "DENSE", 10)
    monkeypatch.setattr(tallies, "_WAITING", 200)


def test_little_space_holds_what_full_space_does(request):
    whole = filled()
    request.getfixturevalue("small")
    sparse = filled()
    assert whole.dense
    assert not sparse.dense
    assert len(sparse._ids) <= 167
    rows = torch.arange(0, 500, 7)
    for name in COLUMNS:
        assert torch.allclose(whole.whole(name), sparse.whole(name))
        assert torch.allclose(whole.of(name, rows), sparse.of(name, rows))
    again = RowTallies(500, torch.device("cpu"))
    again.load({name: whole.whole(name) for name in COLUMNS})
    assert all(torch.allclose(whole.whole(name), again.whole(name)) for name in COLUMNS)


def test_places_end(small, monkeypatch):
    monkeypatch.setattr(tallies, "LEAST", 100)
    monkeypatch.setattr(tallies, "MOST_ONE_IN", 5)
    made = RowTallies(500, torch.device("cpu"))
    made.add(torch.arange(90), looks=torch.ones(90))
    made.of("looks", torch.arange(3))
    made.add(torch.arange(60, 200), looks=torch.ones(140), early=torch.ones(20))
    found = made.whole("looks")
    assert found[:60].eq(1).all()
    assert found[60:90].eq(2).all()
    assert found[90:].nonzero().flatten().tolist() == list(range(0, 110, 11))  # the ten places left, evenly
    assert found.max() == 2
    assert made.whole("early").sum() == 20
    made.add(torch.arange(200, 300), looks=torch.ones(100))
    assert made.whole("looks").sum() == found.sum()


@pytest.mark.parametrize("sparse", [False, True])
def test_a_tracker_reports_the_same(request, sparse):
    def tracked():
        torch.manual_seed(0)
        table = nn.Embedding(200, 4, sparse=sparse)
        optimizer = (torch.optim.SparseAdam if sparse else torch.optim.Adam)(table.parameters(), 0.01)
        tracker = EmbeddingTracker(table, "table", optimizer=optimizer, sample=50)
        random = torch.Generator().manual_seed(1)
        for _ in range(80):
            ids = torch.randint(150, (32,), generator=random)
            optimizer.zero_grad()
            (table(ids).sum(1) * (ids % 3 > 0)).square().sum().backward()
            optimizer.step()
            tracker.step()
        return tracker

    whole = tracked()
    request.getfixturevalue("small")
    little = tracked()
    one, other = whole.measurements(), little.measurements()
    assert one.scalars == pytest.approx(other.scalars, rel=1e-5, nan_ok=True)
    assert one.tables["rows"].equals(other.tables["rows"].astype(one.tables["rows"].dtypes)) or (
        (one.tables["rows"] - other.tables["rows"]).abs().max().max() < 1e-5
    )
    assert {key: type(value) for key, value in whole.state_dict()["probes"].items()} == {
        key: type(value) for key, value in little.state_dict()["probes"].items()
    }
