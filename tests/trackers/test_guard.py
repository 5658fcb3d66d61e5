from __future__ import annotations

import csv

import pytest
import torch
from torch import nn

from flowgrad import EmbeddingTracker
from flowgrad.testing import seeded
from flowgrad.trackers.embedding.guard import GradientGuard


def table(sparse):
    with seeded():
        return nn.Embedding(6, 3, sparse=sparse)


def gradient(layer, ids=(0, 1, 1, 5)):
    layer.weight.grad = None
    (layer(torch.tensor(ids)) * torch.arange(3.0)).sum().backward()
    found = layer.weight.grad
    return (found.to_dense() if found.is_sparse else found).clone()


@pytest.mark.parametrize("sparse", [False, True])
def test_gradients_of_the_rows_are_scaled_and_no_others(sparse):
    layer = table(sparse)
    plain = gradient(layer)
    guard = GradientGuard(layer, 0.25)
    assert torch.equal(gradient(layer), plain)
    guard.damp([1, 4], step=7)
    damped = gradient(layer)
    assert torch.equal(damped[1], plain[1] / 4)
    others = [0, 2, 3, 4, 5]
    assert torch.equal(damped[others], plain[others])
    guard.damp([5], step=9)
    assert torch.equal(gradient(layer)[1], plain[1])
    assert [tuple(one) for one in guard.interventions] == [(7, 0.25, (1, 4)), (9, 1.0, (1, 4)), (9, 0.25, (5,))]
    guard.remove()
    assert torch.equal(gradient(layer), plain)


def test_the_log_holds_what_was_done(tmp_path):
    guard = GradientGuard(table(False), 0.0, tmp_path / "log.csv")
    guard.damp([3, 2], step=4)
    guard.damp([3, 2], step=5)  # nothing new
    guard.damp([], step=6)
    lines = list(csv.reader((tmp_path / "log.csv").open()))
    assert lines == [["step", "factor", "count", "rows"], ["4", "0.0", "2", "2 3"], ["6", "1.0", "2", "2 3"]]


@pytest.mark.parametrize("factor", [-0.1, 1.0, 2.0])
def test_a_factor_that_does_not_damp_is_refused(factor):
    with pytest.raises(ValueError, match=f"factor={factor}"):
        GradientGuard(table(False), factor)


def test_a_table_without_gradient_cannot_be_damped():
    layer = table(False)
    layer.weight.requires_grad_(False)
    with pytest.raises(ValueError, match="no gradient"):
        GradientGuard(layer, 0.1)


def train(layer, auto_fix, lr, log=None):
    """Noisy targets: at a high learning rate the rows circle."""
    optimizer = torch.optim.SGD(layer.parameters(), lr=lr)
    tracker = EmbeddingTracker(layer, "item_emb", auto_fix=auto_fix, log=log)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        for _ in range(20):
            ids = torch.randint(6, (40,), generator=generator)
            noise = torch.randn(40, 3, generator=generator)
            optimizer.zero_grad()
            (layer(ids) - 1 - noise).square().sum().div(40).backward()
            optimizer.step()
            tracker.step()
        tracker.end_epoch()
    tracker.detach()
    return tracker


def test_rows_that_circle_are_damped_and_it_is_logged(tmp_path):
    layer, free = table(False), table(False)
    tracker = train(layer, True, lr=6.0, log=tmp_path / "log.csv")
    train(free, False, lr=6.0)
    assert tracker.interventions
    assert len((tmp_path / "log.csv").read_text().splitlines()) == len(tracker.interventions) + 1
    assert not torch.equal(layer.weight, free.weight)
    assert not layer.weight._backward_hooks


def test_where_nothing_circles_training_is_undisturbed():
    layer, free = table(False), table(False)
    assert not train(layer, True, lr=0.001).interventions
    train(free, False, lr=0.001)
    assert torch.equal(layer.weight, free.weight)
