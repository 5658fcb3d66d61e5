"""Runs in which nothing can be learned, and the healthy loops next to them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from flowgrad import FlowTracker
from flowgrad.report import NOT_OBSERVED
from flowgrad.rules import RuleBook
from flowgrad.testing import seeded

RULES = RuleBook.load()
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(512, 12, generator=GENERATOR)
Y = (X @ torch.randn(12, generator=GENERATOR) / 3).unsqueeze(1) + 0.3 * torch.randn(512, 1, generator=GENERATOR)
BATCHES = [torch.randint(512, (32,), generator=GENERATOR) for _ in range(200)]


def perceptron(depth=2, activation=nn.ReLU):
    with seeded():
        inner = [layer for _ in range(depth - 1) for layer in (nn.Linear(32, 32), activation())]
        return nn.Sequential(nn.Linear(12, 32), activation(), *inner, nn.Linear(32, 1))


def train(step, model=None, make=None, inputs=X, steps=120, **options):
    model = perceptron() if model is None else model
    optimizer = (make or (lambda p: torch.optim.AdamW(p, lr=2e-3)))(model.parameters())
    tracker = FlowTracker(model, optimizer, rules=RULES, **options)
    for batch in BATCHES[:steps]:
        loss = step(model, optimizer, inputs[batch], Y[batch])
        tracker.step(loss.detach())
    return tracker


def plain(model, optimizer, x, y):
    optimizer.zero_grad()
    loss = F.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    return loss


def cleared(model, optimizer, x, y):
    loss = F.mse_loss(model(x), y)
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    return loss


def cleared_to_zeros(model, optimizer, x, y):
    loss = F.mse_loss(model(x), y)
    loss.backward()
    for parameter in model.parameters():
        parameter.grad.zero_()
    optimizer.step()
    return loss


def step_first(model, optimizer, x, y):
    optimizer.zero_grad(set_to_none=False)
    optimizer.step()
    loss = F.mse_loss(model(x), y)
    loss.backward()
    return loss


def step_first_without_tensors(model, optimizer, x, y):
    optimizer.zero_grad()
    optimizer.step()
    loss = F.mse_loss(model(x), y)
    loss.backward()
    return loss


def detached(model, optimizer, x, y):
    optimizer.zero_grad()
    with torch.no_grad():
        loss = F.mse_loss(model(x), y)
    optimizer.step()
    return loss


def constant(model, optimizer, x, y):
    optimizer.zero_grad()
    loss = F.mse_loss(model(x), y) * 0 + 1
    loss.backward()
    optimizer.step()
    return loss


def types(tracker):
    return {finding.type for finding in tracker.findings()}


SGD = staticmethod(lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3))


@pytest.mark.parametrize("make", [None, SGD.__func__])
@pytest.mark.parametrize("step", [cleared, cleared_to_zeros, step_first, step_first_without_tensors])
def test_gradients_that_are_gone_when_the_optimizer_steps_are_named_alone(step, make):
    """Such runs were silent or said to have dead units."""
    tracker = train(step, make=make)
    assert types(tracker) == {"PARAMETERS_WITHOUT_GRADIENT"}
    (found,) = tracker.findings()
    assert (found.rule_id, found.severity, found.candidates) == ("no_gradient_at_any_step", "critical", ())
    assert "between backward and step" in found.implies


def test_without_a_gradient_from_backward_the_cause_is_open():
    tracker = train(detached)
    (found,) = [one for one in tracker.findings() if one.rule_id == "no_gradient_at_any_step"]
    assert {"LOSS_DETACHED", "LOSS_CONSTANT", "CLEARED_BEFORE_THE_STEP"} <= {one.cause for one in found.candidates}
    assert types(tracker) == {"PARAMETERS_WITHOUT_GRADIENT"}


def dead_at_the_end():
    model = nn.Sequential(*perceptron(), nn.ReLU())
    with torch.no_grad():
        model[-2].bias.fill_(-9)
    return model


@pytest.mark.parametrize(("step", "model"), [(constant, None), (plain, dead_at_the_end())])
def test_a_backward_pass_that_brings_zeros_alone_is_not_taken_for_one_that_is_cleared(step, model):
    """A ReLU at the end that was never on had the clearing of gradients asked about first."""
    tracker = train(step, model)
    (found,) = [one for one in tracker.findings() if one.type == "PARAMETERS_WITHOUT_GRADIENT"]
    assert found.rule_id == "gradients_of_zeros"
    causes = [one.cause for one in found.candidates]
    assert causes[:2] == ["OUTPUT_UNITS_DEAD", "LOSS_CONSTANT"]
    assert "CLEARED_BEFORE_THE_STEP" not in causes
    assert ("one value for all rows" in found.premise) == (model is not None)


@pytest.mark.parametrize("make", [None, SGD.__func__, lambda p: torch.optim.SGD(p, lr=1e-3)])
def test_healthy_orders_are_left_alone(make):
    def cleared_after(model, optimizer, x, y):
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    for step in (plain, cleared_after):
        assert "PARAMETERS_WITHOUT_GRADIENT" not in types(train(step, make=make))


@pytest.mark.parametrize("parts", [4, 8])
@pytest.mark.parametrize("every", [True, False])
def test_gradients_that_are_cleared_at_every_part_of_a_step_are_asked_about(parts, every):
    """Seven of eight parts of each step were lost, and the run was called healthy."""

    def accumulated(model, optimizer, x, y):
        optimizer.zero_grad()
        for part in range(parts):
            if every:
                optimizer.zero_grad()
            loss = F.mse_loss(model(x[part::parts]), y[part::parts])
            (loss / parts).backward()
        optimizer.step()
        return loss

    found = [one for one in train(accumulated).findings() if one.type == "GRADIENTS_CLEARED_UNUSED"]
    assert [one.candidates[0].cause for one in found] == ["CLEARED_AT_EVERY_PART"] * every


def test_few_steps_without_a_gradient_say_nothing():
    assert train(cleared, steps=5).to_report().status == NOT_OBSERVED


def test_the_count_of_gradients_that_arrived_survives_a_checkpoint():
    tracker = train(cleared, steps=20)
    other = FlowTracker(tracker.model, tracker.optimizer, rules=RULES)
    other.load_state_dict(tracker.state_dict())
    assert other.measurements().scalars["gradients_arrived"] == tracker.measurements().scalars["gradients_arrived"] > 8


def test_gradients_that_are_tiny_everywhere_do_not_vanish_with_depth():
    """Clipping before unscaling was called vanishing gradients, with a fix."""

    def clipped(model, optimizer, x, y):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        (loss * 65536).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for parameter in model.parameters():
            parameter.grad /= 65536
        optimizer.step()
        return loss

    tracker = train(clipped, make=lambda p: torch.optim.SGD(p, lr=0.05))
    assert "VANISHING_GRADIENTS" not in types(tracker)
    (found,) = [one for one in tracker.findings() if one.type == "GRADIENTS_TINY"]
    assert found.fix is None
    assert "CLIPPED_OR_SCALED_DOWN" in {one.cause for one in found.candidates}


def test_tiny_inputs_are_no_vanishing_gradients():
    tracker = train(plain, inputs=X * 1e-4)
    assert "VANISHING_GRADIENTS" not in types(tracker)


@pytest.mark.parametrize("how", ["sigmoid", "small"])
def test_gradients_that_fade_on_their_way_are_claimed(how):
    model = perceptron(8, nn.Sigmoid) if how == "sigmoid" else perceptron(5)
    if how == "small":
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(0.2)
    assert "VANISHING_GRADIENTS" in types(train(plain, model))


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_inputs_that_are_all_alike_are_named(value):
    """They were called inputs of another size, with standardising as the fix."""
    inputs = torch.full_like(X, value)
    tracker = train(plain, inputs=inputs)
    tracker.observe_inputs(inputs)
    assert "CONSTANT_INPUTS" in types(tracker)
    assert "UNNORMALISED_INPUTS" not in types(tracker)


def test_inputs_that_differ_somewhere_and_single_rows_are_no_constant_inputs():
    some = torch.ones_like(X)
    some[:, 3] = X[:, 3]
    for shown in (some, X[:1], X):
        tracker = train(plain, inputs=X, steps=30)
        tracker.observe_inputs(shown)
        assert "CONSTANT_INPUTS" not in types(tracker)


@pytest.mark.parametrize("how", ["adapter", "head"])
def test_a_loss_that_stays_is_no_question_where_most_is_frozen(how):
    """Adapters on a trained body were told that nothing is learned."""
    model = perceptron(4)
    for _ in range(2):
        train(plain, model, steps=200)
    model.requires_grad_(False)
    with seeded():
        last = nn.Linear(32, 1)
    model[-1] = last
    if how == "adapter":
        with torch.no_grad():
            last.weight.mul_(0.1)
    tracker = train(plain, model, make=lambda _: torch.optim.Adam(last.parameters(), lr=1e-3), steps=200)
    assert "NO_LEARNING" not in types(tracker)
