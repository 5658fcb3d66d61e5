"""Students of a teacher: networks, losses, damage and what takes it back, and the closed loop."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from pipelines.stages.check import check_settings
from pipelines.trainers.distillation.data import Shapes, Taught
from pipelines.trainers.distillation.losses import KnowledgeDistillation
from pipelines.trainers.distillation.networks import Dense, Recommender
from pipelines.trainers.distillation.students import layer_names, trained_by, widths
from pipelines.trainers.distillation.teachers import network
from pipelines.trainers.trainer import trainer_of

DIGITS = ["experiment=distillation_digits_tuned", "teacher.widths=[32,32]", "teacher.epochs=4", "model.widths=[16,16]",
          "training.epochs=4"]  # fmt: skip
RATINGS = ["experiment=distillation_movielens_tuned", "dataset=synthetic", "teacher.dim=16", "teacher.widths=[16]",
           "teacher.epochs=3", "teacher.batch_size=128", "model.dim=4", "model.widths=[8]", "training.epochs=2",
           "training.batch_size=128"]  # fmt: skip
BOTH = pytest.mark.parametrize("overrides", [DIGITS, RATINGS], ids=["digits", "ratings"])


def generator():
    return torch.Generator().manual_seed(0)


def trained(config, data=None, **kwargs):
    check_settings(config)
    trainer = trainer_of(config)
    data = trainer.load() if data is None else data
    return trainer, data, trainer.train(data, 0, **kwargs)


def test_networks_have_named_layers_of_the_widths_asked_for_and_leave_global_random_numbers_alone():
    before = torch.random.get_rng_state()
    dense = Dense(64, [5, 3], 10, generator())
    recommender = Recommender(7, 9, {"user_emb": 2, "item_emb": 3}, [4], 3.5, generator())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [name for name, _ in dense.named_children()] == ["fc1", "fc2", "out"]
    assert [tuple(p.shape) for n, p in dense.named_parameters() if "weight" in n] == [(5, 64), (3, 5), (10, 3)]
    assert [name for name, _ in recommender.named_children()] == ["user_emb", "item_emb", "fc1", "out"]
    assert recommender.get_submodule("fc1").weight.shape == (4, 5)
    pairs = torch.tensor([[6, 8], [0, 0]])
    assert recommender(pairs).shape == (2, 1)
    again = Dense(64, [5, 3], 10, generator())
    assert all(torch.equal(a, b) for a, b in zip(dense.parameters(), again.parameters(), strict=True))


def test_layer_names_are_those_of_the_network(composed):
    for overrides, shapes in ((DIGITS, Shapes(64, 10)), (RATINGS, Shapes(0, 1, 5, 6))):
        config = composed(*overrides)
        made = network(shapes, list(config.model.widths), {"user_emb": 2, "item_emb": 2}, generator())
        assert layer_names(config) == tuple(name for name, _ in made.named_children())


class Given(nn.Module):
    """Outputs its inputs."""

    def forward(self, inputs):
        return inputs


def test_distillation_is_the_weighted_sum_of_both_distances():
    outputs, taught = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 0.0]]), torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])
    batch = Taught(outputs, torch.tensor([2, 0]), taught)
    loss = KnowledgeDistillation(temperature=2.0, label_weight=0.25, classes=True)
    total = float(loss.of(Given(), batch))
    kl = cross = 0.0
    for own, other, label in zip(outputs.tolist(), taught.tolist(), [2, 0], strict=True):
        p, q = ([math.exp(z / 2) for z in row] for row in (other, own))
        p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
        kl += 4 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 2
        cross -= math.log(math.exp(own[label]) / sum(map(math.exp, own))) / 2
    assert float(loss.distance) == pytest.approx(kl, rel=1e-5)
    assert total == pytest.approx(0.75 * kl + 0.25 * cross, rel=1e-5)


def test_a_student_like_its_teacher_has_no_distance():
    outputs = torch.randn(5, 4, generator=generator())
    for classes, target in ((True, torch.zeros(5, dtype=torch.int64)), (False, torch.zeros(5))):
        loss = KnowledgeDistillation(temperature=3.0, label_weight=0.0, classes=classes)
        assert float(loss.of(Given(), Taught(outputs, target, outputs))) == pytest.approx(0, abs=1e-6)


@BOTH
def test_the_teacher_is_part_of_the_data_and_the_same_whenever_it_is_trained(composed, overrides):
    config = composed(*overrides)
    trainer = trainer_of(config)
    one, two = trainer.load(), trainer.load()
    assert one.sha256 == two.sha256
    assert torch.equal(one.test.taught, two.test.taught)
    assert not any(p.requires_grad for p in one.teacher.parameters())
    other = composed(*overrides, "teacher.seed=1")
    assert trainer_of(other).load().sha256 != one.sha256


@BOTH
def test_watching_changes_no_bit(composed, overrides):
    config = composed(*overrides)
    trainer, data, bare = trained(config)
    _, _, seen = trained(config, data, watched=True)
    weights = [run.model.state_dict() for run in (bare, seen)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert list(seen.measurements[0].tables["rows"].index) == list(layer_names(config))
    metrics = trainer.evaluate(seen, data, 0).metrics
    assert tuple(metrics) == trainer.metrics()
    assert all(map(math.isfinite, metrics.values()))


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        ([], {"fc1": 16, "fc2": 8, "fc3": 12}),
        (["fault=narrow_layer", "fault.layer=fc2"], {"fc1": 16, "fc2": 2, "fc3": 12}),
        (["fault=narrow_layer", "fault.layer=fc2", "model.widened_layers.student=[fc2]"],
         {"fc1": 16, "fc2": 14, "fc3": 12}),
        (["model.widened_layers.student=[fc1]"], {"fc1": 32, "fc2": 8, "fc3": 12}),
        (["model.widened_layers.student=[out]"], {"fc1": 16, "fc2": 8, "fc3": 12}),
    ],
)  # fmt: skip
def test_widths_are_narrowed_by_damage_and_widened_by_fixes(composed, overrides, found):
    config = composed(*DIGITS, "model.widths=[16,8,12]", *overrides)
    check_settings(config)
    assert widths(config) == found


def test_a_narrow_table_is_widened_by_the_other_table(composed):
    config = composed(*RATINGS, "fault=narrow_layer", "fault.layer=item_emb", "fault.strength=1",
                      "model.widened_layers.student=[item_emb]")  # fmt: skip
    assert widths(config) == {"user_emb": 4, "item_emb": 4, "fc1": 8}


def test_fixes_overrule_damage_of_training(composed):
    frozen = composed(*DIGITS, "training.frozen=[fc1]", "fault=frozen_layer", "fault.layer=fc2")
    assert trained_by(frozen).frozen == ["fc1", "fc2"]
    fixed = composed(*DIGITS, "fault=frozen_layer", "fault.layer=fc2", "training.unfrozen_layers.student=[fc2]")
    assert trained_by(fixed).frozen == []
    forgotten = composed(*DIGITS, "training.left_out=[fc1]", "training.unfrozen_layers.student=[fc1]")
    assert trained_by(forgotten).left_out == []
    slow = composed(*DIGITS, "fault=slow_layer", "fault.layer=fc2", "fault.strength=0.1")
    assert OmegaConf.to_container(trained_by(slow).layer_lr) == {"fc2": 0.1}


@pytest.mark.parametrize(
    "fix",
    [
        ["fault=frozen_layer", "training.unfrozen_layers.student=[fc2]"],
        ["fault=slow_layer", "training.full_rate.student=[fc2]"],
    ],
)
def test_a_fixed_student_is_the_healthy_one(composed, fix):
    healthy = composed(*DIGITS)
    _, data, first = trained(healthy)
    damage, repair = fix
    damaged = composed(*DIGITS, damage, "fault.layer=fc2")
    _, _, second = trained(damaged, data)
    _, _, third = trained(composed(*DIGITS, damage, "fault.layer=fc2", repair), data)
    assert second.validation_losses != first.validation_losses
    assert third.validation_losses == first.validation_losses


def test_a_frozen_layer_stays_and_a_slow_one_moves_less(composed):
    rows = {}
    for damage in ("frozen_layer", "slow_layer"):
        config = composed(*DIGITS, f"fault={damage}", "fault.layer=fc2")
        _, _, run = trained(config, watched=True)
        rows[damage] = run.measurements[0].tables["rows"]
    assert rows["frozen_layer"].loc["fc2", "frozen"] == 1
    assert rows["frozen_layer"].loc["fc2", "velocity"] == 0
    assert 0 < rows["slow_layer"].loc["fc2", "velocity_ratio"] < 0.2


@pytest.mark.parametrize("kind", ["noisy_gradients", "noisy_weights", "noisy_activations"])
def test_noise_depends_on_its_own_seed_and_is_taken_out_at_the_end(composed, kind):
    config = composed(*DIGITS, f"fault={kind}", "fault.layer=fc1")
    _, data, one = trained(config)
    _, _, two = trained(config, data)
    _, _, other = trained(composed(*DIGITS, f"fault={kind}", "fault.layer=fc1", "fault.seed=1"), data)
    _, _, healthy = trained(composed(*DIGITS), data)
    assert one.validation_losses == two.validation_losses
    assert one.validation_losses not in (other.validation_losses, healthy.validation_losses)
    assert torch.equal(one.model(data.test.inputs), one.model(data.test.inputs))
    assert not one.model.get_submodule("fc1")._forward_hooks


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["fault=slow_layer", "fault.layer=fc9"], "fault.layer='fc9'; the student's layers are fc1, fc2, out"),
        (["fault=slow_layer", "fault.kind=lazy"], "fault.kind='lazy' is unknown; use one of frozen_layer"),
        (["fault=narrow_layer", "fault.layer=out"], "narrow_layer takes a layer before 'out'"),
        (["fault=slow_layer", "fault.strength=0"], "slow_layer takes a number above 0"),
        (["model.widened_layers.student=[fc9]"], "model.widened_layers.student names 'fc9'; its layers are fc1"),
        (["+training.unfrozen_layers.other=[fc1]"], "training.unfrozen_layers names 'other'; what is watched is"),
        (["dataset.keep=0.5", "comparison=corrected_t"], "dataset.keep=0.5: the teacher has all rows"),
        (["loss.label_weight=2"], "loss.label_weight=2.0: must be at most 1"),
        (["loss.temperature=0"], "loss.temperature=0.0: must be above 0"),
        (["model.widths=[]"], "model.widths=[]: give units of one layer or more"),
        (["model.dim=8"], "model.dim=8: columns are not embedded; use model.dim=null"),
        (["loss=mse"], "loss: training by TableDistillation cannot use this choice"),
    ],
)
def test_bad_settings_are_refused(command, overrides, message):
    code, _, err = command(*DIGITS, *overrides)
    assert code == 2
    assert message in err


def test_ratings_need_embeddings(command):
    code, _, err = command(*RATINGS, "model.dim=null")
    assert code == 2
    assert "model.dim=null: give the columns of the embeddings" in err


def test_a_teacher_is_none_of_a_factorisation(command):
    code, _, err = command("experiment=movielens_mf", "dataset=synthetic", "teacher=perceptron")
    assert code == 2
    assert "teacher: training by Factorization has none" in err


@pytest.mark.usefixtures("drawn")
def test_the_closed_loop_names_the_narrow_layer_widens_it_and_proves_it(command):
    code, folder, err = command(
        "experiment=distillation_digits", "teacher.epochs=15", "training.epochs=15", "seeds.test=[1,2,3,4]",
        "seeds.control=false", "workers=1",
    )  # fmt: skip
    assert code == 0, err
    assert "model.widened_layers.student=[fc2]" in (folder / "prescription.yaml").read_text()
    table = pd.read_csv(folder / "significance.csv")
    whole = table[(table["comparison"] == "treated_vs_baseline") & (table["test"] == "paired_t")].set_index("metric")
    assert (whole["verdict"] == "confirmed").all()
    assert whole.loc["kl", "treated"] < whole.loc["kl", "baseline"]
