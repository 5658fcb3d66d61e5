"""Most steps are only counted. What the tracker says must be what it would say had it looked at every one."""

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from flowgrad import EmbeddingTracker
from flowgrad.rules import RuleBook
from flowgrad.testing import seeded
from flowgrad.trackers.embedding.probes import Probes

ROWS = 30
RULES = RuleBook.load()


class LooksAlways(EmbeddingTracker):
    def _plan(self):
        super()._plan()
        self._next_look = self._steps + 1


def train(layer, sizes, tracker, ends):
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    for step, size in enumerate(sizes, 1):
        if size:
            optimizer.zero_grad()
            layer(torch.randint(ROWS, (size,))).square().sum().backward()
            optimizer.step()
        if size is not None:
            tracker.step()
        if step in ends:
            tracker.end_epoch()


# Stretches of equal batches, some of them empty; None is a step that the optimizer skipped.
stretches = st.lists(st.tuples(st.sampled_from([12, 12, 5, 0, None]), st.integers(1, 60)), min_size=1, max_size=6)
by_epoch = st.tuples(st.integers(2, 40), st.integers(1, 6)).map(lambda e: [(12, e[0] - 1), (5, 1)] * e[1])


@pytest.mark.parametrize("sample", [10, ROWS])
def test_what_is_only_counted_is_not_missed(sample):
    @settings(max_examples=25)
    @given(stretches | by_epoch, st.sets(st.integers(1, 200), max_size=2))
    def check(stretches, ends):
        sizes = [size for size, count in stretches for _ in range(count)]
        said = []
        for kind in (EmbeddingTracker, LooksAlways):
            with seeded():
                layer = nn.Embedding(ROWS, 3)
                tracker = kind(layer, "table", RULES, sample=sample)
                train(layer, sizes, tracker, ends)
            said.append(tracker.measurements())
        assert said[0].scalars == pytest.approx(said[1].scalars, rel=0, abs=0, nan_ok=True)
        pd.testing.assert_frame_equal(said[0].tables["rows"], said[1].tables["rows"], check_exact=True)

    check()


def test_an_epoch_may_be_announced_before_its_last_step_is():
    said = []
    for early in (False, True):
        with seeded():
            layer = nn.Embedding(ROWS, 3)
            tracker = EmbeddingTracker(layer, "table", RULES)
            optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
            for step in range(1, 201):
                optimizer.zero_grad()
                layer(torch.randint(ROWS, (12,))).square().sum().backward()
                optimizer.step()
                if early and step % 20 == 0:
                    tracker.end_epoch()
                tracker.step()
                if not early and step % 20 == 0:
                    tracker.end_epoch()
        said.append(tracker.row_table())
    counted = ["exposures", "gradient_steps", "move_steps", "velocity"]
    pd.testing.assert_frame_equal(said[0][counted], said[1][counted])
    assert said[1]["coherence"].notna().all()


def test_most_steps_are_only_counted(monkeypatch):
    layer, looks = nn.Embedding(ROWS, 3), []
    look = EmbeddingTracker._look
    monkeypatch.setattr(EmbeddingTracker, "_look", lambda tracker: looks.append(tracker._steps) or look(tracker))
    train(layer, [12] * 2000, EmbeddingTracker(layer, "table", RULES), ())
    assert len([step for step in looks if step > 1000]) < 50


def test_a_row_that_never_comes_again_does_not_have_every_step_probed(monkeypatch):
    """Such as one that a loss with a margin had nothing to say of."""
    layer, probes = nn.Embedding(ROWS, 3), []
    close = Probes.close
    monkeypatch.setattr(Probes, "close", lambda self, *arguments: probes.append(1) or close(self, *arguments))
    tracker = EmbeddingTracker(layer, "table", RULES)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for step in range(3000):
        optimizer.zero_grad()
        looked_up = layer(torch.tensor([0, 1, 2] if step == 100 else [0, 1]))  # row 2 has no part in the loss
        looked_up[:2].square().sum().backward()
        optimizer.step()
        tracker.step()
    assert len(probes) < 512 + 3000 / 16 + 20
    assert RULES.select("stuck_rows", tracker.measurements()).empty
