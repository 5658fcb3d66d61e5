"""States of trackers: a damaged one is refused whole, or good to go on with."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from flowgrad.errors import FlowGradError
from flowgrad.evidence.ledger import Ledger
from flowgrad.rules import RuleBook
from flowgrad.trackers import TrackingStopped, TrainingTracker
from flowgrad.trackers.batches import BatchTracker
from flowgrad.trackers.distillation import DistillationTracker
from flowgrad.trackers.embedding import EmbeddingTracker
from flowgrad.trackers.flow import FlowTracker
from pipelines.benchmarks.robustness.attack import Attack, Fault, Place
from pipelines.benchmarks.robustness.damage import ODD_VALUES, places, replaced, value_at, value_damaged

_BEFORE, _AFTER = 12, 2
"""Steps that a state is of, and those that are gone on with."""
_ODD = (*ODD_VALUES, torch.tensor(3), torch.full((2, 2), torch.nan), np.float64(2.0), np.zeros(3), object(), b"x")


class Watched(Protocol):
    """A small training with a tracker."""

    tracker: Any

    def train(self, steps: int) -> None:
        """Train and watch."""


class _Table:
    """A table that is followed by a sample of its rows."""

    def __init__(self, rules: RuleBook) -> None:
        torch.manual_seed(0)
        self.layer = nn.Embedding(40, 3, padding_idx=0)
        self.optimizer = torch.optim.Adam(self.layer.parameters(), lr=0.01)
        self.tracker = EmbeddingTracker(self.layer, "table", rules, optimizer=self.optimizer, sample=12)
        self.at = 0

    def train(self, steps: int) -> None:
        for _ in range(steps):
            self.at += 1
            self.optimizer.zero_grad()
            self.layer(torch.arange(self.at, self.at + 8) % 40).square().sum().backward()
            self.optimizer.step()
            self.tracker.step()
        self.tracker.end_epoch()


class _Network:
    def __init__(self, rules: RuleBook) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 1))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        self.tracker = FlowTracker(self.model, self.optimizer, rules=rules)
        self.x = torch.linspace(-1, 1, 48).reshape(12, 4)

    def train(self, steps: int) -> None:
        for _ in range(steps):
            self.optimizer.zero_grad()
            loss = (self.model(self.x) - 1).square().mean()
            loss.backward()
            self.optimizer.step()
            self.tracker.step(loss)
        self.tracker.observe_inputs(self.x)
        self.tracker.end_epoch(1.0, 2.0)


class _Student:
    def __init__(self, rules: RuleBook) -> None:
        torch.manual_seed(0)
        self.teacher = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
        self.student = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3))
        self.optimizer = torch.optim.SGD(self.student.parameters(), lr=0.01)
        self.tracker = DistillationTracker(self.teacher, self.student, optimizer=self.optimizer, rules=rules)
        self.x = torch.linspace(-1, 1, 64).reshape(16, 4).sin()

    def train(self, steps: int) -> None:
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


class _Batches:
    def __init__(self, rules: RuleBook) -> None:
        self.tracker = BatchTracker(rules=rules, sizes={"u": 40}, sample=16)
        self.at = 0

    def train(self, steps: int) -> None:
        generator = torch.Generator().manual_seed(self.at)
        for step in range(max(steps, 4)):
            self.at += 1
            columns = {"u": torch.randint(0, 40, (6,), generator=generator), "i": torch.arange(6) + step}
            outputs, targets = torch.rand(6, generator=generator), torch.rand(6, generator=generator)
            self.tracker.step(columns, targets, outputs=outputs, loss=(outputs - targets).square().mean())
        self.tracker.validate(columns, targets)
        self.tracker.end_epoch()


class _Losses:
    def __init__(self, rules: RuleBook) -> None:
        self.tracker = TrainingTracker("run", 1.0, rules=rules)

    def train(self, steps: int) -> None:
        for step in range(steps):
            self.tracker.step(2.0 + np.sin(step))
        self.tracker.end_epoch(1.0, 2.0, metric=0.5)


TRAININGS: Mapping[str, Callable[[RuleBook], Watched]] = {
    "table": _Table, "network": _Network, "student": _Student, "batches": _Batches, "losses": _Losses,
}  # fmt: skip


def draw(rng: np.random.Generator, base: Path) -> Attack:
    """One or two places of a state damaged, however deep."""
    name = list(TRAININGS)[int(rng.integers(len(TRAININGS)))]
    seed, rules = int(rng.integers(2**31)), _rules()

    def perform(place: Place) -> None:
        source, target = TRAININGS[name](rules), TRAININGS[name](rules)
        source.train(_BEFORE)
        state, tried = _damaged(source.tracker.state_dict(), np.random.default_rng(seed))
        _go_on(target, state, tried)

    return Attack(f"state: {name}, damage {seed}", perform)


@cache
def _rules() -> RuleBook:
    return RuleBook.load(ledger=Ledger())


def _damaged(state: Any, rng: np.random.Generator) -> tuple[Any, str]:
    done = []
    for _ in range(int(rng.integers(1, 3))):
        tensors = [path for path in places(state) if isinstance(value_at(state, path), torch.Tensor)]
        if tensors and rng.random() < 0.5:
            path = tensors[int(rng.integers(len(tensors)))]
            pool = _of_tensor(value_at(state, path))
            state, said = replaced(state, path, pool[int(rng.integers(len(pool)))]), "a tensor"
            done.append(f"{'.'.join(map(str, path))}: {said}")
        else:
            state, said = value_damaged(state, rng, _ODD)
            done.append(said)
    return state, "; ".join(done)


def _of_tensor(value: torch.Tensor) -> list[Any]:
    found = [
        value[None], value.to(torch.int16), value.double() + 0.5, value.clone().zero_(), value.bool(), value.long(),
        value.float() * torch.nan, value.clone().fill_(-1), value.to_sparse(), value.to("meta"), value.half(),
        value.to(torch.complex64), value.reshape(-1)[:1], value * 3, value.tolist(), value.numpy(),
        value.float() * 1e38 * 1e3,
    ]  # fmt: skip
    return [*found, value[1:], torch.cat([value, value]), value.flip(0)] if value.dim() else found


def _go_on(target: Watched, state: Any, tried: str) -> None:
    target.train(_AFTER)
    before = target.tracker.state_dict()
    try:
        target.tracker.load_state_dict(state)
    except ValueError as error:
        if not _same(target.tracker.state_dict(), before):
            raise Fault("loss", f"refused, and something of it was taken: {tried}") from None
        raise FlowGradError(str(error)) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("error", TrackingStopped)
        try:
            target.train(_AFTER)
            target.tracker.report()
            target.tracker.to_agent_xml()
            target.tracker.load_state_dict(target.tracker.state_dict())
        except Exception as error:
            error.args = (f"{tried}: {error}",)
            raise


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        like = isinstance(other, torch.Tensor) and one.shape == other.shape
        return like and torch.equal(one.nan_to_num(), other.nan_to_num())
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other or (one != one and other != other))
