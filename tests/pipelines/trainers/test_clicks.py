"""Models of clicks: rows of tables, what the models compute, and a run from a file to its findings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from flowgrad.errors import FlowGradError, RuleError
from pipelines.config.schema.models import ClickModelSettings
from pipelines.data.tables import Part
from pipelines.stages.check import check_settings
from pipelines.stages.rule_book import rule_book
from pipelines.trainers.clicks.data import SHARED, ClickPreparation, Clicks, Vocabulary
from pipelines.trainers.clicks.losses import ClickLoss
from pipelines.trainers.clicks.models import DeepFM, Dlrm, table_name
from pipelines.trainers.trainer import trainer_of


def model_settings(**given_):
    base = {"_target_": "", "width": 8, "depth": 2, "dim": 4, "init_std": 0.1, "cross_layers": 2}
    return OmegaConf.structured(ClickModelSettings(**{**base, **given_}))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 4), st.one_of(st.none(), st.integers(1, 5)))
def test_values_have_rows_of_their_own_but_for_seldom_and_hashed_ones(codes, min_count, buckets):
    made = Vocabulary.of(np.array(codes), 10, min_count=min_count, buckets=buckets)
    counts = np.bincount(codes, minlength=10)
    assert ((made.rows == SHARED) == (counts < min_count)).all()
    own = made.rows[counts >= min_count]
    assert made.rows.max() < made.size
    if buckets is None:
        assert sorted(own) == list(range(1, len(own) + 1))
        assert made.size == len(own) + 1
    else:
        assert made.size == buckets + 1


def test_values_that_training_does_not_have_share_one_row():
    train = Part(pd.DataFrame({"city": [0.0, 2.0, 2.0], "price": [1.0, 3.0, np.nan]}), np.array([0.0, 1, 0]))
    preparation = ClickPreparation.of(train, {"city": 4}, model_settings())
    assert preparation.sizes == {"city": 3}
    rows = preparation.rows(Part(pd.DataFrame({"city": [1.0, 3.0, 2.0], "price": [2.0, 2.0, 9.0]}), np.zeros(3)))
    assert rows.ids[:, 0].tolist() == [SHARED, SHARED, 2]
    assert rows.amounts[:2, 0].tolist() == [0, 0]  # the mean of the training rows


def clicks(n=12, sizes=(5, 7), amounts=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.stack([torch.randint(0, size, (n,), generator=generator) for size in sizes], dim=1)
    target = (torch.rand(n, generator=generator) < 0.5).float()
    return Clicks(ids, torch.randn(n, amounts, generator=generator), target)


def test_deepfm_is_the_sum_of_its_three_parts():
    model = DeepFM(model_settings(), {"a": 5, "b": 7}, 2)
    model.draw(model_settings(), torch.Generator().manual_seed(0))
    rows = clicks()
    a, b = model.tables["a_emb"](rows.ids[:, 0]), model.tables["b_emb"](rows.ids[:, 1])
    linear = model.weights["a_emb"](rows.ids[:, 0]) + model.weights["b_emb"](rows.ids[:, 1])
    linear = linear + model.linear(rows.amounts)
    deep = model.deep(torch.cat([a, b, rows.amounts], dim=1))
    torch.testing.assert_close(model(rows.inputs), linear + (a * b).sum(1, keepdim=True) + deep)


def test_cross_layers_multiply_by_the_first_input():
    model = Dlrm(model_settings(), {"a": 5, "b": 7}, 2)
    rows = clicks()
    first = torch.cat([model.vectors(rows.ids).flatten(1), model.bottom(rows.amounts)], dim=1)
    crossed = first
    for layer in model.cross:
        crossed = first * (crossed @ layer.weight.T + layer.bias) + crossed
    torch.testing.assert_close(model(rows.inputs), model.top(crossed))


@pytest.mark.parametrize("kind", [DeepFM, Dlrm])
@pytest.mark.parametrize("amounts", [0, 3])
def test_models_give_a_logit_a_row(kind, amounts):
    rows = clicks(amounts=amounts)
    assert kind(model_settings(), {"a": 5, "b": 7}, amounts)(rows.inputs).shape == (12, 1)


def test_weights_depend_on_the_generator_alone():
    made = []
    for _ in range(2):
        model = Dlrm(model_settings(), {"a": 500, "b": 7}, 1)
        model.draw(model_settings(), torch.Generator().manual_seed(3))
        made.append(model)
    for one, other in zip(made[0].parameters(), made[1].parameters(), strict=True):
        assert torch.equal(one, other)
    assert made[0].tables["a_emb"].weight.std().item() == pytest.approx(0.1, rel=0.05)


def test_names_of_columns_may_hold_dots():
    assert table_name("user.id") == "user_id_emb"
    DeepFM(model_settings(), {"user.id": 5, "items": 7}, 0)


def test_weights_and_dropped_ids_are_of_training_alone():
    model = DeepFM(model_settings(), {"a": 5, "b": 7}, 2)
    rows = clicks()
    plain = ClickLoss()
    odd = ClickLoss(positive_weight=5.0, id_dropout=0.5, generator=torch.Generator().manual_seed(0))
    assert odd.held_out(model, rows) == plain.held_out(model, rows)
    model.train()
    assert odd.of(model, rows).item() != plain.of(model, rows).item()
    weighted = ClickLoss(positive_weight=3.0)
    each = torch.nn.functional.binary_cross_entropy_with_logits(model(rows.inputs)[:, 0], rows.target, reduction="none")
    assert weighted.of(model, rows).item() == pytest.approx(((1 + 2 * rows.target) * each).mean().item())


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A file of clicks that two columns decide, and a third has nothing to do with."""
    random = np.random.default_rng(0)
    n = 4000
    user, item = random.integers(0, 40, n), random.integers(0, 60, n)
    odds = random.normal(0, 1, 40)[user] + random.normal(0, 1, 60)[item]
    clicked = (random.random(n) < 1 / (1 + np.exp(-odds))).astype(int)
    frame = pd.DataFrame(
        {"clicked": clicked, "user": user, "item": item, "price": random.normal(0, 1, n).round(3), "at": np.arange(n)}
    )
    file = tmp_path_factory.mktemp("log") / "clicks.csv"
    frame.to_csv(file, index=False)
    return [
        "experiment=movielens_dlrm_tuned", "dataset=table_csv", "task=clicked", f"dataset.path={file}",
        "dataset.categorical=[user,item]", "dataset.numerical=[price]", "dataset.time=at", "model.dim=4",
        "model.width=16", "training.batch_size=128", "optimizer.lr=0.01",
    ]  # fmt: skip


def test_a_run_from_a_file_to_its_findings(composed, log):
    config = composed(*log)
    check_settings(config)
    trainer = trainer_of(config)
    data = trainer.load()
    watched = trainer.train(data, 1, watched=True)
    bare = trainer.train(data, 1)
    for one, other in zip(watched.model.parameters(), bare.model.parameters(), strict=True):
        assert torch.equal(one, other)
    metrics = trainer.evaluate(bare, data, 1).metrics
    assert tuple(metrics) == trainer.metrics()
    assert metrics["auc"] > 0.7
    assert {seen.kind for seen in watched.measurements} == {*trainer.SUBJECTS}
    book = rule_book(config, [], [])
    found = [one for seen in watched.measurements for one in book.evaluate(seen)]
    assert [one.rule_id for one in found if one.fix is not None and not one.candidates] == []
    table = watched.measurements[-1].tables["rows"]
    assert table.loc[["user", "item"], "loss_rise_z"].min() > 3
    assert table.loc["user", "values"] == 40


def test_clicks_with_a_weight_are_told_and_their_weight_taken_back(composed, log):
    from flowgrad.prescription import prescribe

    config = composed(*log, "training.positive_weight=6")
    trainer = trainer_of(config)
    watched = trainer.train(trainer.load(), 1, watched=True)
    found = rule_book(config, [], []).evaluate(watched.measurements[-1])
    assert prescribe(found, config).overrides == ("training.positive_weight=1.0",)


def test_changes_that_these_models_do_not_have_are_told_and_not_tried(composed, log):
    config = composed(*log)
    book = rule_book(config, [], [])
    assert book["row_effects"].fix is None
    assert book["row_effects"].plain
    assert book["rows_as_drawn"].fix is not None
    mine = (
        "subject: clicks, type: MINE, condition: 'base_rate > 0', premise: p, implies: i, action: LOOK, "
        "expected_effect: e"
    )
    with pytest.raises(RuleError, match=r"the config has no 'model\.dims'"):
        rule_book(composed(*log, f"+rules.mine={{{mine}, fix: {{set: {{model.dims: 2}}}}}}"), [], [])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["optimizer=sparse_adam"], "the tables' gradients are dense"),
        (["task.metrics=[rmse]"], "task.metrics names 'rmse'; task.kind=binary gives auc, logloss, ece"),
        (["model.init=odd"], "model.init='odd' is unknown"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(composed, log, changes, told):
    with pytest.raises(FlowGradError, match=told):
        check_settings(composed(*log, *changes, rules=False))


def test_a_network_is_no_model_of_clicks(composed):
    with pytest.raises(FlowGradError, match="model: training by ClickModels cannot use this choice"):
        check_settings(composed("experiment=movielens_dlrm_tuned", "model=mlp", rules=False))


def test_a_table_without_categories_is_refused(composed):
    config = composed("experiment=movielens_dlrm_tuned", "dataset=breast_cancer", "task=malignant", rules=False)
    with pytest.raises(FlowGradError, match="has no column of categories, which models of clicks need"):
        trainer_of(config).load()


def test_a_part_without_a_click_is_refused_before_anything_is_trained(composed, log, tmp_path):
    file = tmp_path / "late.csv"
    rows = [f"{int(k < 60 and k % 2)},u{k % 5},{k}" for k in range(100)]
    file.write_text("\n".join(["clicked,user,at", *rows]) + "\n")
    given = [f"dataset.path={file}", "dataset.categorical=[user]", "dataset.numerical=[]"]
    kept = [one for one in log if not one.startswith(("dataset.path", "dataset.cat", "dataset.num"))]
    with pytest.raises(FlowGradError, match="all validation rows of table 'late' have one value"):
        trainer_of(composed(*kept, *given, rules=False)).load()


def test_models_of_clicks_are_not_compressed(composed, log):
    with pytest.raises(FlowGradError, match="cannot be compressed"):
        trainer_of(composed(*log, rules=False)).check_compressible()
