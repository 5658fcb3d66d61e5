"""States that are damaged somewhere in their depth: refused as a whole, or good to go on with."""

from __future__ import annotations

import copy
import math
import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from flowgrad.rules import RuleBook
from flowgrad.trackers import TrainingTracker
from flowgrad.trackers.batches import BatchTracker
from flowgrad.trackers.distillation import DistillationTracker
from flowgrad.trackers.embedding import EmbeddingTracker
from flowgrad.trackers.flow import FlowTracker

RULES = RuleBook.load()


class Table:
    """A table that is followed whole, or by a sample."""

    def __init__(self, sample=64):
        torch.manual_seed(0)
        self.layer = nn.Embedding(40, 3, padding_idx=0)
        self.optimizer = torch.optim.Adam(self.layer.parameters(), lr=0.01)
        self.tracker = EmbeddingTracker(self.layer, "table", RULES, optimizer=self.optimizer, sample=sample)
        self.at = 0

    def train(self, steps):
        for _ in range(steps):
            self.at += 1
            self.optimizer.zero_grad()
            self.layer(torch.arange(self.at, self.at + 8) % 40).square().sum().backward()
            self.optimizer.step()
            self.tracker.step()
        self.tracker.end_epoch()


class Sampled(Table):
    def __init__(self):
        super().__init__(sample=12)

    def train(self, steps):
        super().train(steps)
        self.tracker.observe(in_batch_negatives=1)
        self.tracker.observe_residuals(np.array([1, 2]), np.array([0.1, 0.2]), biases=True)
        self.layer.eval()
        self.layer(torch.tensor([1]))
        self.layer.train()


class Network:
    def __init__(self):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 1))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        self.tracker = FlowTracker(self.model, self.optimizer, rules=RULES)
        self.x = torch.linspace(-1, 1, 48).reshape(12, 4)

    def train(self, steps):
        for _ in range(steps):
            self.optimizer.zero_grad()
            loss = (self.model(self.x) - 1).square().mean()
            loss.backward()
            self.optimizer.step()
            self.tracker.step(loss)
        self.tracker.observe_inputs(self.x)
        self.tracker.end_epoch(1.0, 2.0)


class Pupil:
    def __init__(self):
        torch.manual_seed(0)
        self.teacher = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
        self.student = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3))
        self.optimizer = torch.optim.SGD(self.student.parameters(), lr=0.01)
        self.tracker = DistillationTracker(self.teacher, self.student, optimizer=self.optimizer, rules=RULES)
        self.x = torch.linspace(-1, 1, 64).reshape(16, 4).sin()

    def train(self, steps):
        for _ in range(steps):
            self.optimizer.zero_grad()
            with torch.no_grad():
                wanted = self.teacher(self.x).softmax(1)
            out = self.student(self.x)
            soft = nn.functional.kl_div(out.log_softmax(1), wanted, reduction="batchmean")
            loss = soft + nn.functional.cross_entropy(out, torch.arange(16) % 3)
            loss.backward()
            self.optimizer.step()
            self.tracker.step(loss, soft)
        self.tracker.observe(self.x)


class Batches:
    def __init__(self):
        self.tracker = BatchTracker(rules=RULES, sizes={"u": 40}, sample=16)
        self.at = 0

    def train(self, steps):
        generator = torch.Generator().manual_seed(self.at)
        for step in range(max(steps, 4)):
            self.at += 1
            columns = {"u": torch.randint(0, 40, (6,), generator=generator), "i": torch.arange(6) + step}
            outputs, targets = torch.rand(6, generator=generator), torch.rand(6, generator=generator)
            loss = (outputs - targets).square().mean()
            self.tracker.step(columns, targets, outputs=outputs, loss=loss)
        self.tracker.validate(columns, targets)
        self.tracker.end_epoch()


class Rows(Batches):
    def train(self, steps):
        generator = torch.Generator().manual_seed(self.at)
        for _ in range(max(steps, 4)):
            self.at += 1
            x, y = torch.randn(6, 14, generator=generator), torch.arange(6) % 2
            self.tracker.step(x, y, outputs=x[:, :2], loss=nn.functional.cross_entropy(x[:, :2], y))
        self.tracker.validate(x, y)
        self.tracker.end_epoch()


class Losses:
    def __init__(self):
        self.tracker = TrainingTracker("run", 1.0, rules=RULES)

    def train(self, steps):
        for step in range(steps):
            self.tracker.step(2.0 + math.sin(step))
        self.tracker.end_epoch(1.0, 2.0, metric=0.5)


def leaves(value, path=()):
    """Every place in a state, its containers among them."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, one in value.items():
            yield from leaves(one, (*path, key))
    elif isinstance(value, list | tuple):
        for place, one in list(enumerate(value))[:3]:
            yield from leaves(one, (*path, place))


def at(state, path):
    for key in path:
        state = state[key]
    return state


def damages(value, rng):
    """One thing that may become of a value."""
    found = [None, "text", -1, 0, 1, 1.5, math.nan, math.inf, -math.inf, 10**30, 2**60, True, [], {}, [None], {"a": 1}]
    found += [torch.tensor(3), torch.full((2, 2), math.nan), np.float64(2.0), np.zeros(3), object(), b"x", 10**5000]
    if isinstance(value, torch.Tensor):
        found = [
            *found[:6],
            value[None],
            value.to(torch.int16),
            value.double() + 0.5,
            value.clone().zero_(),
            value.bool(),
        ]
        found += [value.long(), value.float() * math.nan, value.clone().fill_(-1), value.to_sparse(), value.to("meta")]
        found += [value.clone().fill_(1), value.half(), value.to(torch.complex64), value.reshape(-1)[:1], value * 3]
        if not value.is_floating_point() and value.dtype != torch.bool:
            found += [value + torch.iinfo(value.dtype).max // 2, value + 5]
        if value.dim():
            found += [value[1:], torch.cat([value, value]), value.flip(0)]
    elif isinstance(value, bool):
        found += [not value]
    elif isinstance(value, int):
        found += [value + 1, value - 1, value * 1000, float(value), -value - 1]
    elif isinstance(value, float):
        found += [-value, value * 1e300, str(value)]
    elif isinstance(value, list | tuple):
        found += [list(value)[1:], list(value) * 2, [*value, None], tuple(value), list(value)[::-1]] * 2
    elif isinstance(value, dict):
        found += [{**value, "extra": 1}, {**value, 7: 1}, dict(list(value.items())[1:]), list(value)] * 2
    return rng.choice(found)


def damaged(state, rng):
    """The state with one place of it changed, and what was done."""
    made = copy.copy(state)
    path = rng.choice(list(leaves(state)))
    holder = made
    for key in path[:-1]:
        holder[key] = copy.copy(holder[key]) if not isinstance(holder[key], tuple) else list(holder[key])
        holder = holder[key]
    if rng.random() < 0.15:
        del holder[path[-1]]
        return made, f"{path} deleted"
    holder[path[-1]] = damages(holder[path[-1]], rng)
    return made, f"{path} of another kind"


def same(one, other):
    if isinstance(one, torch.Tensor):
        like = isinstance(other, torch.Tensor) and one.shape == other.shape
        return like and torch.equal(one.nan_to_num(), other.nan_to_num())
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (one != one and other != other)


CASES = {
    "table": Table, "sampled": Sampled, "network": Network, "student": Pupil, "ids": Batches, "rows": Rows,
    "losses": Losses,
}  # fmt: skip
TRIES, GONE_ON_WITH = 300, 8
"""Damaged states of each tracker, and how many of those that are taken are trained on with."""


@pytest.mark.parametrize("case", CASES)
def test_a_damaged_state_is_refused_whole_or_good_to_go_on_with(case):
    """Of 610 such states, 229 ended in a traceback at load with half of them taken, 81 in a later step and 68 in the
    report.
    """
    run = CASES[case]()
    run.train(12)
    run.train(7)
    state, rng = run.tracker.state_dict(), random.Random(case)
    fresh, taken, messages = None, 0, []
    for _ in range(TRIES):
        given, what = damaged(state, rng)
        if fresh is None:
            fresh = CASES[case]()
            fresh.train(2)
            before = fresh.tracker.state_dict()
        try:
            fresh.tracker.load_state_dict(given)
        except ValueError as error:
            messages.append(str(error))
            assert same(fresh.tracker.state_dict(), before), what
            continue
        taken += 1
        if taken <= GONE_ON_WITH:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                fresh.train(2)
                fresh.tracker.measurements()
                assert not fresh.tracker.stopped, what
            fresh = None
        else:
            fresh.tracker.load_state_dict(before)
    assert len(messages) > TRIES / 2
    assert not any("\n" in message for message in messages)


@pytest.mark.parametrize("case", CASES)
def test_a_whole_state_is_taken(case):
    """The check of a state must let pass whatever a tracker itself writes, before the first step and after any."""
    for steps in ((), (1,), (3, 9), (12, 7)):
        run, other = CASES[case](), CASES[case]()
        for count in steps:
            run.train(count)
        state = run.tracker.state_dict()
        other.train(2)
        other.tracker.load_state_dict(state)
        assert same(other.tracker.state_dict(), state)
