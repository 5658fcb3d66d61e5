"""Parameters beside the watched model that the loss leads to: left out of every optimizer, or somebody else's."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import flowgrad

KIND = "PARAMETERS_OUTSIDE_NOT_TRAINED"


def rows(count=64):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(count, 10, generator=random)
    return x, (x[:, 0] > 0).long()


def train(head, *, stepped=False, told=lambda loss: loss, inputs_learn=False, whole=False, frozen=False):
    """Train a body whose loss goes through a head of its own."""
    torch.manual_seed(0)
    body, (x, y) = nn.Sequential(nn.Linear(10, 8), nn.ReLU()), rows()
    own = [torch.optim.SGD(body.parameters(), 0.05)]
    if stepped:
        own.append(torch.optim.SGD(head.parameters(), 0.05))
    head.requires_grad_(not frozen)
    watch = flowgrad.watch([body, head] if whole else body, own[0])
    for _ in range(40):
        given = x.clone().requires_grad_(inputs_learn)
        loss = F.cross_entropy(head(body(given)), y)
        for one in own:
            one.zero_grad()
        loss.backward()
        for one in own:
            one.step()
        watch.log(loss=told(loss))
    return watch


def asked(watch):
    return next((one for one in watch.findings() if one.type == KIND), None)


@pytest.fixture
def head():
    torch.manual_seed(1)
    return nn.Linear(8, 2)


def test_a_head_in_no_optimizer_is_asked_about(head):
    """The class weights of a margin loss were given to no optimizer, and nothing was said of them."""
    watch = train(head, inputs_learn=True)
    found = asked(watch)
    assert (found.severity, found.fix, found.candidates[0].cause) == ("medium", None, "LEFT_OUT_OF_THE_OPTIMIZER")
    assert found.measured["outside_tensors"] == found.measured["outside_still"] == 2
    assert "leads to 2 tensors" in watch.report()
    assert asked(pickle.loads(pickle.dumps(watch.network))) is not None


@pytest.mark.parametrize("settings", [{"stepped": True}, {"frozen": True}, {"told": lambda loss: loss.item()}])
def test_heads_that_are_trained_elsewhere_or_frozen_are_let_alone(head, settings):
    watch = train(head, **settings)
    assert asked(watch) is None
    assert ("leads to 2 tensors" in watch.report()) == ("stepped" in settings)


def test_a_head_that_is_watched_is_no_outsider(head):
    assert train(head, whole=True).network.measurements().scalars["outside_tensors"] == 0


def test_a_network_that_only_judges_is_a_lesser_question():
    """Features of a trained network are compared; it was not frozen, which costs time alone."""
    judge = nn.Linear(8, 40)
    with torch.no_grad():  # far from what initialisers draw
        judge.weight.copy_(torch.randn(40, 8) ** 3)
        judge.bias.copy_(torch.randn(40) ** 3)
    assert asked(train(judge)).severity == "low"


def test_a_checkpoint_keeps_what_was_seen(head):
    watch = train(head)
    body = nn.Sequential(nn.Linear(10, 8), nn.ReLU())
    again = flowgrad.watch(body, torch.optim.SGD(body.parameters(), 0.05))
    again.load_state_dict(copy.deepcopy(watch.state_dict()))
    assert asked(again) is not None
