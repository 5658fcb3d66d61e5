"""Mistakes that leave a loss that looks right, each beside a sound habit that resembles it."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import flowgrad

HELD_OUT = 4


def rows(count=256, width=10, seed=0):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(count, width, generator=random)
    return x, (x[:, :3].sum(1) > 0).long()


def net(*, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 2))


def types(watch):
    return {found.type for found in watch.findings()}


def found(watch, kind):
    return next((one for one in watch.findings() if one.type == kind), None)


def causes(finding):
    return [candidate.cause for candidate in finding.candidates]


def train(model, *, lr=0.01, epochs=6, schedule=None, validated=None, after=lambda: None):
    """A watched training of a classifier, validated by the model itself or by another one."""
    x, y = rows()
    optimizer = torch.optim.Adam(model.parameters(), lr)
    scheduler = None if schedule is None else torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    watch = flowgrad.watch(model, optimizer)
    for _ in range(epochs):
        for k in range(0, 192, 32):
            loss = F.cross_entropy(model(x[k : k + 32]), y[k : k + 32])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            after()
            if scheduler is not None:
                scheduler.step()
            watch.log(loss=loss)
        with torch.no_grad():
            watch.log(val_loss=F.cross_entropy((validated or model)(x[192:]), y[192:]).item())
        watch.end_epoch()
    watch.detach()
    return watch


def averaged(decay):
    """An average of the weights of a model beside it, and what moves it after a step."""
    model = net()
    average = copy.deepcopy(model)

    def move():
        with torch.no_grad():
            for own, trained in zip(average.parameters(), model.parameters(), strict=True):
                own.lerp_(trained, 1 - decay)

    return model, average, move


def test_a_validated_average_that_lags_is_asked_about():
    """An average of decay .9999 next to its start was validated, and nothing was said."""
    model, average, move = averaged(0.9999)
    watch = train(model, epochs=8, validated=average, after=move)
    assert causes(found(watch, "VALIDATION_STANDS_STILL"))[0] == "AVERAGE_LAGS"


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_an_average_that_follows_is_validated_in_silence(decay):
    model, average, move = averaged(decay)
    assert "VALIDATION_STANDS_STILL" not in types(train(model, epochs=8, validated=average, after=move))


@pytest.mark.parametrize(("schedule", "claimed"), [(None, True), (lambda step: 1.0 if step < 20 else 0.4, False)])
def test_what_falls_while_the_rate_descends_is_not_claimed_to_be_cut_short(schedule, claimed):
    """More epochs were prescribed to a run whose schedule had just come to its end."""
    watch = train(net(), lr=0.02, epochs=4, schedule=schedule)
    cut = {one.type: one for one in watch.findings()}
    assert ("TRAINING_CUT_SHORT" in cut or "SLOW_CONVERGENCE" in cut) == claimed
    if not claimed:
        assert not cut["STILL_IMPROVING"].plain
        assert "RATE_DESCENDS" in {cause for one in watch.findings() for cause in causes(one)}


def streams(*, time_first, aligned=True):
    """Batches of tokens and the tokens that come next, of streams that are read side by side."""
    random = torch.Generator().manual_seed(0)
    tokens = (torch.rand(6, 401, generator=random) ** 2 * 12).long()
    tokens[:, 1::2] = (tokens[:, :-1:2] + 1) % 12
    others = tokens if aligned else tokens[:, torch.randperm(401, generator=random)]
    for k in range(0, 400, 20):
        x, y = tokens[:, k : k + 20], others[:, k + 1 : k + 21]
        yield (x.T, y.T) if time_first else (x, y)


@pytest.mark.parametrize(("time_first", "aligned"), [(True, True), (False, True)])
def test_tokens_that_come_next_belong_to_their_rows_whatever_the_axis_of_time(time_first, aligned):
    """Of time-first streams, each row is a moment: rows of targets were said not to belong to their rows."""
    batches = flowgrad.BatchTracker()
    for x, y in streams(time_first=time_first, aligned=aligned):
        batches.step(x, y)
    assert "TARGETS_NOT_OF_THEIR_ROWS" not in types(batches)
    assert math.isnan(batches.summary()["sequence_agreement"]) == time_first
