"""Columns of numbers that linear layers are given beside others of a usual size."""

import pytest
import torch
from torch import nn

from flowgrad import FlowTracker
from flowgrad.testing import seeded


class Clicks(nn.Module):
    """A table of embeddings beside numbers, both given to a perceptron; `inner` stands between them and it."""

    def __init__(self, inner=None):
        super().__init__()
        self.table = nn.Embedding(20, 8)
        self.inner = inner
        self.deep = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, ids, numbers):
        joined = torch.cat([self.table(ids), numbers], 1)
        return self.deep(joined if self.inner is None else self.inner(joined))


def figures(model, *, scale, steps=8):
    """Train a little on numbers of this size, and return the finding on them and the figures."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters())
    tracker = FlowTracker(model, optimizer)
    for _ in range(steps):
        ids = torch.randint(20, (64,), generator=generator)
        numbers = torch.randn(64, 4, generator=generator).abs()
        numbers[:, 0] *= scale
        optimizer.zero_grad()
        loss = (model(ids, numbers)[:, 0] - numbers[:, 1]).square().mean()
        loss.backward()
        optimizer.step()
        tracker.step(loss)
    found = [one for one in tracker.findings() if one.rule_id == "unnormalised_columns"]
    return found, tracker


def made(*arguments):
    with seeded():
        return Clicks(*arguments)


def test_numbers_of_thousands_beside_embeddings_are_asked_about():
    """The layer used first was the table, so that nothing was said of counts as large as 1e5."""
    (found,), tracker = figures(made(), scale=5000.0)
    assert (found.type, found.severity, found.fix) == ("UNNORMALISED_INPUTS", "medium", None)
    assert found.candidates[0].cause == "NUMBERS_AS_THEY_ARE"
    scalars = tracker.measurements().scalars
    assert 2500 < scalars["columns_largest"] < 10000
    assert 0.3 < scalars["columns_median"] < 2


@pytest.mark.parametrize(
    ("model", "scale"),
    [
        (made(), 1.0),
        (made(), 20.0),
        (made(nn.BatchNorm1d(12)), 5000.0),
        (made(nn.LayerNorm(12)), 5000.0),
    ],
)
def test_numbers_of_a_usual_size_and_normalised_ones_are_not(model, scale):
    assert figures(model, scale=scale)[0] == []


def test_what_layers_made_is_no_data():
    """A unit of a trained network may put out thousands; that is none of the reader's columns."""
    model = made()
    with torch.no_grad():
        model.deep[0].bias[0] = 5000.0
    found, tracker = figures(model, scale=1.0)
    assert found == []
    assert tracker.measurements().scalars["columns_largest"] < 10


def test_a_state_of_half_a_pair_is_refused():
    _, tracker = figures(made(), scale=5000.0)
    state = tracker.state_dict()
    state["columns"]["found"][0] = state["columns"]["found"][0][:1]
    with pytest.raises(ValueError, match="columns"):
        FlowTracker(tracker.model, tracker.optimizer).load_state_dict(state)


def test_the_figures_survive_a_checkpoint():
    _, tracker = figures(made(), scale=5000.0)
    other = FlowTracker(tracker.model, tracker.optimizer)
    other.load_state_dict(tracker.state_dict())
    for name in ("columns_largest", "columns_median"):
        assert other.measurements().scalars[name] == tracker.measurements().scalars[name]
