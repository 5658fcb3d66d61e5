"""`job=compression`: what is done to a trained model, and what is written of it."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from flowgrad.__main__ import main as reports
from flowgrad.compression import Recipe, apply_recipe, read_packed
from flowgrad.errors import FlowGradError
from flowgrad.report import read
from pipelines.jobs.compression.arms import CompressionArm, arms_of, recipe_of
from pipelines.jobs.compression.checks import check_compression
from pipelines.jobs.compression.measuring import compressed, measured
from pipelines.jobs.compression.trial import Task, observations_of, table_names, trained_of, trial
from pipelines.trainers.compressible import BATCHES, ROWS, split_batches
from pipelines.trainers.trainer import trainer_of

NEUMF = [
    "experiment=compression_neumf", "dataset=synthetic", "dataset.split=random", "training.epochs=4",
    "model.mlp_dim=4", "model.widths=[8,4]", "model.dim=4", "seeds.test=[1,2]", "workers=1",
    "job.sparsities=[0.8]", "job.bits=[8,3]", "job.removed=[0.4]", "job.repeats=1",
]  # fmt: skip
DIGITS = [
    "experiment=compression_digits", "training.epochs=4", "model.width=16", "seeds.test=[1,2]", "workers=1",
    "job.sparsities=[0.8]", "job.bits=[8,3]", "job.repeats=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained_once():
    """What `subject` trained first."""
    return []


@pytest.fixture
def subject(composed, trained_once):
    """A NeuMF on synthetic ratings: config, data, what compression takes. No test may change it."""
    if not trained_once:
        config = composed(*NEUMF)
        data = trainer_of(config).load()
        trained_once += config, data, trained_of(config, data, 0)[1]
    model = trained_once[2].model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    yield tuple(trained_once)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_rows_are_dealt_evenly():
    batches = split_batches(3000, lambda rows: rows)
    assert len(batches) == BATCHES
    assert {len(batch) for batch in batches} == {ROWS // BATCHES}
    rows = torch.cat(batches)
    assert len(rows.unique()) == ROWS
    assert (rows.min(), rows.max()) == (0, 2999)
    assert [len(batch) for batch in split_batches(5, lambda rows: rows)] == [1] * 5
    assert all(abs(float(batch.float().mean()) - 1500) < 50 for batch in batches)  # none is of one end of the rows


def test_names_tell_the_arm():
    job = OmegaConf.create({"sparsities": [0.7], "bits": [8, 3], "removed": [0.2], "fine_tune": 2})
    names = [arm.name for arm in arms_of(job, {"sparsity": 0.8, "bits": 4, "mixed": True})]
    assert names == [
        "dense", "prune_saliency_70", "prune_calibrated_70", "prune_magnitude_70", "prune_random_70",
        "prune_saliency_70_tuned", "prune_magnitude_70_tuned", "uniform_8", "uniform_3", "mixed_3", "fitted_3",
        "rows_saliency_20", "rows_calibrated_20", "rows_norm_20", "rows_frequency_20", "rows_random_20",
        "prescribed", "plain",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        {"sparsity": 0.8, "bits": 3},
        {"sparsity": 0.5, "loss": 0.5},
        {"size": 1500},
        {"rows": 0.5, "bits": 8, "mixed": False},
    ],
    ids=str,
)
def test_the_plain_recipe_compresses_as_much(subject, settings):
    _, _, model = subject
    asked = tuple(settings.items())
    recipe, plain = (recipe_of(CompressionArm(kind, settings=asked), model, (), 1) for kind in ("prescribed", "plain"))
    if recipe.pruning is not None:
        assert (plain.pruning.score, plain.pruning.sparsity) == ("magnitude", recipe.pruning.sparsity)
        assert plain.pruning.pruned == recipe.pruning.pruned
    if recipe.rows is not None:
        assert (plain.rows.score, plain.rows.budget) == ("norm", recipe.rows.budget)
    bits = {layer.bits for layer in plain.quantization.layers}
    assert len(bits) == 1
    assert plain.quantization.size >= recipe.quantization.size
    if settings.get("bits"):
        assert bits == {settings["bits"]}


def test_what_is_plain_has_no_plainer_way():
    job = OmegaConf.create({"sparsities": [], "bits": [], "removed": [], "fine_tune": 0})
    assert [arm.name for arm in arms_of(job, {"bits": 8, "mixed": False})] == ["dense", "prescribed"]
    assert [arm.name for arm in arms_of(job, {"loss": 0.1})] == ["dense", "prescribed", "plain"]


def test_every_way_of_choosing_removes_as_much(subject):
    _, _, model = subject
    tables = table_names(model)
    assert len(tables) == 4
    pruned = [
        recipe_of(CompressionArm("prune", by, 0.8), model, tables, 1).pruning
        for by in ("saliency", "magnitude", "random")
    ]
    assert len({plan.pruned for plan in pruned}) == 1
    rows = [
        recipe_of(CompressionArm("rows", by, 0.4), model, tables, 1).rows
        for by in ("saliency", "norm", "frequency", "random")
    ]
    assert len({plan.pruned for plan in rows}) == 1
    assert {table.name for plan in rows for table in plan.tables} <= set(tables)


def test_random_arms_repeat_by_seed(subject):
    _, _, model = subject
    one, same, other = (recipe_of(CompressionArm("prune", "random", 0.5), model, (), seed) for seed in (1, 1, 2))
    assert one.pruning == same.pruning
    assert one.pruning != other.pruning


def test_what_is_measured_is_what_the_file_holds(subject, tmp_path):
    _, _, model = subject
    recipe = recipe_of(CompressionArm("uniform", level=3), model, (), 1)
    found = measured(model, recipe, lambda _: {"m": 1.0}, tmp_path / "model.fg", repeats=1)
    by_hand = apply_recipe(model.model, recipe, backend="fake").model
    assert found["loss"] == pytest.approx(model.held_out(by_hand), rel=1e-6)
    assert found["bytes"] == (tmp_path / "model.fg").stat().st_size
    assert found["bytes"] < found["saved_bytes"] / 3
    assert found["latency_ms"] > 0
    dense = measured(model, Recipe(), lambda _: {"m": 1.0}, tmp_path / "dense.fg", repeats=1)
    assert dense["loss"] == model.held_out(model.model)


def test_fine_tuning_keeps_what_is_pruned_at_0(subject):
    _, _, model = subject
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    recipe = recipe_of(CompressionArm("prune", "saliency", 0.8), model, (), 1)
    tuned, plain = compressed(model, recipe, 2)[0], compressed(model, recipe)[0]
    for mask in recipe.pruning.layers:
        values = dict(tuned.named_parameters())[mask.name].detach().numpy()
        assert not values[~mask.keep].any()
        assert (values != dict(plain.named_parameters())[mask.name].detach().numpy()).any()
    assert model.held_out(tuned) < model.held_out(plain)
    assert all(torch.equal(before[name], value) for name, value in model.model.state_dict().items())


def test_a_trial_gives_every_arm_and_leaves_no_file(composed, tmp_path):
    config = composed(*DIGITS)
    data = trainer_of(config).load()
    arms = tuple(arms_of(config.job, {"sparsity": 0.5, "bits": 4}))
    results = trial(Task(config, 1, arms, str(tmp_path)), data)
    assert [one.arm for one in results] == list(arms)
    assert not list(tmp_path.iterdir())
    found = {one.arm.name: one for one in results}
    assert found["dense"].figures["ratio"] == 1
    assert found["mixed_3"].planned_bytes <= found["uniform_3"].planned_bytes
    assert found["prescribed"].figures["bytes"] < found["uniform_8"].figures["bytes"]
    assert all(one.figures["plan_seconds"] > 0 for one in results[1:])
    again = trial(Task(config, 1, arms, str(tmp_path)), data)
    assert [one.figures["loss"] for one in again] == [one.figures["loss"] for one in results]
    table = observations_of(results, "e")
    assert set(table.loc[table["higher_is_better"], "metric"]) == {"accuracy"}


@pytest.mark.parametrize("overrides", [DIGITS, [*NEUMF, "job.fine_tune=1"]], ids=["digits", "neumf"])
def test_from_end_to_end(command, overrides, capsys):
    code, folder, err = command(*overrides)
    assert code == 0, err
    names = {path.name for path in folder.iterdir()}
    assert {"report.xml", "report.txt", "observations.csv", "significance.tex", "arms.md", "pareto.png"} <= names
    assert not any(name.startswith(".seed") for name in names)
    report = read(folder / "report.xml")
    assert [part.kind for part in report.reports] == ["saliency", "quantization"]
    assert reports(["validate", str(folder / "report.xml")]) == 0
    table = pd.read_csv(folder / "significance.csv")
    assert {"prune_saliency_vs_magnitude_80", "mixed_vs_uniform_3"} <= set(table["comparison"])
    assert {"paired_t", "tost"} <= set(table["test"])
    rows = table["comparison"].str.startswith("rows_").sum()
    assert (rows > 0) == ("compression_neumf" in overrides[0])
    assert ("prune_saliency_vs_magnitude_80_tuned" in set(table["comparison"])) == ("job.fine_tune=1" in overrides)
    arms = pd.read_csv(folder / "arms.csv").set_index("arm")
    seen = pd.read_csv(folder / "observations.csv")
    losses = seen[(seen["arm"] == "prune_magnitude_80") & (seen["metric"] == "loss")]["value"]
    assert arms.loc["prune_magnitude_80", "loss"] == pytest.approx(losses.mean())
    assert len(losses) == 2


@pytest.mark.usefixtures("drawn")
def test_a_recipe_of_ones_own_takes_the_place_of_the_rules(command):
    code, folder, err = command(*DIGITS, "compression.sparsity=0.5", "compression.bits=3", "compression.mixed=false")
    assert code == 0, err
    recipe = Recipe.read(folder / "recipe.yaml")
    assert recipe.pruning.sparsity == 0.5
    assert {layer.bits for layer in recipe.quantization.layers} == {3}
    prescribed = OmegaConf.load(folder / "prescription.yaml")
    assert prescribed.rounds[0].rules == []
    assert {"compression.sparsity=0.5", "compression.bits=3"} <= set(prescribed.rounds[0].overrides)
    table = pd.read_csv(folder / "significance.csv")
    assert set(table.loc[table["test"] == "no_worse", "metric"]) == {"loss", "accuracy"}
    assert math.isclose(table.loc[table["test"] == "no_worse", "margin"].iloc[0] / 0.02, _dense_loss(folder))


def _dense_loss(folder):
    seen = pd.read_csv(folder / "observations.csv")
    return seen[(seen["arm"] == "dense") & (seen["metric"] == "loss")]["value"].mean()


def test_the_packed_model_is_the_one_of_the_recipe(command, composed):
    given = [*DIGITS, "compression.sparsity=0.5", "compression.bits=4"]
    config = composed(*given)
    data = trainer_of(config).load()
    model = trained_of(config, data, config.seeds.diagnosis)[1].model
    code, folder, err = command(*given)
    assert code == 0, err
    wanted = apply_recipe(model, folder / "recipe.yaml", backend="fake").model.state_dict()
    read_packed(model, folder / "model.fg")
    for name, value in model.state_dict().items():
        assert np.allclose(value.numpy(), wanted[name].numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("job.sparsities=[1.5]", "job.sparsities=1.5: must be below 1"),
        ("job.sparsities=[0.5,0.5]", "job.sparsities=[0.5, 0.5]: 0.5 is there more than once"),
        ("job.bits=[5]", "job.bits=[5]: choose from 8, 4, 3, 2"),
        ("job.margin=0", "job.margin=0.0: must be above 0"),
        ("job.repeats=0", "job.repeats=0: must be at least 1"),
        ("job.fine_tune=-1", "job.fine_tune=-1: must be at least 0"),
        ("job.removed=[0.2]", "job.removed=[0.2]: there are no tables of embeddings"),
        ("compression.sparsity=1", "compression.sparsity=1.0: must be below 1"),
        ("compression.score=magnitud", "did you mean 'magnitude'?"),
        ("compression.bits=5", "compression.bits=5: choose from 8, 4, 3, 2"),
        ("+compression.nonsense=5", "nonsense"),
        ("compression.mixed=true", "compression.mixed alone does nothing"),
        ("compression={bits: 4, size: 100}", "bits and size are budgets of bits; give one"),
        ("compression={size: 100, mixed: false}", "compression.mixed=false takes the same bits everywhere"),
        ("seeds.test=auto", "seeds.test=auto: job=compression has no pilot"),
        ("optimizer.lr=1e30", "diverged"),
    ],
)
def test_mistakes_are_one_line(command, override, message):
    code, _, err = command(*DIGITS, override)
    assert code == 2
    assert message in err
    assert err.strip().count("\n") == 0


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        ("movielens_boosting", "what Boosting trains cannot be compressed; use training=network"),
        ("distillation_digits", "cannot be compressed"),
        ("movielens_implicit", "models of rankings cannot be compressed yet; use loss=mse"),
    ],
)
def test_what_cannot_be_compressed_is_told_before_training(composed, experiment, message):
    config = composed(f"experiment={experiment}", "job=compression", "compression=recipe")
    with pytest.raises(FlowGradError, match=message):
        check_compression(config)


def test_a_prescription_needs_a_place(composed):
    with pytest.raises(FlowGradError, match=r"compression=null.*choose compression=recipe"):
        check_compression(composed("experiment=layers_digits_tuned", "job=compression"))


def test_other_jobs_take_no_recipe(command):
    code, _, err = command("experiment=movielens_mf", "dataset=synthetic", "compression=recipe")
    assert code == 2
    assert "choose job=compression" in err
