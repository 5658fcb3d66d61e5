"""Losses that swing, rise or go below zero: what is asked, and what is not claimed, beside sound neighbours."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import flowgrad

CLAIMS = {"OVERFITTING", "TRAINING_CUT_SHORT", "SLOW_CONVERGENCE", "DIVERGENCE", "LEARNING_RATE_TOO_HIGH"}


def by_type(watch):
    """Findings by type, the most severe of each."""
    ranks = ("info", "low", "medium", "high", "critical")
    return {one.type: one for one in sorted(watch.findings(), key=lambda one: ranks.index(one.severity))}


def claimed(watch):
    """Types of findings that claim a cause by themselves."""
    return {one.type for one in watch.findings() if not one.candidates and not one.follows} & CLAIMS


def causes(finding):
    return {candidate.cause for candidate in finding.candidates}


def rows(count, seed):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 10, generator=random) + 2
    return x, (x[:, :3].sum(1) + torch.randn(count, generator=random) > 6).long()


def normalised(momentum, held_out):
    """A watched training of a network with batch normalisation of this momentum, with validation losses as given."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 16), nn.BatchNorm1d(16, momentum=momentum), nn.ReLU(), nn.Linear(16, 2))
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    x, y = rows(128, 1)
    watch = flowgrad.watch(model, optimizer)
    for value in held_out:
        for k in torch.randperm(128).split(16):
            loss = F.cross_entropy(model(x[k]), y[k])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.log(loss=loss)
        watch.log(val_loss=value)
        watch.end_epoch()
    watch.detach()
    return watch


SWINGS = [0.96, 0.56, 0.49, 0.66, 0.86, 0.28, 1.05, 0.75, 0.44, 0.21]
FALLS = [0.96, 0.8, 0.68, 0.6, 0.53, 0.47, 0.42, 0.37, 0.32, 0.27]


@pytest.mark.parametrize(
    ("momentum", "held_out", "severity"),
    [(0.99, SWINGS, "medium"), (0.99, FALLS, "low"), (0.1, SWINGS, None)],
)
def test_a_validation_that_swings_with_the_last_batch_is_asked_about_first(momentum, held_out, severity):
    """A swing down in the last epochs was called a training cut short; the momentum was a low question below it."""
    watch = normalised(momentum, held_out)
    found = by_type(watch)
    momentum = found.get("BATCH_STATISTICS_OF_LAST_BATCH")
    assert (momentum and momentum.severity) == severity
    assert ("TRAINING_CUT_SHORT" in claimed(watch)) == (severity is None)
    assert severity is None or found["TRAINING_CUT_SHORT"].follows == "BATCH_STATISTICS_OF_LAST_BATCH"


def tuned(*, rate, frozen=True):
    """A watched training of a small head, drawn small, on a body of which all is frozen or nothing."""
    random = torch.Generator().manual_seed(3)
    body = nn.Sequential(nn.Linear(32, 128), nn.Tanh(), nn.Linear(128, 32), nn.Tanh())
    head = nn.Linear(32, 2)
    for one in (*body.parameters(), *head.parameters()):
        nn.init.normal_(one, 0, 0.1 if one.shape[0] == 2 else 0.2, generator=random)
    body.requires_grad_(not frozen)
    model = nn.Sequential(body, head)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], rate)
    x = torch.randn(256, 32, generator=random)
    with torch.no_grad():
        score = body(x)[:, :4].sum(1) + torch.randn(256, generator=random)
    y = (score > score.median()).long()
    watch = flowgrad.watch(model, optimizer)
    for _ in range(8):
        for k in torch.randperm(256, generator=random).split(16):
            loss = F.cross_entropy(model(x[k]), y[k])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.log(loss=loss)
        watch.end_epoch()
    watch.detach()
    return watch


@pytest.mark.parametrize(
    ("settings", "claim"),
    [({"rate": 0.02}, False), ({"rate": 0.3}, True), ({"rate": 0.1, "frozen": False}, True)],
)
def test_long_first_steps_of_a_small_head_are_no_rate_too_high_unless_the_loss_suffers(settings, claim):
    """Prompts tuned at the usual rate of prompts were told to take a tenth of it, over a bump of a few batches."""
    watch = tuned(**settings)
    assert ("LEARNING_RATE_TOO_HIGH" in claimed(watch)) == claim
    if not claim:
        found = by_type(watch)
        assert found["LARGE_STEPS_OF_SMALL_WEIGHTS"].severity == "low"
        assert found["LEARNING_RATE_TOO_HIGH"].follows == "LARGE_STEPS_OF_SMALL_WEIGHTS"


def told(train, held_out=None, *, optimizers=1, rate=1e-3):
    """A watch that is told these losses of its epochs, while a small network takes steps of a usual size."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    groups = [list(model[0].parameters()), list(model[2].parameters())] if optimizers == 2 else [model.parameters()]
    steppers = [torch.optim.Adam(group, rate) for group in groups]
    watch = flowgrad.watch(model, steppers if optimizers == 2 else steppers[0])
    noise = torch.Generator().manual_seed(1)
    for epoch, value in enumerate(train):
        for _ in range(24):
            x = torch.randn(16, 8)
            loss = (model(x) - x[:, :1]).square().mean()
            for one in steppers:
                one.zero_grad()
            loss.backward()
            for one in steppers:
                one.step()
            watch.log(loss=value + 0.02 * float(torch.randn((), generator=noise)))
        if held_out:
            with torch.no_grad():
                model(x)
            watch.log(val_loss=held_out[epoch])
        watch.end_epoch()
    watch.detach()
    return watch


DOWN = [4.0, 3.0, 2.3, 1.8, 1.4, 1.1, 0.9, 0.7, 0.6, 0.5]
UP_AGAIN = [4.2, 3.4, 3.0, 3.1, 3.3, 3.5, 3.7, 3.9, 4.1, 4.3]


@pytest.mark.parametrize(
    ("offset", "severity", "causes_named"),
    [(0.0, "medium", set()), (-3.5, "low", {"LEARNED_WEIGHTS_IN_THE_LOSS", "OVERFITTING", "SURER_ANSWERS"})],
)
def test_a_validation_loss_below_zero_that_rises_is_a_question(offset, severity, causes_named):
    """Sums whose weights are learned went below zero and up again, every answer better: overfitting, with a change."""
    found = by_type(told([one + offset for one in DOWN], [one + offset for one in UP_AGAIN]))
    kind = "VALIDATION_LOSS_RISES" if causes_named else "OVERFITTING"
    assert found[kind].severity == severity
    assert causes(found[kind]) == causes_named
    assert ("OVERFITTING" in found) != bool(causes_named)


UP = [4.0, 5.4, 5.8, 6.1, 6.4, 6.6, 6.7, 6.8, 6.9, 6.9]
FAR_UP = [1.2, 1.5, 1.9, 2.3, 2.7, 3.1, 3.5, 3.9, 4.2, 4.5]


@pytest.mark.parametrize(
    ("train", "optimizers", "asked"),
    [
        (UP, 1, "LOSS_ENDS_ABOVE_ITS_START"),
        (UP, 2, "LOSS_OF_ONE_OF_SEVERAL_RISES"),
        (DOWN, 1, None),
        (DOWN, 2, None),
        ([4.0, *UP[::-1]], 1, None),
        ([one - 4.5 for one in UP], 1, None),
    ],
)
def test_a_loss_that_ends_above_its_start_is_asked_about_once(train, optimizers, asked):
    """A contrastive training collapsed and its loss rose to the logarithm of the choices: it was said to be healthy."""
    found = by_type(told(train, optimizers=optimizers))
    found = {kind: one for kind, one in found.items() if "RISES" in kind or "ABOVE" in kind}
    assert set(found) == ({asked} if asked else set())
    assert all(one.severity == "low" and len(one.candidates) >= 3 and not one.plain for one in found.values())


@pytest.mark.parametrize(("optimizers", "rate", "claim"), [(2, 1e-3, False), (2, 1.0, True), (1, 1e-3, True)])
def test_the_loss_of_one_of_two_that_play_against_each_other_does_not_diverge(optimizers, rate, claim):
    """A generator's loss rose as its critic won, by steps of a usual size: a tenth of the rate was prescribed."""
    watch = told(FAR_UP, optimizers=optimizers, rate=rate)
    assert bool({"DIVERGENCE", "LEARNING_RATE_TOO_HIGH"} & claimed(watch)) == claim
    found = by_type(watch)
    assert found["DIVERGENCE"].severity == ("critical" if rate < 1 and claim else "low")
    if not claim:
        assert "TERM_CUT_OFF" in causes(found["LOSS_OF_ONE_OF_SEVERAL_RISES"])
    assert "LOSS_ENDS_ABOVE_ITS_START" not in found or found["LOSS_ENDS_ABOVE_ITS_START"].follows
