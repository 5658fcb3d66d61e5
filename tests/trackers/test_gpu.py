"""On a GPU: training as without a tracker, the CPU's figures, and no step that waits for the device."""

import os
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from flowgrad import DistillationTracker, EmbeddingTracker, FlowTracker
from flowgrad.testing import seeded
from flowgrad.trackers.schedules import every

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, products of matrices differ between runs
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

ROWS, DIM, STEPS = 300, 8, 48
SPREAD = 1e-3
"""Relative; sums are taken in another order."""


class Factors(nn.Module):
    def __init__(self, sparse):
        super().__init__()
        self.table = nn.Embedding(ROWS, DIM, sparse=sparse)

    def forward(self, ids):
        return self.table(ids).sum(1)


def perceptron(width):
    return nn.Sequential(nn.Linear(DIM, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))


class Watched:
    """One run: a model, how a step of it is trained, and its tracker."""

    def __init__(self, kind, device, *, tracked=True):
        self.device, self.tracker = device, None
        with seeded(3):
            self.model = Factors(kind == "sparse table") if "table" in kind else perceptron(16)
            self.teacher = perceptron(32).to(device)
        self.model.to(device)
        sparse = kind == "sparse table"
        adam = torch.optim.SparseAdam if sparse else torch.optim.Adam
        self.optimizer = adam(self.model.parameters(), lr=0.01, **({} if sparse else {"fused": True}))
        rng = np.random.default_rng(5)
        shape = (STEPS, 64) if "table" in kind else (STEPS, 64, DIM)
        drawn = rng.integers(ROWS, size=shape) if "table" in kind else rng.normal(size=shape).astype("float32")
        self.inputs = torch.from_numpy(drawn).to(device)
        self.targets = torch.from_numpy(rng.normal(size=(STEPS, 64)).astype("float32")).to(device)
        if tracked:
            self.tracker = {
                "table": lambda: EmbeddingTracker(self.model.table, name="table"),
                "sparse table": lambda: EmbeddingTracker(self.model.table, name="table"),
                "layers": lambda: FlowTracker(self.model, self.optimizer, schedule=every(1)),
                "student": lambda: DistillationTracker(self.teacher, self.model, optimizer=self.optimizer),
            }[kind]()
        self.kind = kind

    def train(self):
        for step in range(STEPS):
            self.optimizer.zero_grad()
            output = self.model(self.inputs[step]).flatten()
            loss = functional.mse_loss(output, self.targets[step])
            loss.backward()
            self.optimizer.step()
            if self.tracker is not None:
                self.tracker.step(*(() if "table" in self.kind else (loss.detach(),)))
        return self

    def weights(self):
        return [parameter.detach().cpu() for parameter in self.model.parameters()]


KINDS = pytest.mark.parametrize("kind", ["table", "sparse table", "layers", "student"])


@pytest.fixture(autouse=True)
def repeatable():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@KINDS
def test_training_is_bit_for_bit_the_same(kind):
    with_tracker, without = (Watched(kind, "cuda", tracked=tracked).train() for tracked in (True, False))
    for ours, theirs in zip(with_tracker.weights(), without.weights(), strict=True):
        assert torch.equal(ours, theirs)


@KINDS
def test_figures_are_those_of_the_cpu(kind):
    ours, theirs = (Watched(kind, device).train().tracker.measurements() for device in ("cuda", "cpu"))
    assert ours.scalars.keys() == theirs.scalars.keys()
    for name, value in theirs.scalars.items():
        assert ours.scalars[name] == pytest.approx(value, rel=SPREAD, abs=SPREAD, nan_ok=True), name


def waits(kind, *, tracked):
    """How often a run makes the host wait for the device."""
    run = Watched(kind, "cuda", tracked=tracked)
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run.train()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("called a synchronizing" in str(warning.message) for warning in told)


@KINDS
def test_steps_do_not_wait_for_the_device(kind):
    """A look of the layers' tracker fetches its numbers, once; of other trackers, nothing waits but a first step and a
    sparse gradient, which is put in order where it is looked at.
    """
    looks = STEPS if kind in ("layers", "sparse table") else 0
    assert waits(kind, tracked=True) <= waits(kind, tracked=False) + looks + 1


@KINDS
def test_a_checkpoint_moves_to_the_cpu(kind):
    run = Watched(kind, "cuda").train()
    there = Watched(kind, "cpu")
    there.model.load_state_dict(run.model.state_dict())
    there.optimizer.load_state_dict(run.optimizer.state_dict())
    there.tracker.load_state_dict(run.tracker.state_dict())
    ours, theirs = there.tracker.measurements().scalars, run.tracker.measurements().scalars
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, rel=SPREAD, abs=SPREAD, nan_ok=True), name
