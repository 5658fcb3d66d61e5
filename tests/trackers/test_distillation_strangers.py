"""Strangers' loops: what is said of teachers that move, losses that cannot be, layers kept on purpose, and runs that
could not be seen, each beside loops that look alike and are in order.
"""

from __future__ import annotations

import copy
import io
import itertools
import math
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

from flowgrad import DistillationTracker
from flowgrad.report import FINDINGS, HEALTHY, NOT_OBSERVED, validate
from flowgrad.rules import RuleBook
from flowgrad.trackers.distillation.teaching import Teaching

BOOK = RuleBook.load()


def network(*widths, seed=0, norm=False, dropout=0.0):
    torch.manual_seed(seed)
    parts = []
    for coming, going in itertools.pairwise(widths):
        parts += [nn.Linear(coming, going), *([nn.BatchNorm1d(going)] if norm else []), nn.ReLU()]
        parts += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*parts[: -(1 + norm + (dropout > 0))])


def batch(step, size=64):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(size, 12, generator=generator)
    return x, (x[:, :5] * 2 + x[:, 5:10].abs()).argmax(dim=1)


def learned(model, steps=250):
    """Trained on labels."""
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(steps):
        x, y = batch(step)
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def known():
    return learned(network(12, 48, 48, 5))


@pytest.fixture
def teacher(known):
    return copy.deepcopy(known)


def student(seed=1, width=24):
    return network(12, width, width, 5, seed=seed)


def divergence(own, other, temperature=4.0):
    own, other = own / temperature, other / temperature
    return temperature**2 * functional.kl_div(own.log_softmax(1), other.softmax(1), reduction="batchmean")


def on_labels(own, other, y):
    """A divergence and a cross-entropy: what is trained, and its part that compares with the teacher."""
    part = divergence(own, other)
    return part + functional.cross_entropy(own, y), part


def whole(loss):
    return loss


def watched(
    teacher,
    pupil,
    optimizer,
    *,
    steps=100,
    losses=lambda own, other, y: (divergence(own, other),) * 2,
    through_teacher=False,
    after=lambda: None,
    told=whole,
    given=True,
    answers=None,
    looks=1,
):
    """A tracker that has watched a loop, and compared `looks` times."""
    tracker = DistillationTracker(teacher, pupil, optimizer=optimizer if given else None, rules=BOOK)
    for step in range(steps):
        x, y = batch(step)
        with torch.set_grad_enabled(through_teacher):
            other = (answers or teacher)(x)
        loss, part = losses(pupil(x), other, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        after()
        loss, part = (told(one if told is whole else one.detach()) for one in (loss, part))
        tracker.step(loss, distillation_loss=part)
        if (step + 1) % (steps // looks) == 0:
            tracker.observe(batch(10_000, 256)[0])
    validate(tracker.to_agent_xml())
    return tracker


def adam(*modules, rate=3e-3):
    return torch.optim.Adam([weight for module in modules for weight in module.parameters()], rate)


def named(tracker):
    """Findings but those for information."""
    return {found.type: found for found in tracker.findings() if found.severity != "info"}


# --- teachers that move ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("losses", [None, on_labels], ids=["alone", "with labels"])
def test_a_teacher_in_the_students_optimizer_that_only_the_distillation_teaches(teacher, losses):
    """Student and teacher came to agree on nothing (the teacher fell from 97 % to 15 %), and nothing was found."""
    pupil = student()
    loop = {} if losses is None else {"losses": losses}
    found = named(watched(teacher, pupil, adam(pupil, teacher), through_teacher=True, **loop))
    assert found["TEACHER_MOVES"].severity == "critical"
    assert found["TEACHER_MOVES"].candidates == ()
    assert "requires_grad_(False)" in found["TEACHER_MOVES"].plain["torch"]


def test_the_cause_stays_open_where_losses_were_told_as_numbers(teacher):
    pupil = student()
    tracker = watched(teacher, pupil, adam(pupil, teacher), through_teacher=True, told=float)
    found = named(tracker)["TEACHER_MOVES"]
    assert found.severity == "medium"
    assert "TEACHER_IN_AN_OPTIMIZER" in [one.cause for one in found.candidates]
    assert not found.plain


@pytest.mark.parametrize("one_optimizer", [True, False])
def test_peers_that_learn_from_each_other_are_asked_about(one_optimizer):
    pupil, peer = student(1), student(2)
    other_optimizer = adam(peer)

    def losses(own, other, y):
        part = divergence(own, other.detach())
        loss = part + functional.cross_entropy(own, y)
        theirs = divergence(other, own.detach()) + functional.cross_entropy(other, y)
        if one_optimizer:
            return loss + theirs, part
        other_optimizer.zero_grad()
        theirs.backward()
        other_optimizer.step()
        return loss, part

    optimizer = adam(pupil, peer) if one_optimizer else adam(pupil)
    found = named(watched(peer, pupil, optimizer, losses=losses, through_teacher=True))
    assert set(found) == {"TEACHER_MOVES"}
    assert "TRAINED_TOGETHER" in [one.cause for one in found["TEACHER_MOVES"].candidates]


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("start", ["same", "other"])
@pytest.mark.parametrize("training", [True, False])
def test_a_momentum_teacher_is_in_order(momentum, start, training):
    pupil = network(12, 24, 24, 5, seed=1, dropout=0.1)
    mean = copy.deepcopy(pupil) if start == "same" else network(12, 24, 24, 5, seed=3, dropout=0.1)
    mean.requires_grad_(False).train(training)

    def average():
        for slow, fast in zip(mean.parameters(), pupil.parameters(), strict=True):
            slow.data.mul_(momentum).add_(fast.data, alpha=1 - momentum)

    tracker = watched(mean, pupil, adam(pupil), losses=on_labels, after=average)
    assert not named(tracker)
    assert tracker.summary()["teacher_toward"] > 0.9


def test_a_momentum_teacher_of_a_student_with_a_predictor_is_in_order():
    encoder = student()
    pupil = nn.Sequential(encoder, nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 5))
    mean = nn.Sequential(copy.deepcopy(encoder)).requires_grad_(False)

    def average():
        for slow, fast in zip(mean.parameters(), encoder.parameters(), strict=True):
            slow.data.lerp_(fast.data, 0.02)

    def cosine(own, other, y):
        return (-functional.cosine_similarity(own, other).mean(),) * 2

    assert not named(watched(mean, pupil, adam(pupil), losses=cosine, after=average))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("through_teacher", [True, False])
@pytest.mark.parametrize("told", [float, whole], ids=["numbers", "tensors"])
def test_a_frozen_teacher_is_in_order(teacher, temperature, through_teacher, told):
    """Also where gradients reach it, which no optimizer uses."""
    pupil = student()

    def losses(own, other, y):
        return (divergence(own, other, temperature),) * 2

    loop_of = {"losses": losses, "through_teacher": through_teacher, "told": told, "looks": 2}
    tracker = watched(teacher, pupil, adam(pupil), **loop_of)
    assert not named(tracker)
    assert tracker.to_report().status == HEALTHY
    assert tracker.summary()["teacher_moved"] == 0


def test_a_teacher_in_the_optimizer_without_gradients_is_in_order(teacher):
    pupil = student()
    assert not named(watched(teacher.requires_grad_(False), pupil, adam(pupil, teacher)))


def test_a_teacher_that_is_loaded_before_the_first_step_has_not_moved(known):
    pupil, blank = student(), network(12, 48, 48, 5, seed=9)
    optimizer = adam(pupil)
    tracker = DistillationTracker(blank, pupil, optimizer=optimizer, rules=BOOK)
    blank.load_state_dict(known.state_dict())
    for step in range(20):
        optimizer.zero_grad()
        x, _ = batch(step)
        divergence(pupil(x), blank(x).detach()).backward()
        optimizer.step()
        tracker.step()
    assert tracker.summary()["teacher_moved"] == 0


def test_modules_that_student_and_teacher_share_are_asked_about(teacher):
    pupil = student(width=48)
    pupil[4] = teacher[4]
    found = named(watched(teacher, pupil, adam(pupil)))
    assert set(found) == {"TEACHER_MOVES"}
    assert "MODULES_SHARED" in [one.cause for one in found["TEACHER_MOVES"].candidates]
    pupil[4].requires_grad_(False)
    assert not named(watched(teacher, pupil, torch.optim.Adam(list(pupil[:4].parameters()), 3e-3)))


def test_a_reference_that_was_copied_flat_is_asked_about():
    """copy.copy(model) holds the very tensors that are trained; that was a low question, of other causes."""
    pupil = student(width=48)
    found = named(watched(copy.copy(pupil), pupil, adam(pupil)))
    assert (found["TEACHER_MOVES"].severity, found["TEACHER_MOVES"].candidates[0].cause) == ("medium", "NOT_COPIED")
    assert "TEACHER_MOVES" not in named(watched(copy.deepcopy(pupil).requires_grad_(False), pupil, adam(pupil)))


# --- the mode in which it teaches -----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"norm": True}, {"dropout": 0.1}, {"norm": True, "dropout": 0.3}])
def test_a_teacher_in_training_mode(options):
    master = learned(network(12, 48, 48, 5, **options).train())
    pupil = student()
    assert not named(watched(master, pupil, adam(pupil)))
    pupil = student()
    found = named(watched(master.train(), pupil, adam(pupil)))
    assert set(found) == {"TEACHER_IN_TRAINING_MODE"}
    assert "teacher.eval()" in found["TEACHER_IN_TRAINING_MODE"].plain["torch"]


class AlwaysDropping(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return self.body[2:](functional.dropout(self.body[:2](x), 0.3))


def test_dropout_that_no_mode_switches_off_is_asked_about(teacher):
    pupil = student()
    found = named(watched(AlwaysDropping(teacher).eval(), pupil, adam(pupil)))
    assert set(found) == {"TEACHER_GIVES_DIFFERENT_ANSWERS"}
    assert "DROPOUT_REGARDLESS_OF_MODE" in [
        one.cause for one in found["TEACHER_GIVES_DIFFERENT_ANSWERS"].candidates
    ]  # fmt: skip


def test_a_teacher_whose_answers_were_kept_is_not_accused_of_its_mode():
    master = learned(network(12, 48, 48, 5, dropout=0.3).train())
    kept = copy.deepcopy(master)
    pupil = student()
    tracker = watched(master.train(), pupil, adam(pupil), answers=kept)
    assert not named(tracker)
    assert "teacher.training" in tracker.measurements().coverage.unseen["teacher_mode"]
    assert math.isnan(tracker.summary()["teacher_noise"])


# --- losses that cannot be ------------------------------------------------------------------------------------------


def of_probabilities(own, other, y):
    return (functional.kl_div(own.softmax(1), other.softmax(1), reduction="batchmean"),) * 2


def subtracted(own, other, y):
    return (-divergence(own, other),) * 2


def without_minus(own, other, y):
    return ((other.softmax(1) * own.log_softmax(1)).sum(1).mean(),) * 2


@pytest.mark.parametrize("losses", [of_probabilities, subtracted, without_minus])
def test_a_divergence_below_zero(teacher, losses):
    pupil = student()
    found = named(watched(teacher, pupil, adam(pupil, rate=1e-4), losses=losses))
    assert {"PROBABILITIES_INSTEAD_OF_LOGARITHMS", "WRONG_SIGN"} <= {
        one.cause for one in found["IMPOSSIBLE_LOSS"].candidates
    }
    pupil = student()
    found = named(watched(teacher, pupil, adam(pupil, rate=1e-4), losses=losses, told=float))
    assert found["DISTILLATION_LOSS_BELOW_ZERO"].severity == "low"
    assert "IMPOSSIBLE_LOSS" not in found


def test_a_divergence_of_logarithms_without_log_target(teacher):
    """Its gradient is finite and its value NaN, so that training goes on."""
    pupil = student()

    def losses(own, other, y):
        return (functional.kl_div(own.log_softmax(1), other.log_softmax(1), reduction="batchmean"),) * 2

    found = named(watched(teacher, pupil, adam(pupil), losses=losses))
    assert "LOG_TARGET_MISSING" in [one.cause for one in found["DISTILLATION_LOSS_NOT_FINITE"].candidates]


def squared(own, other, y):
    return (functional.mse_loss(own, other),) * 2


def similarity(own, other, y):
    return (-(functional.normalize(own) * functional.normalize(other)).sum(1).mean(),) * 2


@pytest.mark.parametrize("losses", [squared, similarity, on_labels])
def test_other_losses_are_in_order(teacher, losses):
    pupil = student()
    assert not named(watched(teacher, pupil, adam(pupil), losses=losses))


def test_hints_are_in_order(teacher):
    pupil, bridge = student(), nn.Linear(24, 48)
    optimizer = adam(pupil, bridge)
    tracker = DistillationTracker(teacher, pupil, optimizer=optimizer, rules=BOOK)
    for step in range(250):
        x, _ = batch(step)
        with torch.no_grad():
            wanted = teacher[:4](x)
        hint = functional.mse_loss(bridge(pupil[:4](x)), wanted)
        optimizer.zero_grad()
        hint.backward()
        optimizer.step()
        tracker.step(hint, distillation_loss=hint)
    tracker.observe(batch(10_000, 256)[0])
    assert "STUDENT_DOES_NOT_APPROACH" not in named(tracker)


# --- layers that are kept on purpose --------------------------------------------------------------------------------


def test_a_frozen_layer_that_was_drawn_is_named(teacher):
    pupil = student()
    pupil[2].requires_grad_(False)
    found = named(watched(teacher, pupil, adam(pupil)))
    assert list(found["LAYER_FROZEN"].rows.index) == ["2"]
    assert "requires_grad_(True)" in found["LAYER_FROZEN"].plain["torch"]


def test_a_frozen_layer_of_the_teachers_is_in_order(teacher):
    pupil = student(width=48)
    pupil[2].load_state_dict(teacher[2].state_dict())
    pupil[2].requires_grad_(False)
    assert "LAYER_FROZEN" not in named(watched(teacher, pupil, adam(pupil)))


def test_a_frozen_body_that_had_learned_is_in_order(teacher):
    pupil = learned(student(4)).train()
    pupil[0].requires_grad_(False)
    pupil[2].requires_grad_(False)
    assert not named(watched(teacher, pupil, adam(pupil)))


def test_a_layer_that_had_learned_and_is_left_out_is_asked_about(teacher):
    pupil = learned(student(4)).train()
    found = named(watched(teacher, pupil, adam(pupil[0], pupil[4])))
    assert set(found) == {"LAYER_STANDS_STILL"}
    assert found["LAYER_STANDS_STILL"].fix is None


class LowRank(nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a, self.b = nn.Linear(base.in_features, 2, bias=False), nn.Linear(2, base.out_features, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x):
        return self.base(x) + self.b(self.a(x))


def test_adapters_beside_a_frozen_body_are_in_order(teacher):
    body = learned(student(4)).train()
    pupil = nn.Sequential(LowRank(body[0]), nn.ReLU(), LowRank(body[2]), nn.ReLU(), LowRank(body[4]))
    assert not named(watched(teacher, pupil, adam(pupil)))


def test_two_optimizers_are_no_frozen_layer(teacher):
    """Layers that the optimizer given lacks were called left out, though another moved them."""
    pupil = student()
    other = torch.optim.Adam(pupil[2].parameters(), 3e-3)

    def step_other():
        other.step()
        other.zero_grad()

    tracker = watched(teacher, pupil, adam(pupil[0], pupil[4]), after=step_other)
    assert not {"LAYER_FROZEN", "LAYER_STANDS_STILL", "LAYER_TOO_SLOW"} & set(named(tracker))
    assert tracker.summary()["left_out_layers"] == 0


def by_layer(pupil, *rates):
    return torch.optim.Adam(
        [{"params": pupil[place].parameters(), "lr": rate} for place, rate in zip((0, 2, 4), rates, strict=True)]
    )


def test_one_slow_layer_of_a_student_that_was_drawn_is_named(teacher):
    pupil = student()
    found = named(watched(teacher, pupil, by_layer(pupil, 1e-4, 3e-3, 3e-3)))
    assert list(found["LAYER_TOO_SLOW"].rows.index) == ["0"]


@pytest.mark.parametrize(
    ("made", "rates"),
    [(lambda: learned(student(4)), (1e-4, 3e-3, 3e-3)), (student, (1e-4, 1e-3, 3e-3))],
    ids=["learned before", "by depth"],
)
def test_rates_set_layer_by_layer_are_asked_about(teacher, made, rates):
    pupil = made()
    found = named(watched(teacher, pupil, by_layer(pupil, *rates)))
    assert "LAYER_TOO_SLOW" not in found
    assert "RATE_CHOSEN_ON_PURPOSE" in [one.cause for one in found["LAYER_SLOWER_THAN_OTHERS"].candidates]


def test_a_student_that_begins_as_its_teacher_is_in_order(teacher):
    """Its gradients are 0 at first, and it is not dead."""
    pupil = copy.deepcopy(teacher)
    assert not named(watched(teacher, pupil, adam(pupil), looks=4))
    pupil = copy.deepcopy(teacher)
    assert not named(watched(teacher, pupil, torch.optim.SGD(pupil.parameters(), 0.01), losses=squared))


# --- dead and diverged ----------------------------------------------------------------------------------------------


def test_a_rate_is_blamed_where_steps_were_large(teacher):
    pupil = student()
    found = named(watched(teacher, pupil, adam(pupil, rate=3.0)))
    assert found["DEAD_STUDENT"].fix is not None
    pupil = student()
    found = named(watched(teacher, pupil, torch.optim.SGD(pupil.parameters(), 1e3), losses=squared))
    assert found["STUDENT_DIVERGED"].fix is not None


def test_a_rate_is_not_blamed_for_what_it_did_not_do(teacher):
    pupil = student()
    with torch.no_grad():
        pupil[2].bias.fill_(-1e4)
    found = named(watched(teacher, pupil, adam(pupil)))
    assert found["STUDENT_WITHOUT_GRADIENT"].fix is None
    pupil = student()
    seen = itertools.count()

    def broken(own, other, y):
        loss = divergence(own, other)
        return (loss * math.nan if next(seen) == 50 else loss,) * 2

    found = named(watched(teacher, pupil, adam(pupil), losses=broken))
    assert found["STUDENT_NOT_FINITE"].fix is None
    assert "INPUTS_NOT_FINITE" in [one.cause for one in found["STUDENT_NOT_FINITE"].candidates]


# --- students that step and get nowhere -----------------------------------------------------------------------------


def test_a_student_that_does_not_approach(teacher):
    pupil = student()

    def losses(own, other, y):
        return (divergence(own, other.roll(1, dims=0)),) * 2  # as where the batches of both are shuffled apart

    found = named(watched(teacher, pupil, adam(pupil, rate=1e-3), losses=losses, steps=400))
    assert len(found["STUDENT_DOES_NOT_APPROACH"].candidates) > 3


@pytest.mark.parametrize(
    ("against", "scale", "said"), [("teacher", 1.0, True), ("student", 1.0, False), ("student", 1e-3, False)]
)
def test_a_teacher_that_is_compared_with_itself_is_asked_about(teacher, against, scale, said):
    """labmlai/annotated_deep_learning_paper_implementations #66: the teacher's logits stood in both places, the student
    learned from the labels alone, and nothing was found.
    """
    pupil = student()

    def losses(own, other, y):
        part = scale * divergence(other if against == "teacher" else own, other)
        return part + functional.cross_entropy(own, y), part

    found = named(watched(teacher, pupil, adam(pupil), losses=losses, steps=60))
    assert ("DISTILLATION_LOSS_ALWAYS_ZERO" in found) == said
    assert not said or found["DISTILLATION_LOSS_ALWAYS_ZERO"].candidates[0].cause == "TEACHER_COMPARED_WITH_ITSELF"


def test_a_student_that_leaves_the_teacher_again(teacher):
    """From the middle on it learns by heart what the teacher never said, and its loss falls all the same."""
    pupil = student(width=64)
    optimizer = adam(pupil, rate=1e-2)
    tracker = DistillationTracker(teacher, pupil, optimizer=optimizer, rules=BOOK)
    for step in range(500):
        x, _ = batch(step if step < 200 else 0)
        wanted = teacher(x).detach()
        loss = divergence(pupil(x), wanted if step < 200 else wanted.roll(1, dims=0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        tracker.step(loss, distillation_loss=loss)
        if step % 50 == 0 or step == 499:
            tracker.observe(batch(10_000, 256)[0])
    found = named(tracker)["STUDENT_LEAVES_THE_TEACHER"]
    assert "OVERFITTING" in [one.cause for one in found.candidates]


# --- what was seen, and what was not --------------------------------------------------------------------------------


def loop(tracker, model, optimizer, teacher, *, steps=60, every=1):
    for step in range(steps):
        x, _ = batch(step)
        loss = divergence(model(x), teacher(x).detach())
        loss.backward()
        if (step + 1) % every == 0:
            optimizer.step()
            optimizer.zero_grad()
        tracker.step(loss, distillation_loss=loss)
    return tracker


def blind(tracker):
    report = tracker.to_report()
    assert report.status == NOT_OBSERVED
    assert not [found for found in tracker.findings() if found.severity != "info"]
    return report.coverage.blind


def test_a_tracker_that_was_told_nothing_is_blind(teacher):
    assert "no step was seen" in blind(DistillationTracker(teacher, student(), rules=BOOK))


def test_a_copy_that_is_trained_instead_is_told(teacher):
    """A student that nobody trains was called frozen in every layer."""
    pupil = student()
    trained = copy.deepcopy(pupil)
    optimizer = adam(trained)
    tracker = loop(DistillationTracker(teacher, pupil, rules=BOOK), trained, optimizer, teacher)
    assert "another module is trained" in blind(tracker)
    assert math.isnan(tracker.summary()["still_layers"])
    tracker = DistillationTracker(teacher, pupil, optimizer=optimizer, rules=BOOK)
    assert "holds no layer of this student" in blind(loop(tracker, trained, optimizer, teacher))


def test_biases_alone_are_not_looked_at(teacher):
    pupil = student()
    optimizer = torch.optim.Adam([weight for weight in pupil.parameters() if weight.dim() < 2])
    tracker = DistillationTracker(teacher, pupil, optimizer=optimizer, rules=BOOK)
    assert "biases and scales" in blind(loop(tracker, pupil, optimizer, teacher))


def test_accumulated_gradients_are_no_layers_that_stand_still(teacher):
    """Every look fell on a batch without a step."""
    pupil = student()
    optimizer = adam(pupil)
    tracker = DistillationTracker(teacher, pupil, optimizer=optimizer, rules=BOOK)
    loop(tracker, pupil, optimizer, teacher, steps=200, every=4)
    assert not named(tracker)
    assert tracker.measurements().coverage.seen["steps"] == pytest.approx(50, abs=4)
    assert "batches" in tracker.measurements().coverage.unseen
    pupil = student()
    tracker = DistillationTracker(teacher, pupil, rules=BOOK)
    assert "give optimizer=" in blind(loop(tracker, pupil, adam(pupil), teacher, steps=200, every=4))


def test_a_rate_of_zero_is_seen(teacher):
    pupil = student()
    optimizer = adam(pupil, rate=0.0)
    tracker = DistillationTracker(teacher, pupil, optimizer=optimizer, rules=BOOK)
    found = named(loop(tracker, pupil, optimizer, teacher))
    assert set(found) == {"STUDENT_DOES_NOT_MOVE"}
    assert tracker.to_report().status == FINDINGS


def test_what_was_not_told_is_said(teacher):
    pupil = student()
    tracker = DistillationTracker(teacher, pupil, rules=BOOK)
    optimizer = adam(pupil)
    for step in range(20):
        optimizer.zero_grad()
        divergence(pupil(batch(step)[0]), teacher(batch(step)[0]).detach()).backward()
        optimizer.step()
        tracker.step()
    seen = tracker.measurements().coverage
    assert set(seen.unseen) == {"comparison", "optimizer", "distillation_loss"}
    assert seen.seen["teacher_calls"] == 20
    assert tracker.measurements().framework == "torch"


# --- copies, exports, states ----------------------------------------------------------------------------------------


def stored(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), stored],
    ids=["deepcopy", "pickle", "save"],
)
@pytest.mark.parametrize("which", ["teacher", "student"])
def test_copies_do_not_tell_the_tracker(teacher, copied, which):
    pupil = student()
    tracker = DistillationTracker(teacher, pupil, rules=BOOK)
    twin = copied(teacher if which == "teacher" else pupil)
    twin(batch(0)[0])
    assert tracker.measurements().coverage.seen["teacher_calls"] == 0
    teacher(batch(0)[0])
    assert tracker.measurements().coverage.seen["teacher_calls"] == 1


def test_a_watched_pair_is_exported(teacher):
    pupil = student()
    tracker = DistillationTracker(teacher, pupil, rules=BOOK)
    x = batch(0)[0]
    for model in (teacher, pupil):
        exported = torch.export.export(model, (x,))
        assert torch.equal(exported.module()(x), model(x))
    tracker.detach()
    assert not teacher._forward_pre_hooks


@pytest.mark.parametrize("part", ["teaching", "content", "sight", "gaps"])
def test_a_state_that_lacks_a_part_is_refused(teacher, part):
    """States of other versions are refused by their number; one of this version with a part missing was half read."""
    pupil = student()
    state = watched(teacher, pupil, adam(pupil), steps=20).state_dict()
    del state[part]
    other = DistillationTracker(teacher, pupil, rules=BOOK)
    with pytest.raises(ValueError, match=f"lacks '{part}'"):
        other.load_state_dict(state)
    assert other.summary()["steps"] == 0


@pytest.mark.parametrize("kind", ["loss", "distillation_loss"])
def test_a_loss_of_several_numbers_is_refused_by_name(teacher, kind):
    """A loss that was not reduced ended in an error of reshape, without the tracker's name or the way out."""
    tracker = DistillationTracker(teacher, student(), rules=BOOK)
    with pytest.raises(ValueError, match=rf"student: {kind} has shape \(3,\); give the one number"):
        tracker.step(**{kind: torch.ones(3)})


class OneColumn(nn.Module):
    """A teacher of one matrix."""

    def __init__(self, shape):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(512, 63), (256, 255), (96, 27), (300, 129)])
@pytest.mark.parametrize("column", [1, 20])
def test_every_column_of_the_teacher_is_looked_at(shape, column):
    """A stride that divides the rows met one column only; what moved in others went unseen."""
    teacher = OneColumn(shape)
    with torch.no_grad():
        teacher.weight += 1
    teaching = Teaching(teacher, nn.Linear(2, 2))
    with torch.no_grad():
        teacher.weight[:, column] += 1
    teaching.look()
    assert teaching.figures()["teacher_moved"] > 0


def test_a_trained_teacher_in_channels_last_is_seen():
    """Of weights that are not contiguous a copy was kept for ever, and looked at instead of them."""
    teacher = nn.Conv2d(8, 64, 3).to(memory_format=torch.channels_last)
    teaching = Teaching(teacher, nn.Linear(2, 2))
    teaching.look()
    assert teaching.figures()["teacher_moved"] == 0
    with torch.no_grad():
        teacher.weight *= 1.1
    teaching.look()
    assert teaching.figures()["teacher_moved"] > 0.05


@pytest.mark.parametrize("reduction", ["batchmean", "sum"])
def test_a_student_that_begins_as_its_teacher_has_no_impossible_loss(reduction):
    """Rounding puts the divergence of two nearly equal distributions a little below 0, and it was called impossible."""
    teacher = network(12, 48, 4000)
    pupil = copy.deepcopy(teacher)

    def near(own, other, y):
        loss = functional.kl_div((own / 10).log_softmax(1), (other / 10).softmax(1), reduction=reduction) * 100
        return (loss,) * 2

    tracker = watched(teacher, pupil, adam(pupil, rate=1e-6), losses=near, steps=6)
    assert not {"IMPOSSIBLE_LOSS", "DISTILLATION_LOSS_BELOW_ZERO"} & set(named(tracker))
