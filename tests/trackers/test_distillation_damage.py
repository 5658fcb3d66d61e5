"""Damage to one layer that shows in what the tracker measures of it, whatever did it."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from flowgrad.measures.distillation import medians_of_kind, width_gaps
from flowgrad.trackers.distillation import DistillationTracker


def network(*widths):
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    between = [part for layer in layers for part in (layer, nn.ReLU())][:-1]
    return nn.Sequential(*between)


def pair():
    torch.manual_seed(0)
    return network(8, 32, 32, 4), network(8, 12, 12, 4)


def distilled(teacher, student, *, steps=80, between=lambda step: None, optimizer=None):
    """A tracker that has watched so many steps; `between` is called after each backward pass."""
    optimizer = optimizer or torch.optim.Adam(student.parameters(), lr=0.01)
    tracker = DistillationTracker(teacher, student, optimizer=optimizer)
    drawn = torch.Generator().manual_seed(1)
    for step in range(steps):
        x = torch.randn(32, 8, generator=drawn)
        loss = (student(x) - teacher(x).detach()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        between(step)
        optimizer.step()
        tracker.step(loss)
    tracker.observe(torch.randn(256, 8, generator=drawn))
    return tracker


def rules(tracker):
    return {rule: rows for rule, rows in tracker.struggling().items() if rule != "hint_weight"}


def test_gradients_that_are_clipped_or_scaled_are_those_computed():
    teacher, student = pair()

    def clip(step):
        nn.utils.clip_grad_norm_(student.parameters(), 0.01)
        student[2].weight.grad *= 3

    table = distilled(teacher, student, between=clip).layer_table()
    assert table["altered"].to_numpy() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("layer", [0, 2, 4])
def test_noise_added_to_a_gradient_is_told_from_what_was_computed(layer):
    teacher, student = pair()
    drawn = torch.Generator().manual_seed(2)

    def shake(step):
        gradient = student[layer].weight.grad
        gradient += torch.randn(gradient.shape, generator=drawn) * gradient.square().mean().sqrt()

    tracker = distilled(teacher, student, between=shake)
    table = tracker.layer_table()["altered"]
    # Noise of the gradient's own size: half of the square of what the optimizer gets.
    assert table[str(layer)] == pytest.approx(0.5, abs=0.1)
    assert table.drop(str(layer)).max() < 1e-5
    assert rules(tracker)["noisy_gradients"] == [str(layer)]


def test_gradients_altered_everywhere_are_no_damage_to_a_layer():
    """Gradients averaged over processes are none of what one backward pass computed, in all layers alike."""
    teacher, student = pair()
    drawn = torch.Generator().manual_seed(2)

    def shake(step):
        for parameter in student.parameters():
            parameter.grad += torch.randn(parameter.shape, generator=drawn) * parameter.grad.square().mean().sqrt()

    assert "noisy_gradients" not in rules(distilled(teacher, student, between=shake))


def test_a_layer_whose_gradient_is_set_to_zero_is_frozen():
    teacher, student = pair()
    tracker = distilled(teacher, student, between=lambda step: student[2].weight.grad.zero_())
    assert rules(tracker) == {"layer_frozen": ["2"]}


@pytest.mark.parametrize("always", [True, False])
def test_noise_in_activations_is_seen_in_training_mode_too(always):
    teacher, student = pair()
    drawn = torch.Generator().manual_seed(2)

    def disturb(module, inputs, output):
        noise = torch.randn(output.shape, generator=drawn) * output.detach().std()
        return output + noise if always or module.training else output

    student[2].register_forward_hook(disturb)
    before = copy.deepcopy(student.state_dict())
    tracker = distilled(teacher, student, steps=8)
    table = tracker.layer_table()["noise"]
    assert table["2"] > 0.3
    assert table["0"] == 0
    assert rules(tracker)["noisy_activations"] == ["2"]
    assert student.training
    assert before.keys() == student.state_dict().keys()


def test_dropout_between_layers_is_no_damage_to_a_layer():
    torch.manual_seed(0)
    teacher = network(8, 32, 32, 4)
    student = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 12), nn.ReLU(), nn.Dropout(0.3),
                            nn.Linear(12, 4))  # fmt: skip
    assert "noisy_activations" not in rules(distilled(teacher, student, steps=8))


def test_hooks_come_off_the_weights():
    teacher, student = pair()
    tracker = distilled(teacher, student, steps=4)
    tracker.detach()
    assert not any(getattr(weight, "_post_accumulate_grad_hooks", None) for weight in student.parameters())


def test_what_was_altered_goes_into_a_checkpoint():
    teacher, student = pair()
    drawn = torch.Generator().manual_seed(2)

    def shake(step):
        student[2].weight.grad += torch.randn(12, 12, generator=drawn)

    tracker = distilled(teacher, student, between=shake)
    other = DistillationTracker(teacher, student)
    other.load_state_dict(tracker.state_dict())
    assert np.array_equal(other.layer_table()["altered"], tracker.layer_table()["altered"])


def test_widths_are_set_beside_layers_of_the_same_kind_and_a_lone_one_beside_inputs_and_outputs():
    none, weights = np.zeros(4, dtype=bool), np.full(4, 100.0)
    assert width_gaps(np.array([32.0, 32.0, 32.0, 10.0]), weights, none)[:3].tolist() == [1, 1, 1]
    assert width_gaps(np.array([32.0, 2.0, 32.0, 10.0]), weights, none)[1] == 2 / 32
    tables = np.array([True, True, False, False])
    assert width_gaps(np.array([8.0, 1.0, 64.0, 1.0]), weights, tables)[:3].tolist() == [8, 1 / 8, 64 / 4.5]
    assert width_gaps(np.array([4.0, 10.0]), np.array([160.0, 40.0]), none[:2])[0] == 0.2


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("known", [True, False])
def test_weights_that_tremble_are_told_from_weights_that_learn_fast(optimizer, known):
    teacher, student = pair()
    drawn = torch.Generator().manual_seed(2)
    made = {
        "adam": lambda: torch.optim.Adam(student.parameters(), lr=0.003),
        "sgd": lambda: torch.optim.SGD(student.parameters(), lr=0.05),
    }[optimizer]()
    tracker = DistillationTracker(teacher, student, optimizer=made if known else None)
    for _ in range(80):
        x = torch.randn(32, 8, generator=drawn)
        loss = (student(x) - teacher(x)).square().mean()
        made.zero_grad()
        loss.backward()
        made.step()
        with torch.no_grad():
            weight = student[2].weight
            weight += torch.randn(weight.shape, generator=drawn) * 0.1 * weight.square().mean().sqrt()
        tracker.step(loss)
    assert rules(tracker) == {"noisy_weights": ["2"]}
    table = tracker.layer_table()
    assert table.loc["2", "overspeed"] > 2 > table.drop("2")["overspeed"].max()


def test_a_layer_without_another_of_its_kind_is_set_beside_all():
    kinds = np.array([True, True, False])
    assert medians_of_kind(np.array([1.0, 3.0, 8.0]), kinds).tolist() == [3.0, 1.0, 2.0]
    assert medians_of_kind(np.array([1.0, 3.0, 8.0]), np.zeros(3, dtype=bool)).tolist() == [5.5, 4.5, 2.0]
