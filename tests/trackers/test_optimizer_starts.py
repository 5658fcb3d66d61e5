"""The first steps of RMSprop are longer than later ones by a factor that says nothing of its rate."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_wine
from torch import nn

import flowgrad
from flowgrad.trackers.optimizers import Optimizers


def steps_of(optimizer, parameter, count):
    """Length of each step where every gradient is 1."""
    lengths = []
    for _ in range(count):
        before = parameter.detach().clone()
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        lengths.append(float((parameter.detach() - before).norm()))
    return np.array(lengths)


@given(st.floats(0.5, 0.999), st.integers(0, 30))
def test_without_the_factor_all_steps_are_of_one_length(alpha, before):
    """Also where the optimizer has stepped before it was given."""
    weight = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = torch.optim.RMSprop([weight], lr=0.1, alpha=alpha, eps=1e-12)
    steps_of(optimizer, weight, before)
    known = Optimizers(optimizer, "test")
    lengths = steps_of(optimizer, weight, 20)
    factors = known.starts([weight], np.arange(1, 21), 20)
    np.testing.assert_allclose(lengths / factors[:, 0], 0.1 * 3**0.5, rtol=1e-6)


@pytest.mark.parametrize("made", [torch.optim.Adam, torch.optim.SGD, torch.optim.Adagrad, torch.optim.RMSprop])
def test_others_and_tensors_that_it_does_not_hold_have_none(made):
    weights = [nn.Parameter(torch.zeros(2)) for _ in range(2)]
    factors = Optimizers(made(weights[:1], lr=0.1), "test").starts(weights, np.arange(1, 4), 3)
    assert factors.shape == (3, 2)
    assert (factors[:, 1] == 1).all()
    assert (factors[:, 0] == 1).all() == (made is not torch.optim.RMSprop)


def trained(rate, *, seed=0, epochs=30):
    """Train a small classifier of real data by RMSprop; returns its watch, and its loss on rows held out."""
    x, y = load_wine(return_X_y=True)
    x, y = torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32), torch.tensor(y)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, held_out = order[:124], order[124:]
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(13, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    optimizer = torch.optim.RMSprop(model.parameters(), lr=rate)
    watch = flowgrad.watch(model, optimizer)
    for _ in range(epochs):
        for batch in train[torch.randperm(len(train))].split(64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
            watch.log(loss=loss.detach())
        watch.end_epoch()
    with torch.no_grad():
        return watch, float(nn.functional.cross_entropy(model(x[held_out]), y[held_out]))


def told(watch):
    return {finding.type for finding in watch.findings()}


@pytest.mark.parametrize("rate", [0.001, 0.003])
def test_a_usual_rate_is_not_too_high(rate):
    watch, loss = trained(rate)
    assert loss < 0.4
    assert not told(watch) & {"LEARNING_RATE_TOO_HIGH", "UPDATES_TOO_LARGE", "DIVERGENCE"}


def test_a_rate_that_ruins_the_model_is():
    watch, loss = trained(0.1)
    assert loss > 3
    assert "LEARNING_RATE_TOO_HIGH" in told(watch)
