"""Every way to step: each step is counted once, or what was not seen is said."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import flowgrad
from tests.watching_loops import Ranker, alike, batches, criterion, made, train


def unseen(watch):
    return {one.name: one.because for one in watch.to_report().coverage.unseen}


def seen(watch):
    return {one.name: one.value for one in watch.to_report().coverage.seen}


def compared(step, make, steps=24):
    """Train twice, watched and not, by `step`; returns the watch where the weights are equal."""
    models, watch = [], None
    for watched in (False, True):
        model = made()
        optimizer = make(model)
        if watched:
            watch = flowgrad.watch(model, optimizer)
        for place, (ids, labels) in enumerate(batches(epochs=-(-steps // 10))[:steps]):
            step(model, optimizer, ids, labels, watch, place)
        models.append(model)
    assert alike(*models)
    return watch


def plain(model, optimizer, ids, labels, watch, place):
    optimizer.zero_grad()
    loss = criterion(model(ids), labels)
    loss.backward()
    optimizer.step()
    if watch is not None:
        watch.log(loss=loss)


@pytest.mark.parametrize(
    "make",
    [
        lambda model: torch.optim.SGD(model.parameters(), 0.1, momentum=0.9),
        lambda model: torch.optim.AdamW(model.parameters(), 0.01, fused=True),
        lambda model: torch.optim.Adam(model.parameters(), 0.01, foreach=True),
        lambda model: torch.optim.Adagrad(model.parameters(), 0.1),
        lambda model: torch.optim.Adam(
            [{"params": model.tables.parameters(), "lr": 0.1}, {"params": model.net.parameters()}]
        ),
    ],
)
def test_plain_optimizers(make):
    watch = compared(plain, make)
    assert watch.steps == 24
    assert watch.to_report().status != "NOT_OBSERVED"
    assert {one.measurements().step for one in watch.tables.values()} == {24}
    watch.detach()


def test_gradients_that_are_summed_over_batches():
    def step(model, optimizer, ids, labels, watch, place):
        loss = criterion(model(ids), labels)
        (loss / 4).backward()
        if watch is not None:
            watch.log(loss=loss)
        if place % 4 == 3:
            optimizer.step()
            optimizer.zero_grad()

    watch = compared(step, lambda model: torch.optim.Adam(model.parameters(), 0.01))
    assert watch.steps == 6
    assert seen(watch)["lookups"] == 24 * 64 * 3
    assert watch.network.measurements().coverage.seen["losses"] == 6
    assert "loss" not in unseen(watch)
    assert "GRADIENTS_NOT_CLEARED" not in {one.type for one in watch.findings()}
    watch.detach()


@pytest.mark.parametrize("fused", [False, True])
def test_steps_that_a_scaler_leaves_out_are_no_steps(fused):
    """A fused optimizer is called by the scaler at a step that it leaves out: such steps were counted."""
    scalers = {}

    def step(model, optimizer, ids, labels, watch, place):
        scaler = scalers.setdefault(id(optimizer), torch.amp.GradScaler("cpu", init_scale=2.0**4))
        optimizer.zero_grad()
        loss = criterion(model(ids), labels)
        scaler.scale(loss * (float("inf") if place in (3, 10) else 1.0)).backward()
        scaler.step(optimizer)
        scaler.update()
        if watch is not None:
            watch.log(loss=loss)

    watch = compared(step, lambda model: torch.optim.Adam(model.parameters(), 0.01, fused=fused))
    assert watch.steps == 22
    assert {one.measurements().step for one in watch.tables.values()} == {22}
    assert seen(watch).get("skipped_steps", 0) == (2 if fused else 0)
    assert watch.network.measurements().scalars["steps"] == 22
    assert "NONFINITE_VALUES" not in {one.type for one in watch.findings()}
    watch.detach()


@pytest.mark.parametrize("several", [False, True])
def test_steps_that_the_loop_says_are_left_out(several):
    """A scaler does not call an optimizer that is not fused: only the loop knows of the step that it leaves out."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4)
    model = made()
    parts = (model.tables, model.net) if several else (model,)
    optimizers = [torch.optim.Adam(part.parameters(), 0.01) for part in parts]
    with flowgrad.watch(model, optimizers) as watch:
        for place, (ids, labels) in enumerate(batches(epochs=2)):
            loss = criterion(model(ids), labels)
            scaler.scale(loss * (float("inf") if place in (0, 1, 10) else 1.0)).backward()
            watch.log(loss=loss)
            for optimizer in optimizers:
                scaler.step(optimizer)
                optimizer.zero_grad()
            before = scaler.get_scale()
            scaler.update()
            if scaler.get_scale() < before:
                watch.skip()
        assert watch.steps == 17
        assert watch.skipped == seen(watch)["skipped_steps"] == 3
        assert watch.network.measurements().scalars["skipped_steps"] == 3
        assert "loss" not in unseen(watch)
        for optimizer in optimizers:
            watch.skip(optimizer)
        assert watch.skipped == 4


def test_a_closure_is_one_step():
    def step(model, optimizer, ids, labels, watch, place):
        def closure():
            optimizer.zero_grad()
            loss = criterion(model(ids), labels)
            loss.backward()
            return loss

        loss = optimizer.step(closure)
        if watch is not None:
            watch.log(loss=loss)

    watch = compared(step, lambda model: torch.optim.LBFGS(model.parameters(), 0.1, max_iter=4), steps=10)
    assert watch.steps == 10
    assert watch.to_report().status != "NOT_OBSERVED"
    watch.detach()


class Sam(torch.optim.Optimizer):
    """Climbs, computes the gradient there, and lets another optimizer step (Foret et al. 2021)."""

    def __init__(self, parameters, base, **settings):
        super().__init__(parameters, {"rho": 0.05})
        self.base_optimizer = base(self.param_groups, **settings)
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def first_step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.state[p]["old"] = p.data.clone()
                    p.add_(p.grad, alpha=0.05)
        self.zero_grad()

    @torch.no_grad()
    def second_step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if "old" in self.state[p]:
                    p.data = self.state[p]["old"]
        self.base_optimizer.step()
        self.zero_grad()


def test_sharpness_aware_steps():
    def step(model, optimizer, ids, labels, watch, place):
        loss = criterion(model(ids), labels)
        loss.backward()
        optimizer.first_step()
        criterion(model(ids), labels).backward()
        optimizer.second_step()
        if watch is not None:
            watch.log(loss=loss)

    watch = compared(step, lambda model: Sam(model.parameters(), torch.optim.SGD, lr=0.1))
    assert watch.steps == 24
    assert watch.to_report().status != "NOT_OBSERVED"
    watch.detach()


class Accelerated(torch.optim.Optimizer):
    """As accelerate's: it holds `.optimizer`, is an Optimizer itself, and has no hooks of its own."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    @property
    def param_groups(self):
        return self.optimizer.param_groups

    def zero_grad(self, set_to_none=True):
        self.optimizer.zero_grad(set_to_none)

    def step(self, closure=None):
        self.optimizer.step(closure)


class Slots:
    """Wraps an optimizer and offers it as a property."""

    __slots__ = ("_held",)

    def __init__(self, optimizer):
        self._held = optimizer

    @property
    def optimizer(self):
        return self._held

    def zero_grad(self):
        self._held.zero_grad()

    def step(self):
        self._held.step()


@pytest.mark.parametrize("wrap", [Accelerated, Slots, lambda one: Slots(Accelerated(one))])
def test_wrappers_are_opened(wrap):
    watch = compared(plain, lambda model: wrap(torch.optim.Adam(model.parameters(), 0.01)))
    assert watch.steps == 24
    assert watch.to_report().run.training["optimizer"] == "Adam"
    watch.detach()


def test_something_without_hooks_is_refused():
    class Own:
        def __init__(self, parameters):
            self.param_groups = [{"params": list(parameters), "lr": 0.1}]

        def step(self):
            pass

    model = made()
    with pytest.raises(TypeError, match="optimizer is Own, which has no step hooks"):
        flowgrad.watch(model, Own(model.parameters()))


def both(model, **settings):
    return [torch.optim.SparseAdam(model.tables.parameters(), 0.01), torch.optim.Adam(model.net.parameters(), 0.01)]


def test_two_optimizers_that_step_one_after_the_other_take_one_step():
    model = made(sparse=True)
    with flowgrad.watch(model, both(model)) as watch:
        train(model, watch._optimizers.all, watch, 24)
        assert seen(watch)["steps"] == watch.steps == 24
        assert watch.network.measurements().scalars["looks"] >= 20
        assert "other_optimizers" not in unseen(watch)


def test_an_optimizer_that_steps_more_often_counts():
    """A discriminator that steps five times as often as its generator: five steps to each of the generator's."""
    model = made()
    often = torch.optim.Adam(model.net.parameters(), 0.01)
    seldom = torch.optim.Adam(model.tables.parameters(), 0.01)
    with flowgrad.watch(model, [often, seldom]) as watch:
        for place, (ids, labels) in enumerate(batches(epochs=2)):
            often.zero_grad()
            seldom.zero_grad()
            criterion(model(ids), labels).backward()
            often.step()
            if place % 5 == 4:
                seldom.step()
        assert seen(watch)["steps"] == 20
        assert {one.measurements().step for one in watch.tables.values()} == {4}


def test_a_phase_of_another_optimizer_is_counted():
    model = made()
    net, tables = torch.optim.Adam(model.net.parameters(), 0.01), torch.optim.Adam(model.tables.parameters(), 0.01)
    with flowgrad.watch(model, [net, tables]) as watch:
        train(model, [net], watch, 20)
        train(model, [tables], watch, 20)
        train(model, [net], watch, 10)
        assert seen(watch)["steps"] == 50
        assert watch.tables["tables.0"].measurements().step == 20


@pytest.mark.parametrize("clear", [True, False])
def test_a_phase_of_another_optimizer_that_nobody_named_is_counted(clear):
    model = made()
    net, tables = torch.optim.Adam(model.net.parameters(), 0.01), torch.optim.Adam(model.tables.parameters(), 0.01)
    with flowgrad.watch(model) as watch:
        train(model, [net], watch, 20)
        if clear:
            tables.zero_grad()
        train(model, [tables], watch, 20)
        assert seen(watch)["steps"] == 40


def test_an_optimizer_that_joins_late_is_counted():
    model = made()
    net, tables = torch.optim.Adam(model.net.parameters(), 0.01), torch.optim.Adam(model.tables.parameters(), 0.01)
    with flowgrad.watch(model, [net, tables]) as watch:
        train(model, [net], watch, 20)
        train(model, [net, tables], watch, 20)
        assert seen(watch)["steps"] == 40
        assert watch.tables["tables.0"].measurements().step == 20


def test_optimizers_that_nobody_named_are_found():
    """Each is watched from its first step on, and that step is seen."""
    twin = made(sparse=True)
    train(twin, both(twin), steps=24)
    model = made(sparse=True)
    with flowgrad.watch(model) as watch:
        train(model, both(model), watch, 24)
        assert watch.steps == 24
        assert alike(model, twin)
        report = watch.to_report()
        assert report.run.training["optimizer"] == "SparseAdam, Adam"
        assert report.status != "NOT_OBSERVED"
        measured = watch.network.measurements()
        assert measured.tables["rows"]["in_optimizer"].eq(1).all()
        assert measured.scalars["optimizer_steps"] == 48
        assert {one.measurements().step for one in watch.tables.values()} == {24}
        assert watch.tables["tables.0"].measurements().scalars["in_optimizer"] == 1


def test_optimizers_of_other_models_are_passed_over():
    model, other = made(), made(2)
    with flowgrad.watch(model) as watch:
        train(other, [torch.optim.Adam(other.parameters(), 0.01)], steps=4)
        train(model, [torch.optim.Adam(model.parameters(), 0.01)], watch, 4)
        assert watch.steps == 4


def test_an_optimizer_made_anew_each_epoch_is_followed():
    model = made()
    with flowgrad.watch(model) as watch:
        for _ in range(3):
            train(model, [torch.optim.Adam(model.parameters(), 0.01)], watch, 10)
        assert seen(watch)["steps"] == 30
        assert "3 optimizers" in unseen(watch)["optimizers"]


def test_an_optimizer_that_was_not_given_is_said():
    model = made()
    given, other = torch.optim.Adam(model.net.parameters(), 0.01), torch.optim.SGD(model.tables.parameters(), 0.1)
    with flowgrad.watch(model, given) as watch:
        train(model, [given, other], watch, 24)
        assert watch.steps == 24
        assert "took 24 steps" in unseen(watch)["optimizer SGD"]


def test_steps_within_the_backward_pass():
    """Each tensor has an optimizer of its own, which steps as soon as its gradient is there."""
    model = made()
    own = {p: torch.optim.SGD([p], 0.05) for p in model.parameters()}

    def step(parameter):
        own[parameter].step()
        own[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    with flowgrad.watch(model, list(own.values())) as watch:
        for ids, labels in batches(epochs=2):
            loss = criterion(model(ids), labels)
            loss.backward()
            watch.log(loss=loss)
        assert watch.steps == 20
        assert watch.to_report().status != "NOT_OBSERVED"


def test_a_step_that_calls_no_hooks_is_not_healthy():
    model = made()
    with flowgrad.watch(model) as watch:
        for ids, labels in batches():
            criterion(model(ids), labels).backward()
            with torch.no_grad():
                for p in model.parameters():
                    p -= 0.1 * p.grad
                    p.grad = None
        report = watch.to_report()
        assert report.status == "NOT_OBSERVED"
        assert "written by hand" in report.coverage.blind
        assert report.findings == ()


def test_groups_that_are_added_later():
    model = made()
    optimizer = torch.optim.Adam(model.net.parameters(), 0.01)
    with flowgrad.watch(model, optimizer) as watch:
        train(model, [optimizer], watch, 10)
        optimizer.add_param_group({"params": list(model.tables.parameters())})
        train(model, [optimizer], watch, 10)
        assert watch.steps == 20
        assert {one.measurements().step for one in watch.tables.values()} == {20}


def test_a_table_that_no_optimizer_holds_is_found():
    model = made()
    optimizer = torch.optim.Adam(model.net.parameters(), 0.01)
    with flowgrad.watch(model, optimizer) as watch:
        train(model, [optimizer], watch)
        found = {one.type: one for one in watch.to_report().findings}
        assert found["TABLE_NOT_IN_OPTIMIZER"].places.count == 3
        assert {one.measurements().step for one in watch.tables.values()} == {40}


def test_a_compiled_model_is_watched():
    """The graph is compiled after watching began."""
    torch._dynamo.reset()
    model, twin = made(), made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with flowgrad.watch(model, optimizer) as watch:
        train(torch.compile(model, backend="eager"), [optimizer], watch, 24)
        assert watch.steps == 24
        assert seen(watch)["lookups"] == 24 * 64 * 3
    torch._dynamo.reset()
    train(twin, [torch.optim.Adam(twin.parameters(), 0.01)], steps=24)
    assert alike(model, twin)


def test_a_model_that_was_compiled_before_is_watched():
    torch._dynamo.reset()
    model = torch.compile(made(), backend="eager")
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with flowgrad.watch(model, optimizer) as watch:
        train(model, [optimizer], watch, 24)
        assert watch.steps == 24
        assert list(watch.tables) == ["tables.0", "tables.1", "tables.2"]
        assert seen(watch)["lookups"] == 24 * 64 * 3
    torch._dynamo.reset()


def test_layers_alone():
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.Rprop(model.parameters())
    with flowgrad.watch(model, optimizer) as watch:
        for _ in range(10):
            optimizer.zero_grad()
            model(torch.ones(2, 4)).sum().backward()
            optimizer.step()
        assert watch.steps == 10


def test_a_table_of_a_model_that_is_called_in_parts():
    model = Ranker()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with flowgrad.watch(model, optimizer) as watch:
        model.tables[1].weight.data.normal_()
        for ids, labels in batches():
            optimizer.zero_grad()
            rows = torch.cat([table(ids[:, k]) for k, table in enumerate(model.tables)], 1)
            criterion(model.net(rows).squeeze(1), labels).backward()
            optimizer.step()
        assert seen(watch)["lookups"] == 10 * 64 * 3
