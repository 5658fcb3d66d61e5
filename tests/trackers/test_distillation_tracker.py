"""A student beside its teacher: the contract, which layers pair, what a look leaves behind, and what is found."""

import copy
import io
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from flowgrad import DistillationTracker, FlowGradError
from flowgrad.drawing import FORMATS
from flowgrad.report import validate
from flowgrad.rules import RuleBook
from flowgrad.testing import TrackerContract, seeded
from flowgrad.trackers.distillation.layers import find_pairs, layers_of
from flowgrad.trackers.distillation.motion import WINDOW
from flowgrad.trackers.distillation.probe import EXAMPLES, undisturbed

RULES = RuleBook.from_mapping(
    {
        "frozen": {
            "subject": "distillation",
            "type": "FROZEN",
            "condition": "frozen_layers > 0",
            "rows": "frozen == 1",
            "premise": "{frozen_layers:.0f} layers are frozen.",
            "implies": "They stay what they were.",
            "action": "UNFREEZE",
            "expected_effect": "They move.",
        }
    }
)
"""Of the tracker's own, so that no threshold of the shipped rules matters here."""


def mlp(*sizes, norm=False, dropout=0.0):
    parts = []
    for coming, going in itertools.pairwise(sizes):
        parts += [nn.Linear(coming, going), *([nn.BatchNorm1d(going)] if norm else []), nn.ReLU(inplace=True)]
        parts += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*parts[: -2 if dropout else -1])


def made(seed, *sizes, **options):
    with seeded(seed):
        return mlp(*sizes, **options)


def inputs(seed=0, n=64, units=6):
    return torch.from_numpy(np.random.default_rng([3, seed]).normal(size=(n, units))).float()


def distil(teacher, student, optimizer, tracker, steps, *, clear_first=False, start=0, shake=None):
    """Train on new inputs at every step; where gradients are shaken, on the same, for there is no other noise then."""
    for step in range(start, start + steps):
        optimizer.zero_grad()
        batch = inputs(1 if shake else step + 1)
        with torch.no_grad():
            wanted = teacher(batch)
        loss = functional.mse_loss(student(batch), wanted)
        loss.backward()
        if shake is not None:
            shake()
        optimizer.step()
        if clear_first:
            optimizer.zero_grad()
        tracker.step(loss, distillation_loss=loss)


# --- the contract ---------------------------------------------------------------------------------------------------


class Student(nn.Module):
    """With dropout, so that a run depends on torch's global generator, and with running statistics."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(9, 4, sparse=False)
        self.body = mlp(6 + 4, 5, 4, 3, norm=True, dropout=0.2)

    def forward(self, pair):
        return self.body(torch.cat([pair[:, :6], self.table(pair[:, 6].long())], dim=1))


class Teacher(Student):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(9, 8)
        self.body = mlp(6 + 8, 16, 16, 16, 3)


def pairs_of(step, n=32):
    generator = np.random.default_rng([5, step])
    return torch.from_numpy(np.column_stack([generator.normal(size=(n, 6)), generator.integers(0, 9, n)])).float()


class DistillationContract(TrackerContract):
    steps = 12

    def make_model(self):
        return Student()

    def make_optimizer(self, model):
        return torch.optim.Adam(model.parameters(), lr=0.01)

    def make_tracker(self, model):
        with seeded(1):
            teacher = Teacher()
        return DistillationTracker(teacher, model, probe=pairs_of(99), rules=RULES)

    def watched(self, model):
        return model.table

    def loss(self, model, step):
        return (model(pairs_of(step)) - 1).square().mean()

    def end_epoch(self, tracker):
        tracker.observe()


class TestByGradientsAtTheStep(DistillationContract):
    pass


class TestWithOptimizer(DistillationContract):
    def make_optimizer(self, model):
        if not hasattr(model, "own_optimizer"):
            model.own_optimizer = super().make_optimizer(model)
        return model.own_optimizer

    def make_tracker(self, model):
        with seeded(1):
            teacher = Teacher()
        return DistillationTracker(
            teacher, model, probe=pairs_of(99), rules=RULES, optimizer=self.make_optimizer(model)
        )


class TestSparse(DistillationContract):
    def make_model(self):
        model = Student()
        model.table = nn.Embedding(9, 4, sparse=True)
        return model

    def make_optimizer(self, model):
        return torch.optim.SGD(model.parameters(), lr=0.01)


# --- pairs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        ((6, 4, 3), (6, 8, 3), {"0": "0", "2": "2"}),
        ((6, 4, 3), (6, 8, 8, 8, 3), {"0": "0", "2": "6"}),
        ((6, 4, 4, 4, 3), (6, 8, 3), {"0": "0", "2": "0", "4": "2", "6": "2"}),
        ((6, 3), (6, 8, 8, 3), {"0": "4"}),
    ],
)
def test_layers_pair_by_relative_depth(student, teacher, expected):
    assert find_pairs(layers_of(mlp(*student)), layers_of(mlp(*teacher))) == expected


def test_names_without_numbers_pair_and_the_rest_by_depth():
    def network(depth):
        layers = {"item_emb": nn.Embedding(5, 2), "user_emb": nn.Embedding(5, 2)}
        layers |= {f"fc{number}": nn.Linear(2, 2) for number in range(1, depth + 1)} | {"out": nn.Linear(2, 1)}
        return layers_of(nn.ModuleDict(layers))

    assert find_pairs(network(2), network(4)) == {
        "item_emb": "item_emb", "user_emb": "user_emb", "fc1": "fc1", "fc2": "fc4", "out": "out",
    }  # fmt: skip


def test_embeddings_pair_with_embeddings_alone():
    student = nn.ModuleDict({"a": nn.Embedding(5, 2), "b": nn.Linear(2, 1)})
    teacher = nn.ModuleDict({"c": nn.Linear(2, 1), "d": nn.Linear(2, 1)})
    assert find_pairs(layers_of(student), layers_of(teacher)) == {"b": "d"}


def test_a_shared_module_is_one_layer():
    shared = nn.Linear(4, 4)
    student = nn.Sequential(nn.Linear(6, 4), shared, nn.ReLU(), shared)
    assert [layer.name for layer in layers_of(student)] == ["0", "1"]
    tracker = DistillationTracker(made(1, 6, 8, 4), student, rules=RULES)
    tracker.observe(inputs())
    rows = tracker.layer_table()
    assert rows.loc["1", "width"] == 4
    assert math.isnan(rows.loc["1", "unexplained"]), "called twice, the teacher's layer once: no example is the other's"
    assert rows.loc["0", "unexplained"] >= 0


def test_normed_and_parametrized_layers():
    student = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)), nn.LayerNorm(4), nn.Linear(4, 3))
    assert [layer.name for layer in layers_of(student)] == ["0", "2"]
    tracker = DistillationTracker(made(1, 6, 8, 3), student, rules=RULES)
    distil(made(1, 6, 8, 3), student, torch.optim.SGD(student.parameters(), 0.1), tracker, 6)
    assert (tracker.layer_table()["velocity"] > 0).all()


def test_a_model_that_is_one_layer():
    student = nn.Linear(6, 3)
    tracker = DistillationTracker(nn.Linear(6, 3), student, rules=RULES)
    tracker.observe(inputs())
    assert list(tracker.layer_table().index) == ["Linear"]
    assert tracker.measurements().scalars["paired_layers"] == 1


def test_compiled_and_wrapped_models_are_the_models_inside():
    student = made(0, 6, 4, 3)
    tracker = DistillationTracker(nn.DataParallel(made(1, 6, 4, 3)), torch.compile(student), rules=RULES)
    assert tracker.pairs == {"0": "0", "2": "2"}
    tracker.observe(inputs())


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({}, "holds no pair"),
        ({"1": "0"}, "the student has no layer '1'; its layers are 0, 2"),
        ({"0": "9"}, "the teacher has no layer '9'; its layers are 0, 2, 4"),
    ],
)
def test_pairs_that_cannot_be(pairs, message):
    with pytest.raises(ValueError, match=message):
        DistillationTracker(made(1, 6, 8, 8, 3), made(0, 6, 4, 3), pairs)


def test_models_that_cannot_be_compared():
    student = made(0, 6, 4, 3)
    with pytest.raises(ValueError, match="same module"):
        DistillationTracker(student, student)
    with pytest.raises(TypeError, match=r"teacher must be an nn\.Module, got str"):
        DistillationTracker("resnet", student)
    with pytest.raises(ValueError, match=r"the student \(ReLU\) has no layer"):
        DistillationTracker(student, nn.ReLU())
    with pytest.raises(ValueError, match=r"\(0\) pairs with one of the teacher \(0, 2\); give pairs="):
        DistillationTracker(student, nn.Sequential(nn.Embedding(3, 2)))


def test_given_pairs_are_taken():
    tracker = DistillationTracker(made(1, 6, 8, 8, 3), made(0, 6, 4, 3), {"0": "2"}, rules=RULES)
    tracker.observe(inputs())
    rows = tracker.layer_table()
    assert tracker.pairs == {"0": "2"}
    assert np.isfinite(rows.loc["0", "unexplained"])
    assert math.isnan(rows.loc["2", "unexplained"])
    assert tracker.measurements().scalars["paired_layers"] == 1


# --- a look ---------------------------------------------------------------------------------------------------------


class Counting(nn.Module):
    """Changes a buffer in every pass, draws random numbers and has a part that is not in training mode."""

    def __init__(self):
        super().__init__()
        self.body = mlp(6, 5, 4, 3, norm=True, dropout=0.5)
        self.body[1].training = False
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x):
        self.passes += 1
        return self.body(x + 0 * torch.rand(1) + 0 * float(np.random.rand()))  # noqa: NPY002


def test_a_look_leaves_no_trace():
    with seeded(0):
        student = Counting()
        student(inputs())
        flags = [module.training for module in student.modules()]
        state = copy.deepcopy(student.state_dict())
        before = torch.get_rng_state(), np.random.get_state()[2]  # noqa: NPY002
        DistillationTracker(made(1, 6, 8, 8, 3, norm=True), student, rules=RULES).observe(inputs(1))
        assert [module.training for module in student.modules()] == flags
        assert all(torch.equal(state[name], value) for name, value in student.state_dict().items())
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.random.get_state()[2] == before[1]  # noqa: NPY002
        assert all(weight.grad is None for weight in student.parameters())


def test_a_look_that_fails_leaves_no_trace():
    student = Counting()
    flags = [module.training for module in student.modules()]
    with pytest.raises(RuntimeError), undisturbed(student):
        student(inputs(units=5))
    assert [module.training for module in student.modules()] == flags
    assert float(student.passes) == 0


def test_a_look_between_forward_and_backward_is_no_error():
    """Restoring a buffer that nobody changed would make autograd refuse the backward pass."""
    student = made(0, 6, 5, 3, norm=True)
    loss = student(inputs()).sum()
    DistillationTracker(made(1, 6, 8, 3), student, rules=RULES).observe(inputs(1))
    loss.backward()


def test_activations_are_those_before_work_in_place():
    """ReLU(inplace=True) follows every layer; what comes out of the layers is below 0 too."""
    teacher, student = made(1, 6, 8, 3), made(0, 6, 4, 3)
    tracker = DistillationTracker(teacher, student, rules=RULES)
    tracker.observe(inputs())
    assert tracker.layer_table().loc["0", "rank"] == pytest.approx(
        effective_rank(student[0](inputs()).detach().double().numpy())
    )


def effective_rank(x):
    singular = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    share = singular / singular.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def test_a_copy_of_the_teacher_lacks_nothing():
    teacher = made(1, 6, 8, 8, 3)
    tracker = DistillationTracker(teacher, copy.deepcopy(teacher), probe=inputs(n=200), rules=RULES)
    tracker.observe()
    rows, scalars = tracker.layer_table(), tracker.measurements().scalars
    assert scalars["logit_kl"] == pytest.approx(0, abs=1e-9)
    assert (scalars["agreement"], scalars["output_r2"]) == (1, 1)
    assert (rows["unexplained"] < 1e-3).all()
    assert np.allclose(rows["cka"], 1)
    assert (rows["width_ratio"] == 1).all()
    assert rows["noise"].eq(0).all()
    assert np.allclose(np.diag(tracker.similarity()), 1)


def test_inputs_of_every_form_and_too_many():
    teacher, student = made(1, 6, 8, 3), made(0, 6, 4, 3)
    found = []
    for form in (inputs(n=300), (inputs(n=300),), {"input": inputs(n=300)}):
        tracker = DistillationTracker(teacher, student, rules=RULES)
        tracker.observe(form)
        found.append(tracker.layer_table())
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])
    assert len(inputs(n=300)) > EXAMPLES


def test_models_with_inputs_of_their_own():
    student, teacher = made(0, 6, 4, 3), nn.Bilinear(6, 6, 3)
    tracker = DistillationTracker(teacher, student, rules=RULES)
    with pytest.raises(TypeError, match=r"the teacher \(Bilinear\) cannot be called with the probe: .*forward=lambda"):
        tracker.observe(inputs())
    tracker = DistillationTracker(
        teacher, student, rules=RULES, forward=lambda model, x: model(x, x) if model is teacher else model(x)
    )
    tracker.observe(inputs())
    assert np.isfinite(tracker.measurements().scalars["logit_kl"])


def test_nothing_to_look_at():
    tracker = DistillationTracker(made(1, 6, 8, 3), made(0, 6, 4, 3), name="small", rules=RULES)
    with pytest.raises(ValueError, match=r"small: observe\(\) needs inputs"):
        tracker.observe()
    with pytest.raises(FlowGradError, match=r"small.*call observe"):
        tracker.similarity()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions(dtype):
    teacher, student = made(1, 6, 8, 3).to(dtype), made(0, 6, 4, 3).to(dtype)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    tracker = DistillationTracker(teacher, student, optimizer=optimizer, rules=RULES)
    for step in range(6):
        optimizer.zero_grad()
        (student(inputs(step).to(dtype)) - teacher(inputs(step).to(dtype)).detach()).square().mean().backward()
        optimizer.step()
        tracker.step()
    tracker.observe(inputs().to(dtype))
    rows = tracker.layer_table()
    assert np.isfinite(rows[["velocity", "cka", "unexplained"]]).all(axis=None)


def test_convolutions_recurrent_layers_and_attention():
    class Mixed(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.conv = nn.Conv1d(1, width, 3, padding=1)
            self.rnn = nn.GRU(width, width, batch_first=True)
            self.attention = nn.MultiheadAttention(width, 1, batch_first=True)
            self.out = nn.Linear(width, 3)

        def forward(self, x):
            x, _ = self.rnn(self.conv(x.unsqueeze(1)).transpose(1, 2))
            return self.out(self.attention(x, x, x)[0].mean(dim=1))

    with seeded():
        tracker = DistillationTracker(Mixed(8), Mixed(4), rules=RULES)
    tracker.observe(inputs())
    rows = tracker.layer_table()
    called = rows.index != "attention.out_proj"
    assert rows["width"][called].tolist() == [4, 4, 4, 3]
    assert np.isfinite(rows[["cka", "unexplained", "too_narrow"]][called]).all(axis=None)
    assert rows[~called]["cka"].isna().all(), "its weights are used, it is never called"


def test_constant_and_nonfinite_activations():
    teacher, student = made(1, 6, 8, 8, 3), made(0, 6, 4, 4, 3)
    with torch.no_grad():
        student[2].weight.zero_()
    tracker = DistillationTracker(teacher, student, probe=inputs(), rules=RULES)
    tracker.observe()
    rows, scalars = tracker.layer_table(), tracker.measurements().scalars
    assert rows.loc["2", ["unexplained", "constant_units"]].tolist() == [1, 1]
    assert math.isnan(rows.loc["2", "cka"])
    assert scalars["output_spread"] == 0
    with torch.no_grad():
        student[2].weight.fill_(math.nan)
    tracker.observe()
    rows, scalars = tracker.layer_table(), tracker.measurements().scalars
    assert scalars["nonfinite_layers"] == 2
    assert rows.loc["2":, "cka"].isna().all()
    assert math.isnan(scalars["logit_kl"])
    validate(tracker.to_agent_xml())


# --- what is found --------------------------------------------------------------------------------------------------


def watched(*, optimizer=torch.optim.Adam, steps=80, damage=None, shake=None, sizes=(6, 12, 12, 12, 3), **options):
    teacher, student = made(1, 6, 24, 24, 24, 3), made(0, *sizes)
    groups = [{"params": list(layer.parameters())} for layer in student if isinstance(layer, nn.Linear)]
    groups = damage(student, groups) or groups if damage else groups
    optimizer = optimizer(groups, **({"lr": 0.005} | options))
    tracker = DistillationTracker(teacher, student, optimizer=optimizer, probe=inputs(n=200), rules=RULES)
    distil(teacher, student, optimizer, tracker, steps, shake=shake and (lambda: shake(student)))
    tracker.observe()
    return tracker


def test_a_frozen_layer():
    tracker = watched(damage=lambda student, groups: student[2].requires_grad_(False) and None)
    rows = tracker.layer_table()
    assert rows["frozen"].tolist() == [0, 1, 0, 0]
    assert rows.loc["2", "velocity"] == 0
    assert (rows["left_out"] == 0).all()
    assert tracker.struggling() == {"frozen": ["2"]}


def test_a_layer_that_the_optimizer_was_not_given():
    rows = watched(damage=lambda student, groups: groups[:1] + groups[2:]).layer_table()
    assert rows["left_out"].tolist() == [0, 1, 0, 0]
    assert (rows["frozen"] == 0).all()
    assert rows.loc["2", "velocity"] == 0
    assert rows.loc["2", "gradient"] > 0


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
@pytest.mark.parametrize("place", range(4))
def test_a_slow_layer_has_about_its_part_of_the_speed(optimizer, place):
    def slow(student, groups):
        groups[place]["lr"] = 0.05 * 0.01

    rows = watched(optimizer=optimizer, damage=slow, lr=0.05).layer_table()
    assert rows["speed_ratio"].to_numpy().argmin() == place
    assert rows["speed_ratio"].iloc[place] < 0.2
    assert np.delete(rows["speed_ratio"].to_numpy(), place).min() > 0.5
    assert rows["rate_ratio"].iloc[place] == pytest.approx(0.01)


def test_a_narrow_layer_loses_what_its_inputs_had():
    rows = watched(sizes=(6, 12, 1, 12, 3), steps=300).layer_table()
    assert rows["lost"].idxmax() == "2"
    assert rows["too_narrow"].idxmax() == "2"
    assert rows["width_gap"].idxmin() == "2"
    assert rows.loc["4", "unexplained"] > 0.3, "what was lost is missing further on too"
    assert rows.loc["4", "lost"] < 0.1


def test_noise_in_gradients_shows_in_their_signal():
    generator = torch.Generator().manual_seed(0)

    def shake(student):
        gradient = student[2].weight.grad
        gradient += 5 * gradient.norm() / gradient.numel() ** 0.5 * torch.randn(gradient.shape, generator=generator)

    rows = watched(shake=shake).layer_table()
    assert rows["snr_ratio"].idxmin() == "2"
    assert rows.loc["2", "snr_ratio"] < 0.3


def test_noise_in_weights_shows_in_their_drift():
    generator = torch.Generator().manual_seed(0)

    def shake(student):
        weight = student[2].weight.detach()
        weight += 0.05 * torch.randn(weight.shape, generator=generator)

    rows = watched(
        damage=lambda student, groups: student[2].register_forward_pre_hook(lambda *_: shake(student)) and None
    )
    rows = rows.layer_table()
    assert rows["drift_gap"].idxmin() == "2"
    assert rows.loc["2", "drift"] == pytest.approx(0.5, abs=0.1)


def test_noise_in_activations_shows_between_two_passes():
    generator = torch.Generator().manual_seed(0)

    def noise(module, args, output):
        return output + torch.empty_like(output).normal_(generator=generator)

    tracker = watched(damage=lambda student, groups: student[2].register_forward_hook(noise) and None)
    rows = tracker.layer_table()
    assert rows["noise"].idxmax() == "2"
    assert rows.loc["0", "noise"] == 0
    assert (rows.loc["4":, "noise"] < 0.1).all()


def test_a_dead_student_has_no_gradients():
    def kill(student, groups):
        with torch.no_grad():
            student[4].bias.fill_(-1e4)

    tracker = watched(damage=kill)
    scalars = tracker.measurements().scalars
    assert scalars["live_layers"] == 0
    assert scalars["output_spread"] == 0


def test_gradients_are_those_that_the_optimizer_gets():
    """Also where the loop clears them before it tells the tracker."""
    found = []
    for clear_first in (False, True):
        teacher, student = made(1, 6, 8, 3), made(0, 6, 4, 3)
        optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
        tracker = DistillationTracker(teacher, student, optimizer=optimizer, rules=RULES)
        distil(teacher, student, optimizer, tracker, 50, clear_first=clear_first)
        found.append(tracker.layer_table())
    assert (found[0]["gradient"] > 0).all()
    assert found[0].equals(found[1])


def test_velocity_by_hand():
    """SGD moves by rate times gradient; the first look is at the first step."""
    teacher, student = made(1, 6, 8, 3), made(0, 6, 4, 3)
    weight = student[0].weight.detach().clone()
    tracker = DistillationTracker(teacher, student, rules=RULES)
    distil(teacher, student, torch.optim.SGD(student.parameters(), lr=0.1), tracker, 1)
    now, gradient = student[0].weight.detach(), student[0].weight.grad
    row = tracker.layer_table().loc["0"]
    assert row["velocity"] == pytest.approx(float((now - weight).norm() / now.norm()), rel=1e-4)
    assert row["velocity"] == pytest.approx(0.1 * row["gradient"], rel=1e-4)
    assert row["gradient"] == pytest.approx(float(gradient.norm() / now.norm()), rel=1e-4)
    assert math.isnan(row["snr"])


def test_distillation_gradients_are_its_part_alone():
    teacher, student = made(1, 6, 8, 3), made(0, 6, 4, 3)
    tracker = DistillationTracker(teacher, student, rules=RULES)
    batch = inputs()
    kd = functional.mse_loss(student(batch), teacher(batch).detach())
    tracker.distillation_gradients(kd)
    assert all(weight.grad is None for weight in student.parameters())
    (kd + 100 * student(batch).square().mean()).backward()
    alone = torch.autograd.grad(functional.mse_loss(student(batch), teacher(batch).detach()), student[0].weight)[0]
    expected = math.log(float(alone.norm() / student[0].weight.detach().norm()))
    assert tracker.layer_table().loc["0", "kd_gradient"] == pytest.approx(expected, rel=1e-4)


def test_losses_are_the_last_ones_told():
    tracker = watched(steps=20)
    scalars = tracker.measurements().scalars
    assert scalars["loss"] == scalars["distillation_loss"] > 0
    assert scalars["steps"] == 20


# --- checkpoints, pictures, documents -------------------------------------------------------------------------------


@pytest.mark.parametrize("with_optimizer", [False, True])
@pytest.mark.parametrize("at", [0, 1, 4, 9, 4 * WINDOW + 3])
def test_a_run_goes_on_from_its_checkpoint(at, with_optimizer):
    def begin():
        teacher, student = made(1, 6, 8, 3), made(0, 6, 4, 3)
        optimizer = torch.optim.Adam(student.parameters(), lr=0.01)
        tracker = DistillationTracker(
            teacher, student, optimizer=optimizer if with_optimizer else None, probe=inputs(7), rules=RULES
        )
        return teacher, student, optimizer, tracker

    whole = begin()
    distil(*whole, 80)
    first = begin()
    distil(*first, at)
    if at:
        first[3].observe()
    file = io.BytesIO()
    torch.save([part.state_dict() for part in first[1:]], file)
    file.seek(0)
    second = begin()
    for part, state in zip(second[1:], torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    assert first[3].layer_table().equals(second[3].layer_table())
    distil(*second, 80 - at, start=at)
    for run in (whole, second):
        run[3].observe()
    assert whole[3].layer_table().equals(second[3].layer_table())
    once, twice = (run[3].measurements().scalars for run in (whole, second))
    compared = {"comparisons", "gap_rise"}  # the second run was compared at the checkpoint, too
    assert {name: once[name] for name in once.keys() - compared} == pytest.approx(
        {name: twice[name] for name in twice.keys() - compared}, nan_ok=True
    )


def test_a_state_of_other_layers_is_refused():
    state = DistillationTracker(made(1, 6, 8, 3), made(0, 6, 4, 3)).state_dict()
    other = DistillationTracker(made(1, 6, 8, 3), made(0, 6, 4, 4, 3))
    with pytest.raises(ValueError, match="layers"):
        other.load_state_dict(state)


@pytest.fixture(scope="module")
def trained():
    return watched(steps=40, damage=lambda student, groups: student[2].requires_grad_(False) and None)


@pytest.mark.parametrize("plot", ["plot_similarity", "plot_health"])
@pytest.mark.parametrize("suffix", FORMATS)
def test_pictures_repeat_byte_for_byte(trained, plot, suffix, tmp_path):
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in paths:
        getattr(trained, plot)(path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with pytest.raises(FlowGradError, match="must end in"):
        getattr(trained, plot)(tmp_path / "a.gif")


def test_the_picture_shows_the_similarity_and_frames_the_pairs(trained):
    axes = trained.similarity_figure().axes[0]
    assert np.allclose(axes.collections[0].get_array(), trained.similarity())
    assert len(axes.lines) == len(trained.pairs)


def test_the_health_of_an_untrained_student_is_no_error():
    tracker = DistillationTracker(made(1, 6, 8, 3), made(0, 6, 4, 3), rules=RULES)
    assert len(tracker.health_figure().axes) > 1


def test_the_shipped_rules_name_the_frozen_layer(trained):
    """Whatever their thresholds are: this is a flag."""
    findings = RuleBook.load().evaluate(trained.measurements())
    named = {finding.type: list(finding.rows.index) for finding in findings if finding.rows is not None}
    assert named["LAYER_FROZEN"] == ["2"]
