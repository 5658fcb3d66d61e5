"""Strangers' loops: what is wrong is named, what is healthy is left alone, and what could not be seen is said."""

import copy
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import lr_scheduler

from flowgrad import FlowTracker
from flowgrad.report import FINDINGS, HEALTHY, NOT_OBSERVED
from flowgrad.rules import RuleBook
from flowgrad.testing import seeded
from flowgrad.trackers.schedules import every, logarithmic

RULES = RuleBook.load()
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(512, 12, generator=GENERATOR)
Y = (X @ torch.randn(12, generator=GENERATOR) / 3).unsqueeze(1) + 0.3 * torch.randn(512, 1, generator=GENERATOR)
BATCHES = [torch.randint(512, (32,), generator=GENERATOR) for _ in range(400)]


def perceptron(outputs=1, activation=nn.ReLU):
    with seeded():
        return nn.Sequential(nn.Linear(12, 32), activation(), nn.Linear(32, 32), activation(), nn.Linear(32, outputs))


def adam(parameters):
    return torch.optim.Adam(parameters, lr=2e-3)


def pretrained(module):
    """The module with weights that no initialiser draws."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(torch.randn(parameter.shape, generator=generator).exp())
    return module


class Loop:
    """A loop with one thing that differs from the plain one."""

    def __init__(self, model=None, optimizer=adam, steps=150, watched=None, **options):
        self.model = perceptron() if model is None else model
        self.optimizer = optimizer([p for p in self.model.parameters() if p.requires_grad])
        self.steps = steps
        self.watched = self.optimizer if watched is None else watched
        self.tracker = FlowTracker(self.model, self.watched or None, rules=RULES, **options)

    def loss(self, batch):
        return F.mse_loss(self.model(X[batch]), Y[batch])

    def step(self, batch, number):
        self.optimizer.zero_grad()
        loss = self.loss(batch)
        loss.backward()
        self.optimizer.step()
        self.tracker.step(loss)

    def run(self):
        for number, batch in enumerate(BATCHES[: self.steps]):
            self.number = number
            self.step(batch, number)
        return self.tracker


def types(tracker):
    return {finding.type for finding in tracker.findings()}


def finding(tracker, kind):
    (found,) = [found for found in tracker.findings() if found.type == kind]
    return found


# --- gradients that are not cleared ----------------------------------------------------------------------------------


class Never(Loop):
    def step(self, batch, number):
        loss = self.loss(batch)
        loss.backward()
        self.optimizer.step()
        self.tracker.step(loss)


class Accumulated(Loop):
    def step(self, batch, number):
        if number % 4 == 0:
            self.optimizer.zero_grad()
        loss = self.loss(batch) / 4
        loss.backward()
        if number % 4 == 3:
            self.optimizer.step()
            self.tracker.step(loss)


class RightAfterStep(Loop):
    def step(self, batch, number):
        loss = self.loss(batch)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=False)
        self.tracker.step(loss)


class AfterTracker(Loop):
    def step(self, batch, number):
        loss = self.loss(batch)
        loss.backward()
        self.optimizer.step()
        self.tracker.step(loss)
        self.model.zero_grad()


class BetweenPasses(Loop):
    def step(self, batch, number):
        loss = self.loss(batch)
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad.zero_()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 0.1)
        self.optimizer.step()
        self.tracker.step(loss)


class WholeTable(Loop):
    """Successive gradients are nearly equal, and cleared."""

    def loss(self, batch):
        return F.mse_loss(self.model(X), Y)


class TwoPasses(Loop):
    def step(self, batch, number):
        self.optimizer.zero_grad()
        loss = self.loss(batch)
        loss.backward(retain_graph=True)
        loss.backward()
        self.optimizer.step()
        self.tracker.step(loss)


class Closure(Loop):
    def step(self, batch, number):
        def closure():
            self.optimizer.zero_grad()
            loss = self.loss(batch)
            loss.backward()
            return loss

        self.tracker.step(self.optimizer.step(closure))


CLEARED = [Loop, Accumulated, RightAfterStep, AfterTracker, BetweenPasses, WholeTable, TwoPasses, Closure]


@pytest.mark.parametrize("loop", CLEARED)
def test_gradients_that_are_cleared_are_left_alone(loop):
    tracker = loop(schedule=every(1)).run()
    scalars = tracker.measurements().scalars
    assert scalars["clearing_checks"] >= 30
    assert scalars["uncleared_steps"] == 0
    assert tracker.to_report().status == HEALTHY


@pytest.mark.parametrize(
    "optimizer",
    [
        adam,
        lambda p: torch.optim.SGD(p, lr=1e-3),
        lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9),
        lambda p: torch.optim.AdamW(p, lr=1e-3, fused=True),
    ],
)
@pytest.mark.parametrize("options", [{}, {"schedule": every(10)}, {"watched": False}])
def test_gradients_that_are_never_cleared_are_named_and_nothing_else(optimizer, options):
    """IBM/aihwkit #446: it was called OSCILLATING_LOSS, EXPLODING_GRADIENTS, or nothing."""
    tracker = Never(optimizer=optimizer, **options).run()
    assert all(found.candidates for found in tracker.findings() if found.type == "NONFINITE_VALUES")
    if options.get("watched") is False:
        # Without the optimizer nobody knows whether its steps sum several passes up.
        assert types(tracker) - {"NONFINITE_VALUES"} == {"GRADIENTS_ADD_UP"}
        causes = [one.cause for one in finding(tracker, "GRADIENTS_ADD_UP").candidates]
        assert causes == ["ACCUMULATION", "GRADIENTS_NOT_CLEARED"]
        return
    assert types(tracker) - {"NONFINITE_VALUES"} == {"GRADIENTS_NOT_CLEARED"}
    assert "zero_grad" in finding(tracker, "GRADIENTS_NOT_CLEARED").plain["torch"]


def test_a_gradient_of_another_player_is_no_gradient_that_was_not_cleared():
    """A generator's pass leaves gradients in the discriminator, which clears them before its own."""
    with seeded():
        maker, judge = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 12)), perceptron()
    both = nn.ModuleList([maker, judge])
    makes, judges = adam(maker.parameters()), adam(judge.parameters())
    trackers = [
        FlowTracker(both, [makes, judges], rules=RULES, schedule=every(1)),
        FlowTracker(judge, judges, rules=RULES, schedule=every(1)),
        FlowTracker(maker, makes, rules=RULES, schedule=every(1)),
        FlowTracker(both, makes, rules=RULES, schedule=every(1)),
    ]
    noise = torch.Generator().manual_seed(1)
    for batch in BATCHES[:120]:
        fake = maker(torch.randn(32, 4, generator=noise))
        judges.zero_grad()
        loss = F.softplus(judge(fake.detach())).mean() + F.softplus(-judge(X[batch])).mean()
        loss.backward()
        judges.step()
        makes.zero_grad()
        fooled = F.softplus(-judge(fake)).mean()
        fooled.backward()
        makes.step()
        for tracker in trackers:
            tracker.step(fooled)
    for tracker in trackers:
        assert tracker.measurements().scalars["uncleared_steps"] == 0
        assert tracker.to_report().status == HEALTHY, types(tracker)
    unseen = {one.name for one in trackers[-1].to_report().coverage.unseen}
    assert "other_optimizers" in unseen
    rows = trackers[0].measurements().tables["rows"]
    assert (rows["velocity"] > 0).all()


# --- tensors without gradient ----------------------------------------------------------------------------------------


class Cut(nn.Module):
    def __init__(self, how):
        super().__init__()
        with seeded():
            self.encoder = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 16), nn.GELU())
            self.head = nn.Linear(16, 1)
            if how == "argmax":
                self.table = nn.Embedding(16, 16)
        self.how = how

    def forward(self, x):
        if self.how == "no_grad":
            with torch.no_grad():
                z = self.encoder(x)
        else:
            z = self.encoder(x)
        if self.how == "argmax":
            return self.head(self.table(z.argmax(1)))
        if self.how == "detach":
            z = z.detach()
        if self.how == "numpy":
            z = torch.from_numpy(z.detach().numpy().copy())
        return self.head(z)


@pytest.mark.parametrize("how", ["detach", "no_grad", "numpy", "argmax"])
def test_layers_before_a_cut_are_named(how):
    """queenie88/A-GCN #4: it was called LEARNING_RATE_TOO_LOW, and AdamW at .001 prescribed, which it was."""
    tracker = Loop(Cut(how)).run()
    assert types(tracker) == {"PARAMETERS_WITHOUT_GRADIENT"}
    found = finding(tracker, "PARAMETERS_WITHOUT_GRADIENT")
    assert list(found.rows.index) == [f"encoder.{i}.{part}" for i in (0, 2) for part in ("weight", "bias")]
    assert found.severity == "high"


def test_a_cut_that_is_seen_is_claimed():
    class Seen(Cut):
        def __init__(self):
            super().__init__("detach")
            self.encoder[3] = nn.ReLU()

    assert finding(Loop(Seen()).run(), "PARAMETERS_WITHOUT_GRADIENT").plain


def test_an_encoder_that_the_gradient_reaches_is_left_alone():
    assert "PARAMETERS_WITHOUT_GRADIENT" not in types(Loop(Cut("")).run())


class Branches(nn.Module):
    """With a head that is not used, one whose output no loss sees, or a teacher."""

    def __init__(self, how):
        super().__init__()
        with seeded():
            self.body, self.head = nn.Sequential(nn.Linear(12, 32), nn.ReLU()), nn.Linear(32, 1)
            self.other = nn.Linear(32 if how != "before" else 12, 5)
        self.how = how
        self.copy = copy.deepcopy(self.head) if how == "teacher" else None

    def forward(self, x):
        if self.how == "before":
            self.other(x)
        z = self.body(x)
        if self.how == "computed":
            self.other(z)
        return self.head(z)


@pytest.mark.parametrize("how", ["unused", "computed", "before"])
def test_a_branch_that_no_loss_reaches_is_a_question(how):
    """It was called STAGNANT_LAYERS, with a learning rate prescribed."""
    tracker = Loop(Branches(how)).run()
    assert types(tracker) == {"PARAMETERS_WITHOUT_GRADIENT"}
    found = finding(tracker, "PARAMETERS_WITHOUT_GRADIENT")
    assert set(found.rows.index) == {"other.weight", "other.bias"}
    assert found.severity == ("low" if how == "unused" else "medium")
    assert found.candidates
    assert found.plain == {}


def test_what_asks_for_no_gradient_is_left_alone():
    model = Branches("unused")
    pretrained(model.other).requires_grad_(False)
    pretrained(model.body).requires_grad_(False)
    assert types(Loop(model).run()) == set()


def test_a_copy_in_no_optimizer_that_takes_no_gradient_is_left_alone():
    """An average of the weights within the module, or a teacher, asks for gradients by default."""
    model = Branches("teacher")
    trained = [p for name, p in model.named_parameters() if "copy" not in name and "other" not in name]
    assert types(Loop(model, optimizer=lambda _: adam(trained)).run()) == set()


def test_a_gradient_that_stops_midway_is_a_question_and_so_are_layers_frozen_midway():
    class Midway(Loop):
        frozen = False

        def loss(self, batch):
            z = self.model[:2](X[batch])
            if self.number >= 100 and not self.frozen:
                z = z.detach()
            return F.mse_loss(self.model[2:](z), Y[batch])

        def step(self, batch, number):
            if number == 100 and self.frozen:
                self.model[0].requires_grad_(False)
            super().step(batch, number)

    tracker = Midway(schedule=every(2), steps=200).run()
    found = finding(tracker, "GRADIENT_STOPPED")
    assert set(found.rows.index) == {"0.weight", "0.bias"}
    assert set(found.rows["last_gradient"]) == {99}
    assert found.candidates
    Midway.frozen = True
    tracker = Midway(schedule=every(2), steps=200).run()
    assert types(tracker) == {"FROZEN_MIDWAY"}
    found = finding(tracker, "FROZEN_MIDWAY")
    assert set(found.rows.index) == {"0.weight", "0.bias"}
    assert found.severity == "medium"  # a half of the network, for a half of the run
    assert {one.cause for one in found.candidates} == {"FROZEN_ON_PURPOSE", "FROZEN_BY_MISTAKE"}


@pytest.mark.parametrize("kind", ["late", "trained before"])
def test_layers_frozen_near_the_end_or_trained_before_are_a_low_question(kind):
    class Late(Loop):
        def step(self, batch, number):
            if number == (160 if kind == "late" else 100):
                self.model[0].requires_grad_(False)
            super().step(batch, number)

    loop = Late(schedule=every(2), steps=200)
    if kind == "trained before":
        with torch.no_grad():
            for parameter in loop.model.parameters():
                parameter.copy_(parameter.sign() * parameter.abs().sqrt() + 0.3)
    found = finding(loop.run(), "FROZEN_MIDWAY")
    assert found.severity == "low"


# --- the optimizer's tensors -----------------------------------------------------------------------------------------


def test_layers_left_out_that_take_gradients_are_named():
    tracker = Loop(optimizer=lambda p: adam(p[2:])).run()
    assert types(tracker) == {"FROZEN_BY_MISTAKE"}
    assert "add_param_group" in finding(tracker, "FROZEN_BY_MISTAKE").plain["torch"]


def test_an_optimizer_of_an_older_copy_is_named():
    """Every step of it changes weights that nobody uses."""
    stale = adam(perceptron().parameters())

    class Stale(Loop):
        def step(self, batch, number):
            self.model.zero_grad()
            super().step(batch, number)

    tracker = Stale(optimizer=lambda _: stale).run()
    assert types(tracker) == {"FROZEN_BY_MISTAKE"}
    assert len(finding(tracker, "FROZEN_BY_MISTAKE").rows) == 6


@pytest.mark.parametrize("share", [0.1, 0.01, 0.005])
def test_discriminative_rates_are_no_fault(share):
    """What is called stagnant gets its learning rate raised; low rates of a group are mostly meant."""

    def optimizer(parameters):
        return torch.optim.Adam([{"params": parameters[:2], "lr": 2e-3 * share}, {"params": parameters[2:]}], lr=2e-3)

    tracker = Loop(optimizer=optimizer).run()
    assert all(found.candidates and found.severity == "low" for found in tracker.findings())


# --- the learning rate -----------------------------------------------------------------------------------------------


class Scheduled(Loop):
    def __init__(self, make, every_so_many=1, **options):
        super().__init__(**options)
        self.scheduler, self.every_so_many = make(self.optimizer), every_so_many

    def step(self, batch, number):
        super().step(batch, number)
        if (number + 1) % self.every_so_many == 0:
            self.scheduler.step()


@pytest.mark.parametrize(
    "make",
    [
        lambda o: lr_scheduler.StepLR(o, 10, 0.1),
        lambda o: lr_scheduler.StepLR(o, 25, 0.1),
        lambda o: lr_scheduler.LinearLR(o, 1, 1e-9, 20),
        lambda o: lr_scheduler.ExponentialLR(o, 0.9),
        lambda o: lr_scheduler.MultiStepLR(o, [8, 16, 24], 0.05),
        lambda o: lr_scheduler.PolynomialLR(o, 30),
    ],
)
def test_a_rate_that_dies_while_the_loss_falls_is_named(make):
    """Lornatang/SRGAN-PyTorch #1: nothing was said, at a rate of zero after a tenth of the run. Without epochs it is
    not known how often the scheduler should be stepped.
    """
    tracker = Scheduled(make, steps=400).run()
    assert types(tracker) == {"LEARNING_RATE_VANISHED"}
    assert finding(tracker, "LEARNING_RATE_VANISHED").action == "CHECK_CANDIDATES"


@pytest.mark.parametrize(
    ("make", "every_so_many"),
    [
        (lambda o: lr_scheduler.CosineAnnealingLR(o, 400), 1),
        (lambda o: lr_scheduler.CosineAnnealingLR(o, 20), 1),
        (lambda o: lr_scheduler.LinearLR(o, 1, 0, 400), 1),
        (lambda o: lr_scheduler.OneCycleLR(o, 4e-3, total_steps=401), 1),
        (lambda o: lr_scheduler.StepLR(o, 10, 0.1), 16),
        (lambda o: lr_scheduler.ExponentialLR(o, 0.9), 16),
        (lambda o: lr_scheduler.LambdaLR(o, lambda k: min(1, (k + 1) / 100)), 1),
    ],
)
def test_rates_that_fall_and_rise_on_purpose_are_left_alone(make, every_so_many):
    tracker = Scheduled(make, every_so_many, steps=400).run()
    assert types(tracker) == set()
    assert tracker.to_report().status == HEALTHY


class ScheduledByEpochs(Scheduled):
    """Epochs of 40 steps, each announced; the scheduler is stepped at their end, or at every step."""

    def __init__(self, make, *, every_batch, **options):
        super().__init__(make, 1 if every_batch else 10**6, **options)
        self.every_batch = every_batch

    def step(self, batch, number):
        super().step(batch, number)
        if (number + 1) % 40 == 0:
            self.tracker.end_epoch()
            if not self.every_batch:
                self.scheduler.step(*([1.0 / (number + 1)] if hasattr(self.scheduler, "num_bad_epochs") else []))


@pytest.mark.parametrize(
    "make",
    [
        lambda o: lr_scheduler.StepLR(o, 10, 0.1),
        lambda o: lr_scheduler.LinearLR(o, 1, 1e-9, 20),
        lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    ],
)
def test_a_rate_that_dies_within_epochs_is_stepped_too_often(make):
    told = finding(ScheduledByEpochs(make, every_batch=True, steps=400).run(), "LEARNING_RATE_VANISHED")
    assert "scheduler.step()" in told.plain["torch"]


@pytest.mark.parametrize(
    "make",
    [
        lambda o: lr_scheduler.ReduceLROnPlateau(o, "max", patience=0),
        lambda o: lr_scheduler.StepLR(o, 1, 0.1),
    ],
)
def test_a_rate_that_dies_from_epoch_to_epoch_is_not_stepped_at_every_batch(make):
    """A plateau of the other direction was told to step its scheduler once an epoch, as it did."""
    told = finding(ScheduledByEpochs(make, every_batch=False, steps=400).run(), "LEARNING_RATE_VANISHED")
    assert told.action == "CHECK_CANDIDATES"
    assert not told.plain
    assert told.candidates[0].cause == "METRIC_OF_THE_OTHER_DIRECTION"


def test_a_warm_up_that_is_never_stepped_is_named():
    loop = Scheduled(lambda o: lr_scheduler.LinearLR(o, 1e-3, 1, 100), 10**6)
    loop.run()
    assert "RATE_BELOW_ITS_BASE" in types(loop.tracker)  # an epoch may not have ended yet
    for loss in (1.0, 0.99):
        loop.tracker.end_epoch(loss, loss)
    tracker = loop.tracker
    assert "RATE_NEVER_ROSE" in types(tracker)
    assert "LEARNING_RATE_VANISHED" not in types(tracker)
    assert finding(tracker, "RATE_NEVER_ROSE").plain


def test_a_warm_up_that_is_still_on_is_a_question():
    tracker = Scheduled(lambda o: lr_scheduler.LinearLR(o, 1e-3, 1, 2000)).run()
    assert finding(tracker, "RATE_BELOW_ITS_BASE").candidates


def test_a_rate_that_is_the_usual_one_is_not_called_too_low():
    """A loss that falls slowly at AdamW .001 was told to use AdamW at .001."""
    with seeded():
        model = nn.Sequential(nn.Linear(12, 400), nn.ReLU(), nn.Linear(400, 1))
    with torch.no_grad():
        model[0].weight.mul_(10)
        model[2].weight.mul_(10)
    tracker = Loop(model, optimizer=lambda p: torch.optim.AdamW(p, lr=1e-3)).run()
    assert "LEARNING_RATE_TOO_LOW" not in types(tracker)


def test_a_rate_that_is_far_too_low_is_named_with_the_smallest_change():
    tracker = Loop(optimizer=lambda p: torch.optim.Adam(p, lr=1e-6)).run()
    assert finding(tracker, "LEARNING_RATE_TOO_LOW").plain["torch"].endswith('group["lr"] *= 10')


def test_a_low_rate_on_weights_that_were_trained_is_a_question():
    model = perceptron()
    Loop(model, steps=400).run().detach()
    tracker = Loop(model, optimizer=lambda p: torch.optim.Adam(p, lr=1e-6)).run()
    assert tracker.measurements().scalars["trained_before"] > 0.5
    assert "LEARNING_RATE_TOO_LOW" not in types(tracker)


# --- numbers that are not finite -------------------------------------------------------------------------------------


def test_a_broken_row_is_not_a_rate_that_is_too_high():
    """pytorch/pytorch #41508: one empty row gave NaN at once, and a lower rate and clipping were prescribed."""

    class Broken(Loop):
        def loss(self, batch):
            loss = super().loss(batch)
            return loss * (math.nan if self.number == 60 else 1)

    tracker = Broken().run()
    found = finding(tracker, "NONFINITE_VALUES")
    assert {one.cause for one in found.candidates} >= {"BAD_INPUT_OR_MASK", "LEARNING_RATE_TOO_HIGH"}
    assert (found.fix, found.plain) == (None, {})
    assert tracker.measurements().scalars["nonfinite_step"] == 61
    assert types(tracker) == {"NONFINITE_VALUES"}


@pytest.mark.parametrize("rate", [50.0, 1e30])
def test_steps_that_overshoot_are_a_rate_that_is_too_high(rate):
    found = finding(Loop(optimizer=lambda p: torch.optim.SGD(p, lr=rate, momentum=0.9)).run(), "NONFINITE_VALUES")
    assert found.candidates == ()
    assert 'group["lr"] *= 0.1' in found.plain["torch"]


def test_overflows_that_a_scaler_skips_are_silent():
    class Scaled(Loop):
        def __init__(self):
            super().__init__()
            self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120, growth_interval=10**6)

        def step(self, batch, number):
            self.optimizer.zero_grad()
            loss = self.loss(batch)
            scaled = self.scaler.scale(loss)
            scaled.backward()
            overflows = self.scaler.get_scale() > 2.0**100
            if overflows:
                self.model[0].weight.grad[0, 0] = math.inf
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.tracker.step(scaled / 0 if overflows else loss)

    tracker = Scaled().run()
    assert tracker.measurements().scalars["skipped_steps"] > 5
    assert types(tracker) == set()


# --- losses ----------------------------------------------------------------------------------------------------------


def classes(smoothing=0.0):
    target = (Y[:, 0] > 0).long()

    class Classes(Loop):
        def loss(self, batch):
            return F.cross_entropy(self.model(X[batch]), target[batch], label_smoothing=smoothing)

    return Classes


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_classifiers_are_left_alone(smoothing):
    with seeded():
        model = nn.Sequential(nn.Linear(12, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 2))
        tracker = classes(smoothing)(model, loss_at_least=0.0).run()
    assert types(tracker) == set()


class Likelihood(Loop):
    """nll_loss takes logarithms, and gets probabilities."""

    def loss(self, batch):
        return F.nll_loss(self.model(X[batch]).softmax(1), (Y[batch, 0] > 0).long())


def test_a_loss_below_its_floor_is_impossible():
    tracker = Likelihood(perceptron(2), loss_at_least=0.0).run()
    found = finding(tracker, "IMPOSSIBLE_LOSS")
    assert "LOGARITHM_MISSING" in {one.cause for one in found.candidates}


def test_a_loss_below_zero_is_a_question_where_no_floor_was_told():
    found = finding(Likelihood(perceptron(2)).run(), "NEGATIVE_LOSS")
    assert found.severity == "low"
    assert {one.cause for one in found.candidates} >= {"DENSITY_OR_SIMILARITY", "LOGARITHM_MISSING"}
    assert "NEGATIVE_LOSS" not in types(Likelihood(perceptron(2), loss_at_least=-1.0).run())


def test_targets_that_do_not_belong_to_their_rows_are_a_question():
    shuffled = Y[torch.randperm(512, generator=torch.Generator().manual_seed(3))]
    noise = torch.Generator().manual_seed(4)

    class Shuffled(Loop):
        def loss(self, batch):
            rows = torch.randint(512, (32,), generator=noise)
            return F.mse_loss(self.model(X[batch]), shuffled[rows])

    tracker = Shuffled(steps=400).run()
    assert types(tracker) == {"NO_LEARNING"}
    assert "TARGETS_DO_NOT_BELONG" in {one.cause for one in finding(tracker, "NO_LEARNING").candidates}


def test_one_answer_for_all_inputs_is_named():
    class Blind(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = perceptron()

        def forward(self, x):
            return self.net(x * 0)

    found = types(Loop(Blind(), steps=300).run())
    assert "CONSTANT_OUTPUTS" in found


# --- validation ------------------------------------------------------------------------------------------------------


def validated(losses, restore=False):
    model = perceptron()
    best = copy.deepcopy(model.state_dict())
    loop = Loop(model)
    for epoch, (train, validation) in enumerate(losses):
        for number, batch in enumerate(BATCHES[epoch * 12 : epoch * 12 + 12]):
            loop.step(batch, number)
        loop.tracker.end_epoch(train, validation)
    if restore:
        model.load_state_dict(best)
    return loop.tracker


CLIMBING = [(1 / (k + 1), 1 - 0.2 * k if k < 4 else 0.4 + 0.05 * (k - 3)) for k in range(12)]


def test_a_validation_loss_that_climbs_is_overfitting():
    found = finding(validated(CLIMBING), "OVERFITTING")
    assert found.judged is not None
    assert "lower is better" in found.premise


@pytest.mark.parametrize(
    "losses",
    [
        CLIMBING[:5],
        [(1 / (k + 1), 0.4 + 0.02 * (k % 3)) for k in range(12)],
        [(1.0, 1 - 0.2 * k if k < 4 else 0.4 + 0.05 * (k - 3)) for k in range(12)],
    ],
)
def test_a_validation_loss_that_wobbles_is_not(losses):
    assert "OVERFITTING" not in types(validated(losses))


def test_weights_that_were_restored_are_not_judged_by_the_last_epoch():
    tracker = validated(CLIMBING, restore=True)
    assert tracker.measurements().scalars["weights_rewritten"] == 1
    assert "OVERFITTING" not in types(tracker)


# --- what could not be seen ------------------------------------------------------------------------------------------


def blind(tracker):
    report = tracker.to_report()
    assert report.status == NOT_OBSERVED
    assert report.findings == ()
    return report.coverage.blind


def test_without_a_step_nothing_is_healthy():
    assert "no step was seen" in blind(Loop().tracker)


def test_an_optimizer_that_never_steps_is_said():
    class Other(Loop):
        def step(self, batch, number):
            if number == 0:
                self.real = adam(self.model.parameters())
            self.optimizer.zero_grad()
            loss = self.loss(batch)
            loss.backward()
            self.real.step()
            self.tracker.step(loss)

    tracker = Other().run()
    assert "stepped at none of them" in tracker.to_report().coverage.blind
    (found,) = tracker.findings()
    assert (found.type, found.severity, found.fix) == ("OPTIMIZER_REPLACED", "medium", None)
    assert found.candidates[0].cause == "OPTIMIZER_MADE_ANEW"


def test_a_step_that_is_never_told_is_said():
    class Silent(Loop):
        def step(self, batch, number):
            self.optimizer.zero_grad()
            self.loss(batch).backward()
            self.optimizer.step()

    assert "step() was never called" in blind(Silent().run())


def test_gradients_cleared_before_step_are_said():
    class Early(Loop):
        def step(self, batch, number):
            loss = self.loss(batch)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.tracker.step(loss)

    assert "cleared before step()" in blind(Early(watched=False).run())
    assert Early().run().to_report().status == HEALTHY


def test_another_copy_that_is_trained_is_said():
    tracker = FlowTracker(perceptron(), rules=RULES)
    other = Loop()
    for batch in BATCHES[:40]:
        other.step(batch, 0)
        tracker.step(0.5)
    assert "watch the very model that is trained" in blind(tracker)


def test_a_schedule_without_a_look_is_said():
    assert "schedule" in blind(Loop(schedule=lambda step: False).run())


def test_coverage_says_what_was_seen_and_how_to_see_the_rest():
    loop = Loop()
    loop.tracker.observe_inputs(X)
    tracker = loop.run()
    coverage = tracker.measurements().coverage
    assert coverage.seen == {
        "steps": 150, "looks": 26, "losses": 150, "gradients": 26, "epochs": 0, "validations": 0, "inputs": 512
    }  # fmt: skip
    assert set(coverage.unseen) == {"validation_loss"}
    bare = Loop(watched=False).run().measurements().coverage.unseen
    assert set(bare) == {"optimizer", "validation_loss", "inputs"}
    compiled = Loop(torch.compile(perceptron(), backend="eager"), steps=30).run().measurements().coverage.unseen
    assert "compiled" in compiled["activations"]


@pytest.mark.parametrize("place", ["before step", "before backward"])
def test_step_in_another_place_sees_the_same_steps(place):
    class Misplaced(Loop):
        def step(self, batch, number):
            self.optimizer.zero_grad()
            loss = self.loss(batch)
            if place == "before backward":
                self.tracker.step(loss)
            loss.backward()
            if place == "before step":
                self.tracker.step(loss)
            self.optimizer.step()

    report = Misplaced().run().to_report()
    assert report.status == HEALTHY
    assert {one.name: one.value for one in report.coverage.seen}["steps"] == 149
    assert "order" in {one.name for one in report.coverage.unseen}


# --- loops that are robust -------------------------------------------------------------------------------------------


class SharpnessAware(torch.optim.Optimizer):
    """As Foret et al. 2021 is commonly written."""

    def __init__(self, parameters, base, rho=0.05, **options):
        super().__init__(parameters, dict(rho=rho, **options))
        self.base_optimizer = base(self.param_groups, **options)
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def first_step(self):
        own = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.stack([p.grad.norm() for p in own]).norm()
        for p in own:
            self.state[p]["old"] = p.clone()
            p.add_(p.grad, alpha=self.param_groups[0]["rho"] / float(norm))
        self.zero_grad()

    @torch.no_grad()
    def second_step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.copy_(self.state[p]["old"])
        self.base_optimizer.step()
        self.zero_grad()


class Held:
    """A wrapper that is no optimizer itself."""

    def __init__(self, inner):
        self.inside = inner

    def zero_grad(self):
        self.inside.zero_grad()

    def step(self):
        self.inside.step()


def test_wrapped_optimizers_are_opened():
    class Twice(Loop):
        def step(self, batch, number):
            self.loss(batch).backward()
            self.optimizer.first_step()
            loss = self.loss(batch)
            loss.backward()
            self.optimizer.second_step()
            self.tracker.step(loss)

    def sharp(parameters):
        return SharpnessAware(parameters, torch.optim.SGD, lr=0.02, momentum=0.9)

    once, nested = (lambda p: Held(adam(p))), (lambda p: Held(Held(adam(p))))
    for loop in (Twice(optimizer=sharp), Loop(optimizer=once), Loop(optimizer=nested)):
        tracker = loop.run()
        assert tracker.measurements().scalars["steps"] == 150
        assert tracker.to_report().status == HEALTHY


def test_an_adapter_that_begins_at_zero_is_left_alone():
    class Adapted(nn.Module):
        def __init__(self):
            super().__init__()
            self.base = pretrained(perceptron()).requires_grad_(False)
            with seeded():
                self.down, self.up = nn.Linear(12, 4, bias=False), nn.Linear(4, 32, bias=False)
            nn.init.zeros_(self.up.weight)

        def forward(self, x):
            return self.base[1:](self.base[0](x) + self.up(self.down(x)))

    assert types(Loop(Adapted(), steps=300).run()) == set()


def test_averaged_weights_and_layers_frozen_on_purpose_are_left_alone():
    class Averaged(Loop):
        def step(self, batch, number):
            super().step(batch, number)
            with torch.no_grad():
                for mean, now in zip(self.mean.parameters(), self.model.parameters(), strict=True):
                    mean.lerp_(now, 0.05)

    model = perceptron()
    model[0].requires_grad_(False)
    loop = Averaged(model)
    loop.mean = copy.deepcopy(model)
    assert types(loop.run()) == set()


@pytest.mark.parametrize("schedule", [None, every(3, in_a_row=2, first=5), logarithmic(4)])
def test_a_tracker_can_be_copied_and_pickled(schedule):
    """The default schedule was a lambda, which cannot be pickled."""
    tracker = Loop(schedule=schedule).run()
    report = tracker.to_agent_xml()
    for other in (copy.deepcopy(tracker), pickle.loads(pickle.dumps(tracker))):
        assert other.to_agent_xml() == report
        other.step(0.5)
        assert other.to_agent_xml() == report
    Loop.step(loop := Loop(), BATCHES[0], 0)
    assert loop.tracker.measurements().step == 1


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_watched_model_can_be_traced_and_exported(mode):
    loop = Loop(schedule=every(1), steps=3)
    loop.run()
    before = loop.tracker.to_agent_xml()
    getattr(loop.model, mode)()
    torch.jit.trace(loop.model, (X[:4],))
    torch.export.export(loop.model, (X[:4],))
    torch.jit.script(loop.model)
    assert loop.tracker.to_agent_xml() == before
    loop.model.train()
    loop.step(BATCHES[5], 5)
    assert loop.tracker.measurements().step == 4


def test_units_without_gradient_are_not_called_dead_where_nobody_saw_them():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = perceptron(activation=nn.Identity)
            self.mask = (torch.arange(32) < 8).float()

        def forward(self, x):
            return self.net[4](F.relu(self.net[2](F.relu(self.net[0](x)) * self.mask)))

    found = [one for one in Loop(Functional()).run().findings() if one.rule_id == "dying_relu"]
    assert [one.type for one in found] == ["UNITS_WITHOUT_GRADIENT"]


@pytest.mark.parametrize(
    ("silent", "layers", "rate", "expected"),
    [
        (20, 1, 1e-7, "UNITS_WITHOUT_GRADIENT"),
        (20, 1, 0.01, "UNITS_WITHOUT_GRADIENT"),
        (20, 2, 1e-7, "UNITS_WITHOUT_GRADIENT"),
        (20, 2, 0.01, "DYING_RELU"),
        (31, 1, 1e-7, "DYING_RELU"),
    ],
)
def test_units_died_where_hardly_any_are_left(silent, layers, rate, expected):
    """A tower of embeddings at a rate that is far too low was told to begin anew with leaky ReLUs: its inputs were near
    zero, so that units with a negative bias were silent from the first step on. Another, of which six units in ten of
    one layer were silent, would have gained nothing by it.
    """
    model = perceptron()
    with torch.no_grad():
        for layer in (model[0], model[2])[:layers]:
            layer.bias[:] = torch.where(torch.arange(len(layer.bias)) < silent, -100.0, 0.1)
    found = Loop(model, optimizer=lambda p: torch.optim.Adam(p, lr=rate)).run().findings()
    assert [one.type for one in found if one.rule_id == "dying_relu"] == [expected]


@pytest.mark.parametrize(("shared", "expected"), [(True, "UNITS_WITHOUT_GRADIENT"), (False, "DYING_RELU")])
def test_units_that_are_given_the_same_for_every_example_did_not_die(shared, expected):
    """A mean over padding is alike for all texts: half of the units are silent by their draw, and were told dead."""
    model = perceptron()
    with torch.no_grad():
        for layer in (model[0], model[2]):
            flags = torch.arange(len(layer.bias)) < 20
            layer.bias[:] = torch.where(flags, -100.0, 10.0 if shared else 0.1)
    run = Loop(model, optimizer=lambda p: torch.optim.Adam(p, lr=0.01)).run()
    assert [one.type for one in run.findings() if one.rule_id == "dying_relu"] == [expected]


def test_inputs_of_another_size_are_a_fault_where_they_do_harm():
    wide = X * 100

    class Raw(Loop):
        def loss(self, batch):
            return F.mse_loss(self.model(wide[batch]), Y[batch])

    tracker = Raw(optimizer=lambda p: torch.optim.SGD(p, lr=1e-5), loss_at_least=0.0)
    tracker.tracker.observe_inputs(wide)
    assert "UNNORMALISED_INPUTS" in types(tracker.run())
    with seeded():
        normalised = nn.Sequential(nn.BatchNorm1d(12), *perceptron())
    healthy = Raw(normalised)
    healthy.tracker.observe_inputs(wide)
    assert "UNNORMALISED_INPUTS" not in types(healthy.run())
    ids = Loop()
    ids.tracker.observe_inputs(torch.arange(5000).reshape(-1, 1))
    assert "UNNORMALISED_INPUTS" not in types(ids.run())


def test_every_fix_is_told_in_plain_words():
    for rule in RULES.values():
        if rule.subject == "flow" and rule.fix is not None:
            assert "torch" in rule.plain, rule.id


def test_status_of_a_finding():
    assert Never().run().to_report().status == FINDINGS


@pytest.mark.parametrize("clear", ["never", "to none", "to zero"])
def test_gradients_of_sparse_rows_that_are_never_cleared(clear):
    """Beside an optimizer whose gradients were cleared, that of the sparse tables was forgotten, and nothing said."""
    torch.manual_seed(0)
    table, head = nn.Embedding(50, 4, sparse=True), nn.Linear(4, 1)
    model = nn.Sequential(table, head)
    rows, dense = torch.optim.SparseAdam(table.parameters(), lr=1e-3), torch.optim.Adam(head.parameters(), lr=1e-3)
    tracker = FlowTracker(model, [rows, dense])
    for _ in range(30):
        ids = torch.randint(0, 50, (16,))
        dense.zero_grad()
        if clear != "never":
            rows.zero_grad(set_to_none=clear == "to none")
        loss = (model(ids).squeeze(1) - ids.float() / 50).square().mean()
        loss.backward()
        rows.step()
        dense.step()
        tracker.step(loss)
    types = {finding.type for finding in tracker.findings()}
    assert ("GRADIENTS_NOT_CLEARED" in types) == (clear == "never")
    assert tracker.summary()["clearing_checks"] >= 3
