"""Findings while it trains: each once, none that only the end can tell, and none of a moment."""

from __future__ import annotations

import pytest
import torch

import flowgrad
from flowgrad.rules import RuleBook
from flowgrad.trackers.schedules import every
from tests.watching_loops import alike, batches, criterion, made, train


def uncleared(model, optimizer, watch, steps):
    for ids, labels in batches(epochs=10)[:steps]:
        loss = criterion(model(ids), labels)
        loss.backward()
        optimizer.step()
        watch.log(loss=loss)


def test_each_finding_is_told_once_while_it_trains():
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    told = []
    with flowgrad.watch(
        model, optimizer, on_finding=lambda one: told.append((watch.steps, one.type)), looks=every(10)
    ) as watch:
        uncleared(model, optimizer, watch, 60)
        assert "GRADIENTS_NOT_CLEARED" in [kind for _, kind in told]
        assert min(step for step, _ in told) < 30
    kinds = [kind for _, kind in told]
    assert len(kinds) == len(set(kinds))
    assert kinds[0] == "GRADIENTS_NOT_CLEARED"


def test_the_default_looks_are_few_and_find_it():
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    told = []
    with flowgrad.watch(model, optimizer, on_finding=lambda one: told.append(one.type)) as watch:
        uncleared(model, optimizer, watch, 40)
        assert "GRADIENTS_NOT_CLEARED" in told


def test_a_finding_of_one_look_is_not_told_and_one_of_the_end_waits():
    rule = {"subject": "flow", "premise": "p", "implies": "i", "action": "LOOK", "expected_effect": "e"}
    book = RuleBook.from_mapping(
        {
            "moment": {**rule, "type": "MOMENT", "condition": "steps == 21"},
            "grave": {**rule, "type": "GRAVE", "severity": "critical", "condition": "steps == 21"},
            "lasting": {**rule, "type": "LASTING", "condition": "steps >= 20"},
            "ending": {**rule, "type": "SLOW_CONVERGENCE", "condition": "steps >= 20"},
        }
    )
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    told = []
    with flowgrad.watch(
        model, optimizer, rules=book, on_finding=lambda one: told.append((watch.steps, one.type)), looks=every(10)
    ) as watch:
        train(model, [optimizer], watch, 45)
    assert told == [(21, "GRAVE"), (31, "LASTING"), (45, "SLOW_CONVERGENCE")]


def test_what_the_function_raises_ends_the_training():
    class StopError(Exception):
        pass

    def stop(finding):
        raise StopError(finding.type)

    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    watch = flowgrad.watch(model, optimizer, on_finding=stop, looks=every(10))
    with pytest.raises(StopError, match="GRADIENTS_NOT_CLEARED"):
        uncleared(model, optimizer, watch, 60)
    assert watch.steps < 60
    watch.detach()


def test_a_resumed_run_does_not_tell_again_and_weights_are_as_before():
    model, twin = made(), made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    told = []
    watch = flowgrad.watch(model, optimizer, on_finding=lambda one: told.append(one.type), looks=every(5))
    uncleared(model, optimizer, watch, 40)
    state = watch.state_dict()
    watch.detach()
    count = len(told)
    watch = flowgrad.watch(model, optimizer, on_finding=lambda one: told.append(one.type), looks=every(5))
    watch.load_state_dict(state)
    uncleared(model, optimizer, watch, 20)
    assert told.count("GRADIENTS_NOT_CLEARED") == 1
    assert len(told) >= count
    watch.detach()
    plain = torch.optim.Adam(twin.parameters(), 0.01)
    with flowgrad.watch(twin, plain) as watch:
        uncleared(twin, plain, watch, 40)
        uncleared(twin, plain, watch, 20)
    assert alike(model, twin)


def test_what_cannot_be_called_is_refused():
    model = made()
    with pytest.raises(TypeError, match="on_finding='print' must be a function"):
        flowgrad.watch(model, torch.optim.SGD(model.parameters(), 0.1), on_finding="print")
