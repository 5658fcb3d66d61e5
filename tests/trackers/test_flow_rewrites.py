"""Weights that something other than the optimizers changes: put back, drawn anew, stepped twice; and healthy loops."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from flowgrad import FlowTracker
from flowgrad.rules import RuleBook
from flowgrad.testing import seeded
from flowgrad.trackers.schedules import every

RULES = RuleBook.load()
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(512, 12, generator=GENERATOR)
Y = (X @ torch.randn(12, generator=GENERATOR) / 3).unsqueeze(1) + 0.3 * torch.randn(512, 1, generator=GENERATOR)
EPOCHS = [torch.randperm(512, generator=GENERATOR).split(32) for _ in range(10)]


def perceptron():
    with seeded():
        return nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))


class Loop:
    """Ten epochs of sixteen steps, with a place for what happens before each epoch and behind each step."""

    def __init__(self, model=None, **options):
        self.model = perceptron() if model is None else model
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=2e-3)
        self.tracker = FlowTracker(self.model, self.optimizer, rules=RULES, **options)

    def before(self, epoch):
        pass

    def behind(self, batch):
        pass

    def run(self, epochs=EPOCHS):
        for epoch, batches in enumerate(epochs):
            self.before(epoch)
            for batch in batches:
                self.optimizer.zero_grad()
                loss = F.mse_loss(self.model(X[batch]), Y[batch])
                loss.backward()
                self.optimizer.step()
                self.tracker.step(loss.detach())
                self.behind(batch)
        return self.tracker


def types(tracker):
    return {finding.type for finding in tracker.findings()}


class DrawnAnew(Loop):
    def before(self, epoch):
        with seeded():
            for layer in (self.model[0], self.model[2]) if epoch else ():
                layer.reset_parameters()


class DrawnByApply(Loop):
    def before(self, epoch):
        generator = torch.Generator().manual_seed(self.seed(epoch))

        def draw(layer):
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, generator=generator)
                nn.init.zeros_(layer.bias)

        self.model.apply(draw)

    def seed(self, epoch):
        return epoch


class DrawnFromOneSeed(DrawnByApply):
    def seed(self, epoch):
        return 0


class Loaded(Loop):
    def before(self, epoch):
        if epoch == 0:
            self.state = copy.deepcopy(self.model.state_dict())
        else:
            self.model.load_state_dict(self.state)


@pytest.mark.parametrize("loop", [DrawnAnew, DrawnByApply])
@pytest.mark.parametrize("options", [{}, {"schedule": every(7)}])
def test_weights_that_are_reset_every_epoch_are_named(loop, options):
    """Such runs were silent, or said to be cut short."""
    (found,) = [one for one in loop(**options).run().findings() if one.type == "WEIGHTS_RESET"]
    assert found.severity == "high"
    assert found.fix is None
    assert {"DRAWN_ANEW_IN_THE_LOOP", "CHECKPOINT_LOADED_IN_THE_LOOP"} <= {one.cause for one in found.candidates}


@pytest.mark.parametrize("loop", [Loaded, DrawnFromOneSeed])
@pytest.mark.parametrize("options", [{}, {"schedule": every(7)}])
def test_weights_that_are_put_back_every_epoch_are_named_and_claimed(loop, options):
    """The loss hardly rises where an epoch is short, and nothing was said."""
    (found,) = [one for one in loop(**options).run().findings() if one.type == "WEIGHTS_RESET"]
    assert (found.rule_id, found.candidates) == ("weights_put_back", ())


def test_weights_that_are_loaded_where_no_step_moves_them_are_left_alone():
    class Still(Averaged):
        def before(self, epoch):
            self.optimizer.param_groups[0]["lr"] = 0.0
            super().before(epoch)

    assert "WEIGHTS_RESET" not in types(Still().run())


class Averaged(Loop):
    """The average of the weights is put in for a validation, and the weights are put back."""

    def before(self, epoch):
        own = copy.deepcopy(self.model.state_dict())
        self.model.load_state_dict({name: value * 0.9 for name, value in own.items()})
        self.model.load_state_dict(own)


class RestoredOnce(Loop):
    def before(self, epoch):
        if epoch == 3:
            self.state = copy.deepcopy(self.model.state_dict())
        if epoch == 8:
            self.model.load_state_dict(self.state)


class WarmRestarts(Loop):
    def before(self, epoch):
        self.optimizer.param_groups[0]["lr"] = 2e-2 if epoch % 3 == 0 else 2e-4


class LookAhead(Loop):
    """Every fifth step goes half way back (Zhang et al. 2019)."""

    def behind(self, batch):
        self.count = getattr(self, "count", 0) + 1
        if self.count == 1:
            self.slow = [p.detach().clone() for p in self.model.parameters()]
        if self.count % 5 == 0:
            with torch.no_grad():
                for slow, p in zip(self.slow, self.model.parameters(), strict=True):
                    slow.lerp_(p, 0.5)
                    p.copy_(slow)


class Uphill(Loop):
    """Weights go up and back between two steps, as in sharpness-aware training."""

    def behind(self, batch):
        with torch.no_grad():
            for p in self.model.parameters():
                p.add_(0.01)
                p.sub_(0.01)


HEALTHY = (Loop, Averaged, RestoredOnce, WarmRestarts, LookAhead, Uphill)


@pytest.mark.parametrize("loop", HEALTHY)
@pytest.mark.parametrize("options", [{}, {"schedule": every(1)}])
def test_weights_that_are_written_to_for_a_reason_are_left_alone(loop, options):
    assert not types(loop(**options).run()) & {"WEIGHTS_RESET", "UPDATES_UNEXPLAINED"}


class Twice(Loop):
    def __init__(self, **options):
        super().__init__(**options)
        self.second = torch.optim.SGD(self.model.parameters(), lr=0.05)

    def behind(self, batch):
        self.second.step()


class TwiceBeforeStep(Loop):
    """The second one steps before the tracker is told."""

    def __init__(self, **options):
        super().__init__(**options)
        second = torch.optim.SGD(self.model.parameters(), lr=0.05)
        self.optimizer.register_step_post_hook(lambda *_: second.step())


class Clamped(Loop):
    def behind(self, batch):
        for p in self.model.parameters():
            p.data.clamp_(-0.02, 0.02)


@pytest.mark.parametrize("loop", [Twice, TwiceBeforeStep, Clamped])
@pytest.mark.parametrize("options", [{}, {"schedule": every(1)}])
def test_updates_that_the_optimizer_does_not_explain_are_a_question(loop, options):
    (found,) = [one for one in loop(**options).run().findings() if one.type == "UPDATES_UNEXPLAINED"]
    assert found.severity == "medium"
    assert {"SECOND_OPTIMIZER", "WEIGHTS_CLIPPED_OR_AVERAGED"} <= {one.cause for one in found.candidates}


def test_optimizers_that_are_given_explain_what_they_do():
    """Both players of a game step in turns, and so do two optimizers of the same tensors."""
    for share in (slice(0, 2), slice(None)):
        model = perceptron()
        mine = list(model.parameters())
        one, other = torch.optim.Adam(mine, lr=2e-3), torch.optim.SGD(mine[share], lr=0.05)
        if share.stop:
            one = torch.optim.Adam(mine[share.stop :], lr=2e-3)
        tracker = FlowTracker(model, [one, other], rules=RULES)
        for batches in EPOCHS:
            for batch in batches:
                one.zero_grad()
                other.zero_grad()
                loss = F.mse_loss(model(X[batch]), Y[batch])
                loss.backward()
                one.step()
                other.step()
                tracker.step(loss.detach())
        assert not types(tracker) & {"WEIGHTS_RESET", "UPDATES_UNEXPLAINED"}


def test_rows_of_a_table_that_are_bounded_in_use_are_no_write():
    with seeded():
        model = nn.Sequential(nn.EmbeddingBag(40, 8, max_norm=0.5), nn.Linear(8, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    tracker = FlowTracker(model, optimizer, rules=RULES)
    for k in range(100):
        optimizer.zero_grad()
        loss = model(torch.arange(k, k + 12).reshape(4, 3) % 40).square().mean()
        loss.backward()
        optimizer.step()
        tracker.step(loss.detach())
    assert tracker.measurements().scalars["rewrites"] == 0
    assert not types(tracker) & {"WEIGHTS_RESET", "UPDATES_UNEXPLAINED"}


def test_what_was_written_to_survives_a_checkpoint():
    loop = DrawnAnew()
    loop.run(EPOCHS[:5])
    other = FlowTracker(loop.model, loop.optimizer, rules=RULES)
    other.load_state_dict(loop.tracker.state_dict())
    names = ("rewrites", "rewrite_share", "rewrite_rise", "rewrites_alike", "between_checks", "moved_between_share")
    before, after = (each.measurements().scalars for each in (loop.tracker, other))
    assert [after[name] for name in names] == [before[name] for name in names]


def test_watching_changes_no_weight():
    plain = Loop()
    plain.tracker.detach()
    plain.run()
    watched = Loop(schedule=every(1))
    watched.run()
    for one, other in zip(plain.model.parameters(), watched.model.parameters(), strict=True):
        assert torch.equal(one, other)
