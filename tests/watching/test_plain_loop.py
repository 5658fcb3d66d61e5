"""One line around any loop: every step once, no bit changed, and what was seen."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

import flowgrad
from flowgrad.trackers import TrackingStopped
from flowgrad.trackers.schedules import every
from tests.watching_loops import Ranker, alike, batches, criterion, data, made, train


def seen(watch):
    return {one.name: one.value for one in watch.to_report().coverage.seen}


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("looks", [None, every(1)])
def test_weights_are_those_of_a_run_that_is_not_watched(sparse, looks):
    models = []
    for watched in (False, True):
        model = made(sparse=sparse)
        optimizers = [torch.optim.SparseAdam(model.tables.parameters(), 0.01)] if sparse else []
        optimizers.append(torch.optim.Adam((model.net if sparse else model).parameters(), 0.01))
        torch.manual_seed(7)
        watch = flowgrad.watch(model, optimizers, schedule=looks) if watched else None
        models.append((train(model, optimizers, watch), torch.rand(1)))
        if watch:
            watch.report()
            watch.detach()
    assert alike(models[0][0], models[1][0])
    assert torch.equal(models[0][1], models[1][1])


def test_every_step_and_every_lookup_is_counted_once(watched):
    assert watched.steps == 40
    assert {one.measurements().step for one in watched.tables.values()} == {40}
    wanted = {"steps": 40, "losses": 40, "lookups": 40 * 64 * 3, "tables": 3, "tables_observed": 3}
    assert wanted.items() <= seen(watched).items()


def test_tables_are_named_by_their_path(watched):
    assert list(watched.tables) == ["tables.0", "tables.1", "tables.2"]


class Wrapped(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, ids):
        return self.module(ids)


class Mixed(nn.Module):
    """Tables of every kind: bags, shared weights, one that is frozen, one of a single column, one with padding."""

    def __init__(self):
        super().__init__()
        self.item = nn.Embedding(30, 8)
        self.same = self.item
        self.twin = nn.Embedding(30, 8)
        self.twin.weight = self.item.weight
        self.bag = nn.EmbeddingBag(30, 8, mode="sum")
        self.frozen = nn.Embedding(30, 8).requires_grad_(False)
        self.bias = nn.Embedding(30, 1)
        self.padded = nn.Embedding(30, 8, padding_idx=0)
        self.top = nn.Linear(8, 1)

    def forward(self, ids):
        ids = ids % 30
        a, b, c = ids.T
        rows = self.item(a) + self.twin(b) + self.bag(c[:, None]) + self.frozen(a) + self.padded(b)
        return (self.top(rows * self.same(c)) + self.bias(a)).squeeze(1)


def test_tables_of_every_kind_are_found_once():
    torch.manual_seed(0)
    model = Mixed()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.01)
    with flowgrad.watch(model, optimizer) as watch:
        train(model, [optimizer], watch)
        assert list(watch.tables) == ["item", "twin", "bag", "frozen", "bias", "padded"]
        assert seen(watch)["tables"] == 6
        assert "requires_grad is False" in str(watch.to_report().coverage.unseen)


def test_a_wrapper_does_not_show_in_names():
    model = Wrapped(made())
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with flowgrad.watch(model, optimizer) as watch:
        train(model, [optimizer], watch, 4)
        assert next(iter(watch.tables)) == "tables.0"


class Computed(nn.Embedding):
    """A table that is given something else first."""

    def forward(self, other, ids):
        return super().forward(ids)


def test_a_table_that_cannot_be_watched_is_said():
    model = nn.ModuleDict({"odd": Computed(5, 4), "plain": nn.Embedding(5, 4)})
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with flowgrad.watch(model, optimizer) as watch:
        for _ in range(4):
            optimizer.zero_grad()
            (model["odd"](None, torch.arange(5)) + model["plain"](torch.arange(5))).square().sum().backward()
            optimizer.step()
        unseen = {one.name: one.because for one in watch.to_report().coverage.unseen}
        assert "takes 'other' first" in unseen["table odd"]
        assert seen(watch)["tables"] == 2
        assert seen(watch)["tables_observed"] == 1


@pytest.mark.parametrize("change", ["loaded", "converted", "replaced", "written"])
def test_what_becomes_of_the_model_before_the_first_pass_is_seen(change):
    """Trackers that were attached at once compared trained weights with those that the model was made with."""
    model = made()
    other = made(3)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    watch = flowgrad.watch(model, optimizer)
    if change == "loaded":
        model.load_state_dict(other.state_dict())
    elif change == "converted":
        model.double()
    elif change == "replaced":
        model.tables[0] = nn.Embedding(30, 8)
        optimizer.add_param_group({"params": model.tables[0].parameters()})
    else:
        nn.init.normal_(model.tables[0].weight, std=3.0)
    began = model.tables[0].weight.detach().clone()
    train(model, [optimizer], watch)
    tracker = watch.tables["tables.0"]
    assert tracker.layer is model.tables[0]
    assert torch.equal(tracker._followed.initial, began)
    assert watch.steps == 40
    assert watch.to_report().status != "NOT_OBSERVED"
    watch.detach()


def test_copies_of_the_model_are_not_watched():
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    watch = flowgrad.watch(model, optimizer)
    twin = copy.deepcopy(model)
    train(twin, [torch.optim.Adam(twin.parameters(), 0.01)], steps=4)
    assert watch.steps == 0
    train(model, [optimizer], watch, 4)
    assert watch.steps == 4
    watch.detach()


def test_no_step_is_not_healthy():
    model = made()
    watch = flowgrad.watch(model, torch.optim.Adam(model.parameters()))
    for ids, labels in batches():
        criterion(model(ids), labels).backward()
    report = watch.to_report()
    assert report.status == "NOT_OBSERVED"
    assert "no step of the optimizer was seen" in report.coverage.blind
    watch.detach()


def test_an_optimizer_of_another_model_is_not_healthy():
    model, other = made(), made()
    optimizer = torch.optim.Adam(other.parameters(), 0.01)
    with flowgrad.watch(model, optimizer) as watch:
        train(other, [optimizer], watch)
        assert watch.to_report().status == "NOT_OBSERVED"


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match="model is list; give the torch"):
        flowgrad.watch([1, 2], None)
    with pytest.raises(TypeError, match="optimizer is int, which has no step hooks"):
        flowgrad.watch(made(), 3)


def test_several_models_are_one_training():
    users, items = nn.Embedding(20, 4), nn.Embedding(20, 4)
    optimizer = torch.optim.SGD([*users.parameters(), *items.parameters()], 0.1)
    with flowgrad.watch({"users": users, "items": items}, optimizer) as watch:
        for _ in range(4):
            optimizer.zero_grad()
            (users(torch.arange(8)) * items(torch.arange(8))).sum().backward()
            optimizer.step()
        assert list(watch.tables) == ["users", "items"]
        assert seen(watch)["lookups"] == 64


def test_layers_without_a_shape_yet_are_said():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(20, 4), nn.LazyLinear(1))
    watch = flowgrad.watch(model)
    model(torch.arange(4))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(8):
        optimizer.zero_grad()
        model(torch.arange(20)).square().sum().backward()
        optimizer.step()
    unseen = {one.name: one.because for one in watch.to_report().coverage.unseen}
    assert "network" not in unseen or "lazy module" in unseen["network"]
    assert watch.steps == 8
    watch.detach()


def test_workers_and_copies_of_a_watch_are_no_concern():
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with flowgrad.watch(model, optimizer) as watch:
        ids, labels = data()
        rows = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(ids, labels), 64, num_workers=1)
        for x, y in rows:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
            average = copy.deepcopy(model)
        average(ids)
        assert watch.steps == 10
        assert seen(watch)["lookups"] == 640 * 3


def test_nothing_is_left_on_the_model_and_the_optimizer():
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with flowgrad.watch(model, optimizer) as watch:
        train(model, [optimizer], watch, 4)
    hooks = [hook for module in model.modules() for hook in (*module._forward_hooks, *module._forward_pre_hooks)]
    assert hooks == []
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks
    assert watch.steps == 4
    train(model, [optimizer], watch, 4)
    assert watch.steps == 4
    assert "steps" in watch.report()


def test_a_loss_that_is_none_is_refused_at_first_and_ends_the_watching_later():
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    watch = flowgrad.watch(model, optimizer)
    with pytest.raises(ValueError, match="loss has shape"):
        watch.log(loss=torch.zeros(3))
    train(model, [optimizer], watch, 4)
    with pytest.warns(TrackingStopped, match="stopped watching at log"):
        watch.log(loss="low")
    train(model, [optimizer], watch, 4)
    assert watch.to_report().status == "NOT_OBSERVED"
    assert watch.steps == 4


def test_a_fault_within_a_step_never_ends_the_training(monkeypatch):
    """Hooks were taken off while the optimizer went through them, which ended the training with an error of torch's."""
    for name in ("_look", "_plan"):
        model, other = made(), made()
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        watch = flowgrad.watch(model, optimizer)
        train(model, [optimizer], watch, 4)
        for tracker in (watch.network, watch.tables["tables.1"]):
            monkeypatch.setattr(tracker, name, lambda *_: 1 / 0, raising=True)
        with pytest.warns(TrackingStopped):
            train(model, [optimizer], watch, 30)
        optimizer = torch.optim.Adam(other.parameters(), 0.01)
        train(other, [optimizer], steps=4)
        train(other, [optimizer], steps=30)
        assert alike(model, other)
        assert watch.steps == 34
        assert "stopped watching" in watch.report()
        watch.detach()


def test_a_fault_of_the_watch_itself_is_warned_of_once(monkeypatch):
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    watch = flowgrad.watch(model, optimizer)
    train(model, [optimizer], watch, 4)
    monkeypatch.setattr(watch._attached, "stepped", lambda *_: 1 / 0)
    with pytest.warns(TrackingStopped) as warned:
        train(model, [optimizer], watch, 8)
    assert len(warned) == 1
    report = watch.to_report()
    assert report.status == "NOT_OBSERVED"
    assert "after 4 steps" in report.coverage.blind


def test_the_network_of_a_model_that_has_none_is_passed_over():
    model = Ranker()
    with flowgrad.watch(model.tables, torch.optim.SGD(model.tables.parameters(), 0.1)) as watch:
        assert len(watch.tables) == 3


def test_a_watch_goes_with_its_model():
    """The hook on all optimizers kept every watch of a notebook alive, with its model."""

    def once():
        model = made()
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        watch = flowgrad.watch(model, optimizer)
        train(model, [optimizer], watch, 4)
        return weakref.ref(model), weakref.ref(watch)

    kept = once()
    gc.collect()
    assert [one() for one in kept] == [None, None]
