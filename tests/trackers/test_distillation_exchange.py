"""What passes between teacher and student: losses, rows, inputs and teachers that are mistaken, each beside loops that
look alike and are in order.
"""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from flowgrad import DistillationTracker

CLASSES = 6

pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss")


def network(*widths, seed=0, norm=False):
    torch.manual_seed(seed)
    parts = []
    for coming, going in itertools.pairwise(widths):
        parts += [nn.Linear(coming, going), *([nn.BatchNorm1d(going)] if norm else []), nn.ReLU()]
    return nn.Sequential(*parts[: -(1 + norm)])


def batch(step, size=48):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(size, 12, generator=generator)
    return x, (x[:, :6] * 2 + x[:, 6:].abs()).argmax(dim=1)


def learned(model, shown=lambda x: x, steps=250):
    """Trained on labels."""
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(steps):
        x, y = batch(step)
        optimizer.zero_grad()
        functional.cross_entropy(model(shown(x)), y).backward()
        optimizer.step()
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def plain():
    return learned(network(12, 48, 48, CLASSES))


@pytest.fixture(scope="module")
def normed():
    return learned(network(12, 48, 48, CLASSES, norm=True))


def soft(student, teacher, temperature=4.0, reduction="batchmean"):
    log_p = functional.log_softmax(student / temperature, dim=1)
    return functional.kl_div(log_p, functional.softmax(teacher / temperature, dim=1), reduction=reduction)


def hinton(student, teacher, y):
    return 0.9 * 16 * soft(student, teacher) + 0.1 * functional.cross_entropy(student, y)


def alone(student, teacher, y):
    return 16 * soft(student, teacher)


def train(teacher, loss, *, student=None, shown=lambda x: x, answer=None, labels=lambda y: y, steps=34, scale=1.0):
    """The types found, with the severity of each."""
    student = student or network(12, 24, 24, CLASSES, seed=3)
    optimizer = torch.optim.Adam(student.parameters(), 2e-3)
    tracker = DistillationTracker(teacher, student, optimizer=optimizer)
    for step in range(steps):
        x, y = batch(1000 + step)
        with torch.no_grad():
            target = answer(step, x) if answer else teacher(shown(x))
        optimizer.zero_grad()
        value = loss(student(x), target, labels(y))
        (value * scale).backward()
        if scale != 1:
            for parameter in student.parameters():
                parameter.grad /= scale
        optimizer.step()
        tracker.step(value.detach())
    tracker.observe(batch(5000, 256)[0])
    tracker.detach()
    return tracker


def types(tracker, *severities):
    return {one.type for one in tracker.findings() if not severities or one.severity in severities}


def quiet(tracker):
    """Nothing but what informs."""
    return types(tracker, "low", "medium", "high", "critical") == set()


ORDER = torch.randperm(48, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize(
    "loss",
    [
        lambda s, t, y: (
            16 * functional.kl_div(functional.softmax(s / 4, 1), functional.softmax(t / 4, 1), reduction="sum")
        ),
        lambda s, t, y: (
            0.5 * functional.kl_div(functional.softmax(s, 1), functional.softmax(t, 1), reduction="batchmean")
            + 0.5 * functional.cross_entropy(s, y)
        ),
        lambda s, t, y: functional.kl_div(s / 2, functional.softmax(t / 2, 1), reduction="batchmean"),
        lambda s, t, y: -(functional.softmax(t / 4, 1) * functional.softmax(s / 4, 1)).sum(1).mean(),
    ],
)
def test_a_divergence_of_probabilities_is_named(plain, loss):
    """A loss without its logarithm was a question at low severity, and only once it had fallen below 0."""
    assert "KL_OF_PROBABILITIES" in types(train(plain, loss), "high")


def test_a_squared_temperature_that_is_missing_is_asked_about(plain):
    """Labels that outweigh the teacher by a factor of T^2 were not seen at all."""

    def loss(student, teacher, y):
        return 0.3 * soft(student, teacher) + 0.7 * functional.cross_entropy(student, y)

    found = train(plain, loss)
    assert types(found, "medium") == {"TEMPERATURE_NOT_SQUARED"}
    assert next(one for one in found.findings() if one.severity == "medium").candidates


def test_a_mean_over_classes_is_asked_about(plain):
    def loss(student, teacher, y):
        return 0.5 * 4 * soft(student, teacher, 2.0, "mean") + 0.5 * functional.cross_entropy(student, y)

    assert types(train(plain, loss), "medium") == {"DIVERGENCE_AVERAGED_OVER_CLASSES"}


@pytest.mark.parametrize("loss", [alone, hinton])
@pytest.mark.parametrize("order", [ORDER, torch.arange(48).roll(1)])
def test_answers_of_other_rows_are_named(plain, loss, order):
    """Answers in another order than the rows were a question whose first candidate was the learning rate."""
    found = train(plain, lambda s, t, y: loss(s, t[order], y))
    assert "ANSWERS_OF_OTHER_ROWS" in types(found, "high")


def test_stored_answers_of_other_rows_are_named(plain):
    """A teacher that is never called while the student trains is asked anew for the rows of one step."""
    stored = {step: plain(batch(1000 + step)[0]) for step in range(34)}
    found = train(plain, alone, answer=lambda step, x: stored[step][ORDER])
    assert "ANSWERS_OF_OTHER_ROWS" in types(found, "high")
    assert quiet(train(plain, alone, answer=lambda step, x: stored[step]))


def test_a_teacher_shown_the_rows_in_another_order_is_named(plain):
    assert "ANSWERS_OF_OTHER_ROWS" in types(train(plain, hinton, shown=lambda x: x[ORDER]), "high")


def test_a_loader_of_its_own_is_asked_about(plain):
    found = train(plain, hinton, shown=lambda x: torch.randn(x.shape, generator=torch.Generator().manual_seed(5)))
    assert "TEACHER_GETS_OTHER_ROWS" in types(found, "medium")


@pytest.mark.parametrize("shown", [lambda x: x * 96 + 78, lambda x: x * 255])
@pytest.mark.parametrize("teacher", ["plain", "normed"])
def test_inputs_that_the_teacher_was_not_trained_on_are_named(teacher, shown, request):
    """A teacher that was trained on normalised inputs and got raw ones was not seen at all."""
    found = train(request.getfixturevalue(teacher), alone, shown=shown)
    assert "TEACHER_INPUTS_DIFFER" in types(found, "high")


@pytest.mark.parametrize("norm", [False, True])
def test_a_preprocessing_of_its_own_is_no_fault(norm):
    """A teacher that was trained on raw inputs gets them, while the student gets normalised ones."""
    raw = lambda x: x * 64 + 128  # noqa: E731
    teacher = learned(network(12, 48, 48, CLASSES, norm=norm), raw, 400)
    assert types(train(teacher, alone, shown=raw), "medium", "high", "critical") == set()


def test_inputs_raw_for_both_are_asked_about(normed):
    """Both get raw inputs, and only the teacher's running statistics tell that it had others."""
    student = nn.Sequential(nn.BatchNorm1d(12), network(12, 24, CLASSES, seed=3))
    optimizer = torch.optim.Adam(student.parameters(), 2e-3)
    tracker = DistillationTracker(normed, student, optimizer=optimizer)
    for step in range(20):
        x = batch(step)[0] * 64 + 128
        optimizer.zero_grad()
        alone(student(x), normed(x), None).backward()
        optimizer.step()
        tracker.step()
    tracker.observe(batch(5000, 256)[0] * 64 + 128)
    assert "TEACHER_INPUTS_UNFAMILIAR" in types(tracker, "medium")
    assert not types(tracker, "high")


def drawn(model):
    """As libraries of transformers draw it."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    return model


@pytest.mark.parametrize(
    "teacher",
    [
        lambda: network(12, 48, 48, CLASSES),
        lambda: network(12, 48, 48, CLASSES, norm=True),
        lambda: drawn(network(12, 48, 48, CLASSES)),
    ],
)
def test_a_teacher_as_drawn_is_named(teacher):
    """A teacher whose checkpoint was never loaded was not seen at all."""
    teacher = teacher().eval().requires_grad_(False)
    assert "TEACHER_KNOWS_NOTHING" in types(train(teacher, hinton), "high")
    found = next(one for one in train(teacher, alone).findings() if one.severity == "high")
    assert found.type == "TEACHER_AS_DRAWN"
    assert found.candidates


def test_a_random_target_on_purpose_is_a_question():
    teacher = network(12, 48, 48, CLASSES).eval().requires_grad_(False)
    found = train(teacher, lambda s, t, y: functional.mse_loss(s, t))
    assert types(found, "medium", "high", "critical") == set()
    assert "TEACHER_AS_DRAWN" in types(found, "low")


def test_a_teacher_hardly_trained_is_not_as_drawn():
    teacher = learned(network(12, 48, 48, CLASSES), steps=25)
    assert train(teacher, hinton).summary()["teacher_drawn"] < 1


def test_weights_without_their_statistics_are_asked_about(normed):
    """Only `parameters()` were saved, and buffers are as in a new model."""
    teacher = copy.deepcopy(normed)
    for module in teacher.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.reset_running_stats()
    with torch.no_grad():
        teacher[0].weight *= 3  # weights longer than those of a layer just drawn, as of one trained for long
    assert "TEACHER_STATISTICS_AS_DRAWN" in types(train(teacher, alone), "medium")


@pytest.mark.parametrize("labels", [lambda y: (y + 1) % CLASSES, lambda y: CLASSES - 1 - y])
def test_classes_in_another_order_are_named(plain, labels):
    """Labels that begin at 1 were not seen: the student fits them, and the teacher's part of the loss."""
    assert "LABELS_IN_ANOTHER_ORDER" in types(train(plain, hinton, labels=labels), "high")


def test_labels_of_other_rows_are_asked_about(plain):
    found = train(plain, hinton, labels=lambda y: y[ORDER])
    assert "TEACHER_DISAGREES_WITH_LABELS" in types(found, "medium")


HEALTHY = {
    "hinton": hinton,
    "alone": alone,
    "mean over classes alone": lambda s, t, y: 16 * soft(s, t, reduction="mean"),
    "not squared alone": lambda s, t, y: soft(s, t),
    "smoothed labels": lambda s, t, y: (
        0.5 * 4 * soft(s, t, 2.0) + 0.5 * functional.cross_entropy(s, y, label_smoothing=0.1)
    ),
    "weights of 1": lambda s, t, y: 4 * soft(s, t, 2.0) + functional.cross_entropy(s, y),
    "temperature of 1": lambda s, t, y: 0.5 * soft(s, t, 1.0) + 0.5 * functional.cross_entropy(s, y),
    "the other way round": lambda s, t, y: 4 * soft(t, s, 2.0),
    "squared": lambda s, t, y: functional.mse_loss(s, t),
    "absolute": lambda s, t, y: functional.l1_loss(s, t),
    "uncommon temperature": lambda s, t, y: 0.3 * soft(s, t, 3.3) + 0.7 * functional.cross_entropy(s, y),
    "cross-entropy with answers": lambda s, t, y: functional.cross_entropy(s, functional.softmax(t, 1)),
    "labels alone": lambda s, t, y: functional.cross_entropy(s, y),
}


@pytest.mark.parametrize("loss", HEALTHY.values(), ids=HEALTHY)
def test_sound_losses_are_left_alone(plain, loss):
    assert quiet(train(plain, loss))


def test_a_scaled_loss_is_left_alone(plain):
    """Loss scaling multiplies the gradient at the outputs."""
    assert quiet(train(plain, hinton, scale=1024.0))


def test_half_precision_answers_are_left_alone(plain):
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = copy.deepcopy(plain).bfloat16()

        def forward(self, x):
            return self.inner(x.bfloat16())

    found = train(Half(), lambda s, t, y: hinton(s, t.float(), y))
    assert found.summary()["formulas_found"] == 0
    assert quiet(found)


def test_inputs_augmented_for_one_are_left_alone(plain):
    noise = torch.randn(48, 12, generator=torch.Generator().manual_seed(2))
    assert quiet(train(plain, hinton, shown=lambda x: x + 0.3 * noise))


def test_inputs_of_another_size_are_left_alone():
    teacher = learned(network(6, 48, 48, CLASSES), lambda x: x[:, :6])
    optimizer_student = network(12, 24, 24, CLASSES, seed=3)
    optimizer = torch.optim.Adam(optimizer_student.parameters(), 2e-3)
    tracker = DistillationTracker(
        teacher, optimizer_student, optimizer=optimizer,
        forward=lambda model, x: model(x[:, :6] if model is teacher else x),
    )  # fmt: skip
    for step in range(34):
        x, y = batch(step)
        optimizer.zero_grad()
        hinton(optimizer_student(x), teacher(x[:, :6]), y).backward()
        optimizer.step()
        tracker.step()
    tracker.observe(batch(5000, 256)[0])
    assert quiet(tracker)


def two_views(x):
    return torch.cat([x, x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(9))])


def test_two_views_that_teach_each_other_are_left_alone(plain):
    """Each view is taught the answer to the other one: rows are swapped on purpose."""
    student = network(12, 24, 24, CLASSES, seed=3)
    optimizer = torch.optim.Adam(student.parameters(), 2e-3)
    tracker = DistillationTracker(plain, student, optimizer=optimizer)
    for step in range(20):
        views = two_views(batch(step, 24)[0])
        optimizer.zero_grad()
        alone(student(views), plain(views).roll(24, dims=0), None).backward()
        optimizer.step()
        tracker.step()
    tracker.observe(batch(5000, 256)[0])
    assert quiet(tracker)


@pytest.mark.parametrize("momentum", [0.9, 0.99])
def test_a_momentum_teacher_is_left_alone(momentum):
    """It begins as the student does, drawn at random, and goes its way."""
    student = network(12, 24, 24, CLASSES, seed=3)
    teacher = copy.deepcopy(student).requires_grad_(False)
    optimizer = torch.optim.Adam(student.parameters(), 2e-3)
    tracker = DistillationTracker(teacher, student, optimizer=optimizer)
    for step in range(34):
        x, y = batch(step)
        optimizer.zero_grad()
        hinton(student(x), teacher(x + 0.01), y).backward()
        optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
                slow.lerp_(fast, 1 - momentum)
        tracker.step()
    tracker.observe(batch(5000, 256)[0])
    assert quiet(tracker)


def test_peers_that_learn_from_each_other_are_not_called_unloaded():
    one, two = (network(12, 24, 24, CLASSES, seed=seed) for seed in (3, 4))
    optimizer = torch.optim.Adam([*one.parameters(), *two.parameters()], 2e-3)
    tracker = DistillationTracker(one, two, optimizer=optimizer)
    for step in range(34):
        x, y = batch(step)
        optimizer.zero_grad()
        a, b = one(x), two(x)
        (hinton(a, b.detach(), y) + hinton(b, a.detach(), y)).backward()
        optimizer.step()
        tracker.step()
    tracker.observe(batch(5000, 256)[0])
    assert types(tracker, "high", "critical") == set()
    assert "TEACHER_IN_TRAINING_MODE" not in types(tracker)


def test_a_teacher_that_is_trained_is_not_asked_for_evaluation():
    """A teacher in the optimizer has dropout on because it is trained: that it is trained is what is said."""
    teacher = nn.Sequential(*network(12, 48, CLASSES)[:2], nn.Dropout(0.3), network(48, CLASSES))
    student = network(12, 24, CLASSES, seed=3)
    optimizer = torch.optim.Adam([*teacher.parameters(), *student.parameters()], 2e-3)
    tracker = DistillationTracker(teacher, student, optimizer=optimizer)
    for step in range(34):
        x, y = batch(step)
        optimizer.zero_grad()
        hinton(student(x), teacher(x), y).backward()
        optimizer.step()
        tracker.step()
    tracker.observe(batch(5000, 256)[0])
    assert "TEACHER_MOVES" in types(tracker, "medium")
    assert "TEACHER_IN_TRAINING_MODE" not in types(tracker)


def test_hints_inside_the_network_are_left_alone(plain):
    """The loss compares hidden layers, and the outputs with labels alone."""
    student = network(12, 48, 24, CLASSES, seed=3)
    optimizer = torch.optim.Adam(student.parameters(), 2e-3)
    tracker = DistillationTracker(plain, student, optimizer=optimizer)
    for step in range(34):
        x, y = batch(step)
        optimizer.zero_grad()
        plain(x)
        hint = functional.mse_loss(student[1](student[0](x)), plain[1](plain[0](x)))
        (hint + functional.cross_entropy(student(x), y)).backward()
        optimizer.step()
        tracker.step()
    tracker.observe(batch(5000, 256)[0])
    assert quiet(tracker)


def test_gradients_stay_as_they_are_bit_for_bit(plain):
    """Hooks on outputs and their gradients return nothing."""

    def weights(watched):
        student = network(12, 24, 24, CLASSES, seed=3)
        optimizer = torch.optim.SGD(student.parameters(), 0.1)
        tracker = DistillationTracker(plain, student, optimizer=optimizer) if watched else None
        for step in range(9):
            x, y = batch(step)
            optimizer.zero_grad()
            loss = hinton(student(x), plain(x), y)
            if tracker:
                tracker.distillation_gradients(loss)
            loss.backward()
            optimizer.step()
            if tracker:
                tracker.step(loss)
                tracker.observe(x)
        if tracker:
            assert tracker.summary()["formulas_found"] >= 2
        return torch.cat([weight.flatten() for weight in student.parameters()])

    assert torch.equal(weights(True), weights(False))


def test_what_was_judged_survives_a_checkpoint(plain):
    found = train(plain, lambda s, t, y: hinton(s, t[ORDER], y))
    student = network(12, 24, 24, CLASSES, seed=3)
    again = DistillationTracker(plain, student)
    again.load_state_dict(found.state_dict())
    names = [name for name in found.summary() if name.startswith(("formula", "shown", "labels", "teacher_drawn"))]
    assert {name: again.summary()[name] for name in names} == pytest.approx(
        {name: found.summary()[name] for name in names}, nan_ok=True
    )


def test_copies_carry_hooks_that_do_nothing(plain):
    student = network(12, 24, 24, CLASSES, seed=3)
    tracker = DistillationTracker(plain, student)
    copied = copy.deepcopy(student)
    copied(batch(0)[0]).sum().backward()
    tracker.step()
    assert tracker.summary()["formulas"] == 0
