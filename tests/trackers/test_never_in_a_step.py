"""Whatever happens to a model while it trains, no tracker ends the training: one warning, and the report is blind."""

from __future__ import annotations

import copy
import threading
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from flowgrad.compression import apply_recipe
from flowgrad.compression.plans import PruningPlan, RowPlan, TableRows, LayerMask
from flowgrad.errors import FlowGradError
from flowgrad.rules import RuleBook
from flowgrad.trackers import TrackingStopped, TrainingTracker
from flowgrad.trackers.batches import BatchTracker
from flowgrad.trackers.distillation import DistillationTracker
from flowgrad.trackers.embedding import EmbeddingTracker
from flowgrad.trackers.flow import FlowTracker
from flowgrad.trackers.squared_gradients import SquaredGradients

RULES = RuleBook.load()
ROWS, DIM = 30, 4


class Model(nn.Module):
    """A table and a small network behind it."""

    def __init__(self, sparse=False):
        super().__init__()
        self.emb = nn.Embedding(ROWS, DIM, sparse=sparse)
        self.body = nn.Sequential(nn.Linear(DIM, 6), nn.ReLU(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))

    def forward(self, ids):
        return self.body(self.emb(ids))


class Run:
    """A loop with every tracker of a network on it, or with none."""

    def __init__(self, watched=True, auto_fix=False, optimizer=torch.optim.SGD, **model):
        torch.manual_seed(3)
        self.teacher, self.model = Model(), Model(**model)
        self.optimizer = optimizer(self.model.parameters(), lr=0.1)
        self.trackers, self.at, self.squares = {}, 0, None
        self.ids = lambda at: torch.arange(at, at + 8) % ROWS
        self.loss_told = lambda loss: loss
        if watched:
            given = {"rules": RULES}
            self.squares = SquaredGradients(self.optimizer)
            self.trackers = {
                "table": EmbeddingTracker(
                    self.model.emb, "table", optimizer=self.optimizer, auto_fix=auto_fix, **given
                ),
                "network": FlowTracker(self.model, self.optimizer, **given),
                "blind": FlowTracker(self.model, name="without", **given),
                "student": DistillationTracker(self.teacher, self.model, optimizer=self.optimizer, **given),
                "batches": BatchTracker(optimizer=self.optimizer, **given),
                "losses": TrainingTracker(**given),
            }

    def step(self):
        self.at += 1
        ids = self.ids(self.at)
        self.optimizer.zero_grad()
        with torch.no_grad():
            wanted = self.teacher(ids).softmax(-1)
        out = self.model(ids)
        soft = nn.functional.kl_div(out.log_softmax(-1), wanted.to(out.dtype), reduction="batchmean")
        loss = soft + (out**2).sum() / 8
        loss.backward()
        self.optimizer.step()
        told = self.loss_told(loss)
        for kind, tracker in self.trackers.items():
            if kind == "table":
                tracker.step()
            elif kind == "batches":
                tracker.step(ids, None, outputs=out, loss=told)
            elif kind == "student":
                tracker.step(told, soft)
            else:
                tracker.step(told)
        if self.at % 9 == 0:
            for kind in ("table", "network", "batches"):
                if kind in self.trackers:
                    self.trackers[kind].end_epoch()

    def train(self, steps):
        for _ in range(steps):
            self.step()

    def weights(self):
        return [tensor.detach().clone() for tensor in (*self.model.parameters(), *self.model.buffers())]


def _empty(run):
    run.ids = lambda at: torch.zeros(0, dtype=torch.long)


def _prune(run):
    prune.random_unstructured(run.model.emb, "weight", 0.3)
    prune.l1_unstructured(run.model.body[0], "weight", 0.3)


def _parametrize(run):
    parametrizations.weight_norm(run.model.emb, "weight")
    parametrizations.weight_norm(run.model.body[2], "weight")


def _buffer(run):
    for layer in (run.model.emb, run.model.body[0]):
        held = layer.weight
        del layer.weight
        layer.register_buffer("weight", held.detach().clone())


def _recipe(run):
    keep = torch.ones(6, DIM, dtype=torch.bool)
    keep[0] = False
    plan = PruningPlan((LayerMask("body.0.weight", (6, DIM), keep.numpy()),))
    apply_recipe(run.model, plan, keep_masks=True, inplace=True)
    rows = RowPlan((TableRows("emb.weight", (ROWS, DIM), (1, 2)),))
    apply_recipe(run.model, rows, keep_masks=True, inplace=True)


def _permanent(run):
    prune.random_unstructured(run.model.emb, "weight", 0.3)
    prune.remove(run.model.emb, "weight")


def _double(run):
    run.model.double()


def _half_table(run):
    run.model.emb.to(torch.float64)
    run.model.body.to(torch.float64)


def _resized(run):
    run.model.emb.weight = nn.Parameter(torch.ones(ROWS + 5, DIM))
    run.model.body[4].weight = nn.Parameter(torch.ones(3, 6))


def _replaced(run):
    run.model.emb = nn.Embedding(ROWS, DIM)
    run.model.body[0] = nn.Linear(DIM, 6)
    with torch.no_grad():
        run.model.emb.weight.fill_(0.1)
        run.model.body[0].weight.fill_(0.1)
        run.model.body[0].bias.fill_(0.1)


def _deleted(run):
    held = run.model.emb.weight.detach().clone()
    del run.model.emb
    run.model.emb = lambda ids: held[ids]
    del run.model.body[2]


def _sparse(run):
    run.model.emb.sparse = not run.model.emb.sparse


def _groups(run):
    held = run.optimizer.param_groups[0]["params"]
    run.optimizer.param_groups[0]["params"] = held[:-1]
    run.optimizer.add_param_group({"params": [held[-1]], "lr": 0.05})
    run.optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], "lr": torch.tensor(0.1)})


def _no_groups(run):
    run.optimizer.param_groups.clear()


def _frozen(run):
    run.model.emb.weight.requires_grad_(False)
    run.model.body[0].requires_grad_(False)


def _cleared(run):
    for module in run.model.modules():
        module._forward_hooks.clear()


def _evaluated(run):
    run.model.eval()


def _none_weight(run):
    run.optimizer.param_groups[0]["params"] = [p for p in run.model.parameters() if p is not run.model.body[2].bias]
    run.model.body[2].bias = None


EVENTS = {
    "empty": _empty, "prune": _prune, "parametrize": _parametrize, "buffer": _buffer, "recipe": _recipe,
    "permanent": _permanent, "double": _double, "converted": _half_table, "resized": _resized, "replaced": _replaced,
    "deleted": _deleted, "sparse": _sparse, "groups": _groups, "no groups": _no_groups, "frozen": _frozen,
    "hooks": _cleared, "evaluated": _evaluated, "no bias": _none_weight,
}  # fmt: skip


@pytest.mark.parametrize("event", EVENTS)
def test_training_goes_on_bit_for_bit_whatever_happens_to_the_model(event):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        runs = [Run(watched) for watched in (True, False)]
        for run in runs:
            run.train(12)
            torch.manual_seed(0)
            EVENTS[event](run)
            run.train(50)
    for one, other in zip(*(run.weights() for run in runs), strict=True):
        assert torch.equal(one.nan_to_num(), other.nan_to_num())
    told = [str(one.message) for one in warned if issubclass(one.category, TrackingStopped)]
    stopped = {name: tracker for name, tracker in runs[0].trackers.items() if tracker.stopped}
    print(event, sorted(stopped), told)
    assert len(told) == len(set(told)) == len(stopped) + bool(runs[0].squares.stopped)
    for name, tracker in runs[0].trackers.items():
        report = tracker.report()
        tracker.to_agent_xml()
        tracker.state_dict()
        if name in stopped:
            assert tracker.to_report().status == "NOT_OBSERVED"
            assert "stopped watching" in report
