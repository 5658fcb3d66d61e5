"""Whether outputs tell of the targets of their rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import flowgrad
from flowgrad.measures.telling import telling_facts, telling_figures


def looks(count, outputs, targets):
    facts = [telling_facts(outputs(k), targets(k)) for k in range(count)]
    return telling_figures([one["telling"] for one in facts], [one["telling_variance"] for one in facts])


def score(count, outputs, targets):
    return looks(count, outputs, targets)["outputs_tell_z"]


@given(seed=st.integers(0, 10_000), classes=st.sampled_from([0, 2, 10]))
def test_outputs_that_know_nothing_stay_within_chance(seed, classes):
    random = np.random.default_rng(seed)
    if classes:
        found = score(20, lambda _: random.normal(size=(32, classes)), lambda _: random.integers(0, classes, 32))
    else:
        found = score(20, lambda _: random.normal(size=32), lambda _: random.normal(size=(32, 1)))
    assert abs(found) < 5.5  # 2e-8 of standard scores lie beyond


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e6])
@pytest.mark.parametrize("classes", [0, 10])
def test_outputs_that_follow_their_targets_are_told_whatever_their_scale(classes, scale):
    random = np.random.default_rng(0)
    y = random.integers(0, classes or 2, (20, 64))
    if classes:
        outputs = scale * (0.5 * np.eye(classes)[y] + random.normal(size=(20, 64, classes)))
    else:
        outputs = scale * (0.6 * y + random.normal(size=y.shape) + np.arange(20)[:, None])
    assert score(20, lambda k: outputs[k], lambda k: y[k]) > 6


def test_what_cannot_be_compared_is_not_known():
    rows = np.zeros((8, 3))
    assert (
        telling_facts(rows, None)
        == telling_facts(rows, np.zeros((8, 5)))
        == telling_facts(rows[:4], np.arange(4))
        == {}
    )
    assert telling_facts(np.zeros(8), np.arange(8.0)) == {}
    assert telling_figures([], []) == {}


@pytest.mark.parametrize(("told", "signal"), [(True, True), (True, False), (False, False)])
def test_a_loss_of_little_signal_is_not_said_to_learn_nothing(told, signal):
    """The loss of clicks falls by less than single batches differ; outputs follow the clicks."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(12_000, 4, generator=random)
    clicks = torch.bernoulli((0.8 * x[:, 0] * signal).sigmoid(), generator=random)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    watch = flowgrad.watch(model, optimizer)
    for rows in torch.arange(12_000).split(48):
        out = model(x[rows])[:, 0]
        loss = F.binary_cross_entropy_with_logits(out, clicks[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        batch = {"inputs": x[rows], "targets": clicks[rows], "outputs": out} if told else {}
        watch.log(loss=loss, **batch)
    watch.detach()
    assert ("NO_LEARNING" in {one.type for one in watch.findings()}) == (not signal)
