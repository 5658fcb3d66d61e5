"""Contract tests that every tracker of a torch model must pass, and small healthy and sick runs to try it on.

Inherit `TrackerContract`, say what is watched and how the model is trained, and let pytest collect the class::

    class TestMyTracker(TrackerContract):
        def make_model(self): return Ratings().model
        ...

Nothing here needs pytest itself, a data file or an accelerator.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Adam, Optimizer

from flowgrad.report import from_xml, validate
from flowgrad.trackers import Tracker


class TrackerContract(ABC):
    """Contract of a tracker, whatever it measures: it sees all that it declares, and training is undisturbed.

    Every test makes its model anew, with the global random numbers seeded alike.
    """

    steps = 8
    """Number of steps of a run. A few are enough: a tracker that disturbs training does so at the first."""

    @abstractmethod
    def make_model(self) -> nn.Module:
        """A new model in training mode, equal on every call under equal global seeds."""

    @abstractmethod
    def make_optimizer(self, model: nn.Module) -> Optimizer:
        """An optimizer of the model's parameters."""

    @abstractmethod
    def make_tracker(self, model: nn.Module) -> Tracker:
        """The tracker under test, attached to `watched(model)`."""

    @abstractmethod
    def watched(self, model: nn.Module) -> nn.Module:
        """Layer that the tracker watches."""

    @abstractmethod
    def loss(self, model: nn.Module, step: int) -> torch.Tensor:
        """Loss of the batch of one step, a function of the model and the step alone."""

    def tell(self, tracker: Any) -> None:
        """Tell the tracker that the optimizer has stepped; `tracker.step()` unless overridden."""
        tracker.step()

    def end_epoch(self, tracker: Any) -> None:
        """Tell the tracker that an epoch has ended; `tracker.end_epoch()` unless overridden."""
        tracker.end_epoch()

    def train(
        self, model: nn.Module, tracker: Tracker | None = None, *, clear_first: bool = False, look: bool = False
    ) -> None:
        """Train for `steps` steps, with two epochs in them.

        Args:
            model: trained in place.
            tracker: called at every step, where given.
            clear_first: clear the gradients before the tracker is called, as some loops do.
            look: read the measurements after every step, and all the rest at the end.
        """
        optimizer = self.make_optimizer(model)
        for step in range(self.steps):
            optimizer.zero_grad()
            self.loss(model, step).backward()
            optimizer.step()
            if clear_first:
                optimizer.zero_grad()
            if tracker is not None:
                self.tell(tracker)
                if 2 * (step + 1) % self.steps == 0:
                    self.end_epoch(tracker)
                if look:
                    tracker.measurements()
        if look and tracker is not None:
            _read_all(tracker)

    def test_tracked_weights_equal_untracked_weights_bit_for_bit(self) -> None:
        """Tracked weights equal untracked ones also where the loop clears the gradients early, and where the tracker is
        read at every step.
        """
        for clear_first in (False, True):
            with seeded():
                untracked = self.make_model()
                self.train(untracked, clear_first=clear_first)
                expected = torch.get_rng_state()
            with seeded():
                tracked = self.make_model()
                self.train(tracked, self.make_tracker(tracked), clear_first=clear_first, look=True)
                assert torch.equal(torch.get_rng_state(), expected), "the tracker drew random numbers of torch"
            before, after = untracked.state_dict(), tracked.state_dict()
            assert list(before) == list(after), "the tracker changed the names in the state"
            for name, weights in before.items():
                assert torch.equal(weights, after[name]), f"{name} depends on whether the run was tracked"

    def test_global_random_numbers_are_untouched(self) -> None:
        """Attaching a tracker, its calls at a step and its reading draw no random number from any global generator."""
        with seeded():
            model = self.make_model()
            optimizer = self.make_optimizer(model)
            with _no_random_numbers("attaching"):
                tracker = self.make_tracker(model)
            for step in range(3):
                optimizer.zero_grad()
                self.loss(model, step).backward()
                optimizer.step()
                with _no_random_numbers("a step"):
                    self.tell(tracker)
            with _no_random_numbers("the end of an epoch"):
                self.end_epoch(tracker)
            with _no_random_numbers("reading"):
                _read_all(tracker)

    def test_measures_are_exactly_those_declared(self) -> None:
        """Rules may use the declared names and no others, so each must be there, before and after training."""
        scalars = [measure.name for measure in type(self._untrained()).MEASURES if not measure.per_row]
        per_row = [measure.name for measure in type(self._untrained()).MEASURES if measure.per_row]
        for tracker in (self._untrained(), self._trained()):
            measured = tracker.measurements()
            assert measured.kind == tracker.KIND
            assert measured.subject == tracker.name
            assert sorted(measured.scalars) == sorted(scalars)
            columns = list(measured.tables["rows"].columns) if "rows" in measured.tables else []
            assert sorted(columns) == sorted(per_row)
            assert all(isinstance(value, float) for value in measured.scalars.values())

    def test_reading_changes_nothing(self) -> None:
        """Two readings are the same, and writing to its tables does not write back."""
        tracker = self._trained()
        first = tracker.measurements()
        _assert_same(first, tracker.measurements())
        for table in first.tables.values():
            table.iloc[:, :] = 0
        _assert_same(self._trained().measurements(), tracker.measurements())
        assert tracker.report() == tracker.report()
        assert tracker.to_agent_xml() == tracker.to_agent_xml()

    def test_detach_takes_all_hooks_off(self) -> None:
        """Hooks come off the layers and their weights, also those put on during training; results stay readable."""
        for clear_first in (False, True):
            with seeded():
                model = self.make_model()
                before = _hooks(model)
                tracker = self.make_tracker(model)
                self.train(model, tracker, clear_first=clear_first)
                measured = tracker.measurements()
                tracker.detach()
                assert _hooks(model) == before, "detach() left a hook behind"
                _assert_same(measured, tracker.measurements())
                tracker.detach()
                self.train(model)
                assert tracker.measurements().step == measured.step
                _read_all(tracker)

    def test_with_detaches_also_after_an_error(self) -> None:
        """`with` gives the tracker itself, takes its hooks off at the end and lets errors through."""
        with seeded():
            model = self.make_model()
            before = _hooks(model)
            made = self.make_tracker(model)
            with made as tracker:
                assert tracker is made
                self.train(model, tracker)
            assert _hooks(model) == before
            _read_all(tracker)
            try:
                with self.make_tracker(model):
                    raise KeyError("from the loop")
            except KeyError:
                assert _hooks(model) == before
            else:
                raise AssertionError("the tracker swallowed an error of the training loop")

    def test_xml_follows_the_schema(self) -> None:
        """The XML is a `str` without an XML declaration that any parser takes; the same report is read back."""
        for tracker in (self._untrained(), self._trained()):
            text = tracker.to_agent_xml()
            assert isinstance(text, str)
            assert text.startswith(f"<flowgrad_{tracker.KIND}_report "), text[:80]
            validate(text)
            assert from_xml(text) == tracker.to_report()

    def test_report_is_plain_text(self) -> None:
        """The report names the watched layer."""
        for tracker in (self._untrained(), self._trained()):
            report = tracker.report()
            assert isinstance(report, str)
            assert tracker.name in report

    def test_a_run_of_no_steps_is_no_error(self) -> None:
        """A tracker is often read when a run was cut short."""
        _read_all(self._untrained())
        ended = self._untrained()
        self.end_epoch(ended)
        _read_all(ended)
        told = self._untrained()
        self.tell(told)
        _read_all(told)

    def test_output_of_the_layer_is_unchanged(self) -> None:
        """The very object that the layer returns is passed on."""
        with seeded():
            model = self.make_model()
            layer = self.watched(model)
            outputs: list[Any] = []
            layer.register_forward_hook(lambda module, args, output: outputs.append(output))
            self.make_tracker(model)
            layer.register_forward_hook(lambda module, args, output: outputs.append(output))
            self.loss(model, 0)
            assert len(outputs) >= 2, "the loss does not use the watched layer"
            for ahead, behind in zip(outputs[::2], outputs[1::2], strict=True):
                assert ahead is behind

    def _untrained(self) -> Tracker:
        with seeded():
            return self.make_tracker(self.make_model())

    def _trained(self) -> Tracker:
        with seeded():
            model = self.make_model()
            tracker = self.make_tracker(model)
            self.train(model, tracker)
            return tracker


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and Python inside; they are as they were before outside."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002


@contextmanager
def _no_random_numbers(what: str) -> Iterator[None]:
    before = _generators()
    yield
    for name, state in _generators().items():
        assert state == before[name], f"{what} drew random numbers of {name}"


def _generators() -> dict[str, str]:
    numpy = np.random.get_state()  # noqa: NPY002
    return {"torch": repr(torch.get_rng_state().tolist()), "numpy": repr(numpy), "random": repr(random.getstate())}


def _hooks(model: nn.Module) -> dict[str, list[Any]]:
    """Every hook on a layer or a weight of `model`, by where it stands."""
    found = {}
    for path, module in model.named_modules():
        for kind, hooks in vars(module).items():
            if kind.endswith("_hooks") or "_hooks_" in kind:
                found[f"{path}.{kind}"] = list(hooks)
    for path, weight in model.named_parameters():
        for kind in ("_backward_hooks", "_post_accumulate_grad_hooks"):
            hooks = getattr(weight, kind, None) or OrderedDict()
            found[f"{path}.{kind}"] = list(hooks.values())
    return found


def _read_all(tracker: Tracker) -> None:
    tracker.measurements()
    tracker.findings()
    tracker.summary()
    tracker.report()
    tracker.to_agent_xml()


def _assert_same(first: Any, second: Any) -> None:
    """Assert equal measurements, where NaN (not known) equals NaN."""
    assert first.scalars.keys() == second.scalars.keys()
    for name, value in first.scalars.items():
        assert repr(value) == repr(second.scalars[name]), f"{name} was {value} and is now {second.scalars[name]}"
    assert first.tables.keys() == second.tables.keys()
    for name, table in first.tables.items():
        assert table.equals(second.tables[name]), f"the table {name!r} changed"
    assert (first.kind, first.subject, first.step) == (second.kind, second.subject, second.step)


class MatrixFactorization(nn.Module):
    """Dot product of a user's and an item's row."""

    def __init__(self, users: int, items: int, dim: int, init_std: float = 0.1, sparse: bool = False) -> None:
        super().__init__()
        self.user_emb = nn.Embedding(users, dim, sparse=sparse)
        self.item_emb = nn.Embedding(items, dim, sparse=sparse)
        nn.init.normal_(self.user_emb.weight, std=init_std)
        nn.init.normal_(self.item_emb.weight, std=init_std)

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Predicted ratings, shape (n,)."""
        return (self.user_emb(users) * self.item_emb(items)).sum(dim=1)


class Ratings:
    """A small table of ratings, drawn from two true factors a user and item plus noise, and a model to fit it.

    Every draw comes from its own generator; the global ones are left as they are.
    """

    def __init__(self, seed: int = 0, count: int = 8000, *, dim: int = 8, init_std: float = 0.1, **model: Any) -> None:
        """Draw `count` ratings of 200 users on 150 items.

        Args:
            seed: of the ratings, the order of batches and the initial weights.
            count: ratings.
            dim: columns of the model's tables.
            init_std: standard deviation of the initial weights.
            **model: further arguments of `MatrixFactorization`.
        """
        users, items = 200, 150
        self.generator = torch.Generator().manual_seed(seed)
        self.users = torch.randint(users, (count,), generator=self.generator)
        self.items = torch.randint(items, (count,), generator=self.generator)
        user, item = (torch.randn(n, 2, generator=self.generator) for n in (users, items))
        noise = torch.randn(count, generator=self.generator)
        self.targets = (user[self.users] * item[self.items]).sum(dim=1) + 0.5 * noise
        with seeded(seed):
            self.model = MatrixFactorization(users, items, dim, init_std, **model)

    def batches(self, size: int = 128) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Users, items and targets of each batch of one epoch, in a new order every time."""
        for index in torch.randperm(len(self.targets), generator=self.generator).split(size):
            yield self.users[index], self.items[index], self.targets[index]

    def loss(self, users: torch.Tensor, items: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean squared error of a batch."""
        return nn.functional.mse_loss(self.model(users, items), targets)


@dataclass(frozen=True)
class Example:
    """A run whose state is known, with the finding that a tracker of `run.model.item_emb` should have."""

    run: Ratings
    optimizer: Optimizer
    finding: str | None
    """Expected `type` of the finding, None for the healthy run."""

    def train(self, steps: int, *trackers: Any, by_epoch: bool = False) -> None:
        """Train on, calling the trackers at every step and, `by_epoch`, at every epoch's end."""
        done = 0
        while done < steps:
            for batch in self.run.batches():
                self.optimizer.zero_grad()
                self.run.loss(*batch).backward()
                self.optimizer.step()
                for tracker in trackers:
                    tracker.step()
                done += 1
                if done >= steps:
                    return
            for tracker in trackers if by_epoch else ():
                tracker.end_epoch()


def healthy(seed: int = 0) -> Example:
    """Make a healthy run: its learning rate suits it."""
    run = Ratings(seed)
    return Example(run, Adam(run.model.parameters(), lr=0.01), None)


def zombie(seed: int = 0) -> Example:
    """Make a run whose learning rate is a hundred times too high."""
    run = Ratings(seed)
    return Example(run, Adam(run.model.parameters(), lr=1.0), "ZOMBIE_EMBEDDINGS")


def frozen(seed: int = 0) -> Example:
    """Make a run in which the gradient of every third item is masked."""
    run = Ratings(seed)
    mask = (torch.arange(run.model.item_emb.num_embeddings) % 3 != 0).unsqueeze(1)
    run.model.item_emb.weight.register_hook(lambda gradient: gradient * mask)
    return Example(run, Adam(run.model.parameters(), lr=0.01), "FROZEN_EMBEDDINGS")


def stuck(seed: int = 0) -> Example:
    """Make a run whose optimizer was not given the items' table."""
    run = Ratings(seed)
    return Example(run, Adam(run.model.user_emb.parameters(), lr=0.01), "STUCK_EMBEDDINGS")


def dead(seed: int = 0) -> Example:
    """Make a run in which a third of the items has no rating."""
    run = Ratings(seed)
    run.items = run.items // 3 * 2 + run.items % 3 % 2
    return Example(run, Adam(run.model.parameters(), lr=0.01), "DEAD_EMBEDDINGS")


def oversized(seed: int = 0) -> Example:
    """Make a run whose initial noise outweighs what can be learned, and training shrinks it."""
    run = Ratings(seed, init_std=1.0)
    return Example(run, Adam(run.model.parameters(), lr=0.03), "INITIALISATION_TOO_LARGE")


def collapsed(seed: int = 0) -> Example:
    """Make a run in which weight decay pulls every row to zero."""
    run = Ratings(seed)
    return Example(run, Adam(run.model.parameters(), lr=0.01, weight_decay=1.0), "REPRESENTATION_COLLAPSE")


EXAMPLES: tuple[Callable[[int], Example], ...] = (healthy, zombie, frozen, stuck, dead, oversized, collapsed)
"""Makers of one run of each state, as functions of the seed."""
