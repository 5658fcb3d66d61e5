"""Gradients of a student as they are heard: loops that clear, clip, halve or compute them within the step."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from flowgrad import DistillationTracker
from flowgrad.rules import RuleBook

BOOK = RuleBook.load()


def network(width=32, dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 8)).to(
        dtype
    )


def batch(step, dtype=torch.float32):
    return torch.randn(64, 16, generator=torch.Generator().manual_seed(step)).to(dtype)


def pair(dtype=torch.float32):
    return network(48, dtype), network(32, dtype, seed=1)


def error(student, teacher, step, dtype=torch.float32):
    x = batch(step, dtype)
    with torch.no_grad():
        answers = teacher(x)
    return (student(x).float() - answers.float()).square().sum(1).mean()


def ids(tracker):
    return {found.rule_id for found in tracker.findings()}


def kept(motion):
    """Tensors that the motion keeps of the looks."""
    return len(motion._figures) + len(motion._alterations) + len(motion._windows)


def test_a_tracker_whose_step_is_never_called_keeps_no_more_with_every_step():
    """The first step stayed due for ever, and a tensor was kept, and every gradient copied, at each."""
    teacher, student = pair()
    optimizer = torch.optim.Adam(student.parameters(), 1e-3)
    tracker = DistillationTracker(teacher, student, optimizer=optimizer, rules=BOOK)
    sizes = []
    for step in range(10):
        optimizer.zero_grad()
        error(student, teacher, step).backward()
        optimizer.step()
        sizes.append(kept(tracker._motion))
        assert not tracker._motion._computed
    assert sizes == [1] * 10


def test_several_steps_of_the_optimizer_between_two_looks_are_one_look():
    """Two steps of the optimizer to one `step()` counted the second's gradients as a look of their own."""
    teacher, student = pair()
    optimizer = torch.optim.Adam(student.parameters(), 1e-3)
    tracker = DistillationTracker(teacher, student, optimizer=optimizer, rules=BOOK)
    for step in range(60):
        optimizer.zero_grad()
        error(student, teacher, step).backward()
        optimizer.step()
        if step % 2:
            tracker.step()
    assert len(tracker._motion._alterations) == len(tracker._motion._figures)


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("made", [torch.optim.Adam, torch.optim.SGD])
def test_gradients_cleared_before_step_are_no_dead_student(set_to_none, made):
    """Without the optimizer, and cleared between its step and `step()`, gradients read as 0: a dead student."""
    teacher, student = pair()
    optimizer = made(student.parameters(), 1e-3)
    tracker = DistillationTracker(teacher, student, rules=BOOK)
    for step in range(40):
        loss = error(student, teacher, step)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=set_to_none)
        tracker.step(loss, loss)
    scalars = tracker.measurements().scalars
    assert scalars["live_layers"] == scalars["moving_layers"] == 3
    assert not {"student_dead", "noisy_gradients"} & ids(tracker)
    assert (tracker.layer_table()["gradient"] > 0).all()


def test_gradients_that_nobody_hears_are_not_known():
    """Gradients written by hand and cleared before `step()` leave nothing to hear; the student moves all the same."""
    teacher, student = pair()
    optimizer = torch.optim.SGD(student.parameters(), 1e-3)
    tracker = DistillationTracker(teacher, student, rules=BOOK)
    weights = list(student.parameters())
    for step in range(40):
        loss = error(student, teacher, step)
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.grad = gradient
        optimizer.step()
        optimizer.zero_grad()
        tracker.step(loss, loss)
    assert "student_dead" not in ids(tracker)


@pytest.mark.parametrize("made", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
@pytest.mark.parametrize("given", [True, False])
def test_a_dead_student_is_told_whatever_still_moves_it(made, given):
    """The healthy counterpart's counterpart: momentum and decay move a student whose units are dead."""
    teacher, student = pair()
    with torch.no_grad():
        student[2].bias.fill_(-1e4)
    optimizer = made(student.parameters(), 1e-3, weight_decay=1e-2)
    tracker = DistillationTracker(teacher, student, optimizer=optimizer if given else None, rules=BOOK)
    for step in range(60):
        loss = error(student, teacher, step)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        tracker.step(loss, loss)
    tracker.observe(batch(1000))
    assert "student_dead" in ids(tracker)


@pytest.mark.parametrize("limit", [0.01, 0.03, 0.1])
def test_gradients_clipped_by_value_are_asked_about(limit):
    """clip_grad_value_ turns the gradient, and was claimed to be noise."""
    teacher, student = pair()
    optimizer = torch.optim.Adam(student.parameters(), 1e-3)
    tracker = DistillationTracker(teacher, student, optimizer=optimizer, rules=BOOK)
    for step in range(40):
        optimizer.zero_grad()
        error(student, teacher, step).backward()
        nn.utils.clip_grad_value_(student.parameters(), limit)
        optimizer.step()
        tracker.step()
    for found in tracker.findings():
        if found.rule_id == "noisy_gradients":
            assert {one.cause for one in found.candidates} == {"CLIPPED_BY_VALUE", "HOOK_ON_THE_GRADIENT", "NOISE"}


def test_noise_in_the_gradient_of_one_layer_names_the_layer():
    """Noise that is really there is still found, with its layer."""
    teacher, student = pair()
    optimizer = torch.optim.Adam(student.parameters(), 1e-3)
    tracker = DistillationTracker(teacher, student, optimizer=optimizer, rules=BOOK)
    for step in range(40):
        optimizer.zero_grad()
        error(student, teacher, step).backward()
        gradient = student[2].weight.grad
        gradient += gradient.square().mean().sqrt() * torch.randn(gradient.shape)
        optimizer.step()
        tracker.step()
    found = next(found for found in tracker.findings() if found.rule_id == "noisy_gradients")
    assert list(found.rows.index) == ["2"]
    assert found.candidates


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("scale", [1e-3, 1e-2, 1.0])
def test_small_gradients_in_half_precision_are_not_altered(dtype, scale):
    """The product of two half-precision gradients underflowed, and read as a gradient that something had changed."""
    teacher, student = pair(dtype)
    optimizer = torch.optim.SGD(student.parameters(), 0.1)
    tracker = DistillationTracker(teacher, student, optimizer=optimizer, rules=BOOK)
    for step in range(24):
        optimizer.zero_grad()
        (error(student, teacher, step, dtype) * scale).backward()
        optimizer.step()
        tracker.step()
    assert not (tracker.layer_table()["altered"] > 0.01).any()


@pytest.mark.parametrize("made", [torch.optim.LBFGS, torch.optim.Adam])
def test_gradients_of_a_closure_are_read_after_it_ran(made):
    """With a closure, the gradients before the step are those of another batch, or none."""
    teacher, student = pair()
    optimizer = made(student.parameters(), lr=1e-2)
    tracker = DistillationTracker(teacher, student, optimizer=optimizer, rules=BOOK)
    for step, named in zip(range(24), itertools.cycle([True, False]), strict=False):

        def closure(step=step):
            optimizer.zero_grad()
            loss = error(student, teacher, step)
            loss.backward()
            return loss

        loss = optimizer.step(closure=closure) if named else optimizer.step(closure)
        tracker.step(loss, loss)
    assert not (tracker.layer_table()["altered"] > 1e-4).any()
    assert tracker.measurements().scalars["live_layers"] == 3
    assert not {"noisy_gradients", "student_dead"} & ids(tracker)
