"""Validation of another model than the trained one, and chance in evaluation, each beside sound loops."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import flowgrad
from tests.watching.test_silent_mistakes import causes, found, rows


def normalised(*, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(10, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 2))


@pytest.mark.parametrize(("takes_buffers", "asked"), [(False, True), (True, False)])
def test_a_validated_average_without_running_statistics_is_no_overfitting(takes_buffers, asked):
    """CuriousAI/mean-teacher #9: an average of the weights kept the statistics that BatchNorm began with, and the rise
    of its validation loss was told to be overfitting, with a change.
    """
    model = normalised()
    average = copy.deepcopy(model).eval()
    x, y = rows()
    x = 20 * x
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    watch = flowgrad.watch(model, optimizer)
    for _ in range(16):
        for k in range(0, 192, 32):
            loss = F.cross_entropy(model(x[k : k + 32]), y[k : k + 32])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.log(loss=loss)
            with torch.no_grad():
                for own, trained in zip(average.parameters(), model.parameters(), strict=True):
                    own.lerp_(trained, 0.5)
                for own, trained in zip(average.buffers(), model.buffers(), strict=True):
                    own.copy_(trained if takes_buffers else own)
        with torch.no_grad():
            watch.log(val_loss=F.cross_entropy(average(x[192:]), y[192:]).item())
        watch.end_epoch()
    watch.detach()
    said = found(watch, "ANOTHER_MODEL_VALIDATED")
    assert (said is not None) == asked
    assert not asked or causes(said)[0] == "AVERAGE_LACKS_STATISTICS"
    assert all(one.follows for one in watch.findings() if one.type in {"OVERFITTING", "VALIDATION_UNLIKE_TRAINING"})


def memorising(*, drop, epochs):
    """A watched training that learns wrong labels by heart."""
    x, y = rows()
    y = torch.where(torch.arange(len(y)) % 3 == 0, 1 - y, y)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Dropping(drop)
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        watch = flowgrad.watch(model, optimizer)
        for _ in range(epochs):
            model.train()
            for k in range(0, 192, 32):
                loss = F.cross_entropy(model(x[k : k + 32]), y[k : k + 32])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                watch.log(loss=loss)
            model.eval()
            with torch.no_grad():
                for k in (192, 224):
                    held_out = model(x[k : k + 32])
                    watch.log(val_loss=F.cross_entropy(held_out, y[k : k + 32]).item())
            watch.end_epoch()
    watch.detach()
    return watch


class Dropping(nn.Module):
    """A network that drops by a function."""

    def __init__(self, drop):
        super().__init__()
        self.first, self.last, self.drop = nn.Linear(10, 128), nn.Linear(128, 2), drop

    def forward(self, x):
        return self.last(self.drop(F.relu(self.first(x)), self.training))


@pytest.mark.parametrize(
    ("drop", "said"),
    [
        (lambda x, training: F.dropout(x, 0.3), True),
        (lambda x, training: F.dropout(x, 0.3, training=training), False),
        (lambda x, training: x, False),
    ],
)
def test_dropout_that_goes_on_in_evaluation_is_asked_about(drop, said):
    """delip/PyTorchNLPBook #28: F.dropout without training= cost ten points of accuracy, and the report was healthy."""
    asked = found(memorising(drop=drop, epochs=4), "DROPOUT_OR_NOISE_IN_EVALUATION")
    assert (asked is not None) == said
    assert not said or causes(asked)[0] == "DROPOUT_IN_EVALUATION"


def test_overfitting_of_the_model_that_is_validated_stays_claimed():
    kinds = {one.type: one for one in memorising(drop=lambda x, training: x, epochs=40).findings()}
    assert "ANOTHER_MODEL_VALIDATED" not in kinds
    assert "OVERFITTING" in kinds
    assert not kinds["OVERFITTING"].follows
