"""Optimizers as trackers are told them: wrapped, several, and with groups that say other things than PyTorch's."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from flowgrad import DistillationTracker, EmbeddingTracker
from flowgrad.rules import RuleBook
from flowgrad.trackers.optimizers import Optimizers

BOOK = RuleBook.load()


class Own(torch.optim.Optimizer):
    """An optimizer of somebody's own, which names its rate otherwise."""

    def __init__(self, parameters, **group):
        super().__init__(parameters, {"step_size": 0.1, **group})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.add_(weight.grad, alpha=-group["step_size"])


class Lion(Own):
    """Moves by signs; its groups have betas and no eps."""

    def __init__(self, parameters):
        super().__init__(parameters, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0)


class Wrapper:
    """Steps an optimizer that it holds, as Accelerate's does, and has no step hooks."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    def __getattr__(self, name):
        if name in ("param_groups", "zero_grad"):
            return getattr(self.optimizer, name)
        raise AttributeError(name)

    def step(self):
        self.optimizer.step()


def student():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 4))


def distilled(made, steps=40):
    torch.manual_seed(0)
    teacher, pupil = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 4)), student()
    optimizer, given = made(pupil)
    tracker = DistillationTracker(teacher, pupil, optimizer=given, rules=BOOK)
    for _ in range(steps):
        x = torch.randn(32, 6)
        with torch.no_grad():
            answers = teacher(x)
        loss = (pupil(x) - answers).square().mean()
        for one in optimizer:
            one.zero_grad()
        loss.backward()
        for one in optimizer:
            one.step()
        tracker.step(loss, loss)
    tracker.to_agent_xml()
    return tracker


def embedded(made):
    torch.manual_seed(0)
    layer, head = nn.Embedding(50, 8), nn.Linear(8, 1)
    optimizer = made([layer.weight, *head.parameters()])
    tracker = EmbeddingTracker(layer, "table", BOOK, optimizer=optimizer)
    for _ in range(20):
        loss = head(layer(torch.randint(50, (16,)))).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        tracker.step()
    tracker.to_agent_xml()
    return tracker.measurements().scalars


@pytest.mark.parametrize("group", [{}, {"lr": None}, {"lr": "auto"}])
def test_a_group_without_a_rate_does_not_end_training(group):
    """`step()` of the tracker raised KeyError in the middle of training, and the report TypeError."""
    scalars = embedded(lambda weights: Own(weights, **group))
    assert math.isnan(scalars["lr"])
    assert math.isnan(scalars["lr_rising"])
    assert math.isnan(scalars["weight_decay"])
    assert scalars["in_optimizer"] == 1

    def made(pupil):
        optimizer = Own(pupil.parameters(), **group)
        return [optimizer], optimizer

    tracker = distilled(made)
    assert math.isnan(tracker.measurements().scalars["rate_levels"])
    assert tracker.measurements().scalars["left_out_layers"] == 0


def test_a_rate_that_is_a_tensor_is_read():
    assert embedded(lambda w: torch.optim.Adam(w, lr=torch.tensor(0.25)))["lr"] == 0.25


def test_every_tracker_takes_the_same_optimizers_for_adaptive():
    """By its `eps`, one tracker took Lion for plain descent, and one for adaptive by its betas."""
    weights = [torch.ones(2, requires_grad=True)]
    assert Optimizers(Lion(weights), "t").facts()["optimizer_adaptive"] == 1
    assert embedded(Lion)["adaptive"] == 1
    assert embedded(lambda w: torch.optim.SGD(w, lr=0.1))["adaptive"] == 0


def wrapped(pupil):
    inner = Wrapper(torch.optim.Adam(pupil.parameters(), 1e-3))
    return [inner], inner


def two(pupil):
    pair = [torch.optim.Adam(pupil[0].parameters(), 1e-3), torch.optim.Adam(pupil[2].parameters(), 1e-3)]
    return pair, pair


def two_wrapped(pupil):
    pair = [Wrapper(one) for one in two(pupil)[0]]
    return pair, pair


@pytest.mark.parametrize("made", [wrapped, two, two_wrapped])
def test_wrapped_optimizers_and_several_are_opened(made):
    """The tracker raised a bare AttributeError where the optimizer was wrapped, or a list."""
    tracker = distilled(made)
    scalars = tracker.measurements().scalars
    assert scalars["left_out_layers"] == scalars["elsewhere_layers"] == 0
    assert scalars["live_layers"] == scalars["moving_layers"] == 2
    assert scalars["rate_levels"] == 1
    assert not tracker.measurements().coverage.blind
    tracker.detach()


@pytest.mark.parametrize("optimizer", [5, "adam", [5]])
def test_something_else_than_an_optimizer_is_refused(optimizer):
    with pytest.raises(TypeError, match="has no step hooks"):
        DistillationTracker(student(), student(), optimizer=optimizer)


def test_a_wrapped_optimizer_is_opened_for_a_table():
    assert embedded(lambda w: Wrapper(torch.optim.Adam(w, lr=0.125)))["lr"] == 0.125


def test_which_tensors_an_optimizer_steps_is_known_again_after_a_group_was_added():
    """Found once and kept; a group that is added later takes its tensors from whoever stood in for them."""
    weights = [nn.Parameter(torch.ones(2)) for _ in range(3)]
    first, second = (torch.optim.SGD([weight], lr=0.1) for weight in weights[:2])
    both = Optimizers([first, second], "t")
    assert [both.share_of(one, weights) for one in (first, second)] == [[0, 2], [1]]
    second.add_param_group({"params": [weights[2]]})
    assert [both.share_of(one, weights) for one in (second, first)] == [[1, 2], [0]]
