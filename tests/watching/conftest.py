"""A training that several tests of `watch` read."""

from __future__ import annotations

import pytest
import torch

import flowgrad
from tests.watching_loops import made, train


@pytest.fixture
def watched():
    """A watched training of forty steps with Adam."""
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    watch = flowgrad.watch(model, optimizer)
    train(model, [optimizer], watch)
    yield watch
    watch.detach()
