from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from flowgrad.errors import FlowGradError
from flowgrad.rules import RuleBook
from pipelines.data.ratings import load
from pipelines.trainers.factorization.faults import KINDS, inject
from pipelines.trainers.factorization.interference import CappedRows, HotRows
from pipelines.trainers.factorization.loop import train

SMALL = ["dataset=synthetic", "model.dim=4", "training.epochs=3", "training.batch_size=256", "fault.share=0.1"]
SPARSE = ["optimizer=sparse_adam"]
BOOK = RuleBook.load()


@pytest.fixture
def run(composed):
    def make(*overrides, watched=True):
        config = composed(*SMALL, *overrides)
        data = load(config)
        return train(config, data, 0, watched=watched), inject(config, data), data

    return make


def named(trained, table, rule):
    seen = next(m for m in trained.measurements if m.subject == table)
    return BOOK.select(rule, seen).index.sort_values().tolist()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "none"])
@pytest.mark.parametrize("table", ["user_emb", "item_emb"])
def test_every_fault_trains_and_says_which_rows_have_it(run, kind, table):
    trained, injected, data = run(f"fault={kind}", f"fault.table={table}", "fault.share=0.1", watched=False)
    assert np.isfinite(trained.train_losses).all()
    assert len(injected.rows)
    assert injected.data.validation is data.validation


@pytest.mark.parametrize("optimizer", [[], SPARSE], ids=["dense", "sparse"])
@pytest.mark.parametrize("kind", ["dead", "frozen", "stuck"])
@pytest.mark.parametrize("table", ["user_emb", "item_emb"])
def test_rows_without_motion_are_told_apart_without_error(run, optimizer, kind, table):
    trained, injected, _ = run(*optimizer, f"fault={kind}", f"fault.table={table}", "fault.share=0.1")
    for rule in ("dead", "frozen", "stuck"):
        expected = injected.rows.tolist() if rule == kind else []
        found = named(trained, table, f"{rule}_rows")
        assert found == expected or (rule == "dead" and kind != "dead"), rule  # rows nobody rated are dead anyhow


def test_hot_rows_move_so_many_times_as_far():
    layer = nn.Embedding(4, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    before = layer.weight.detach().clone()
    hot, capped = HotRows(layer, torch.tensor([1]), 10.0), CappedRows(layer, torch.tensor([1]))

    def step(*meddlers):
        optimizer.zero_grad()
        layer(torch.tensor([0, 1, 2])).sum().backward()
        for meddler in meddlers:
            meddler.before_step()
        optimizer.step()
        for meddler in meddlers:
            meddler.after_step()
        return layer.weight.detach() - before

    moved = step(hot)
    torch.testing.assert_close(moved[1], 10 * moved[0])
    torch.testing.assert_close(moved[3], torch.zeros(2))
    before = layer.weight.detach().clone()
    moved = step(hot, capped)
    torch.testing.assert_close(moved[1], moved[0])
    torch.testing.assert_close(moved[2], moved[0])


def test_quarantined_rows_are_not_trained_on(run):
    trained, _, data = run("sampler.quarantine.item_emb=[0,3]", "sampler.quarantine.user_emb=[5]")
    exposures = {m.subject: m.tables["rows"]["exposures"] for m in trained.measurements if "rows" in m.tables}
    assert exposures["item_emb"][[0, 3]].tolist() == [0, 0]
    assert exposures["user_emb"][5] == 0
    kept = ~np.isin(data.train.items, [0, 3]) & (data.train.users.numpy() != 5)
    assert exposures["item_emb"].sum() == 3 * kept.sum()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sampler.quarantine.item_emb=[80]", "sampler.quarantine.item_emb names row 80; the table has rows 0 to 79"),
        ("+sampler.quarantine.word_emb=[1]", "sampler.quarantine names 'word_emb'"),
        ("training.capped_rows.user_emb=[-1]", "training.capped_rows.user_emb names row -1"),
        (f"sampler.quarantine.item_emb={list(range(80))}".replace(" ", ""), "leaves no training example"),
        ("fault.kind=cold", "fault.kind='cold' is unknown; use one of none, conflict_random"),
        ("fault=hot fault.table=word_emb", "fault.table='word_emb'"),
        ("fault=hot fault.share=2", "fault.share=2.0: must lie in"),
        ("fault=hot fault.least=100000", "fault.least=100000: no row has so many training ratings"),
    ],
)
def test_what_cannot_be_is_named(run, override, message):
    with pytest.raises(FlowGradError) as refusal:
        run(*override.split())
    assert message in str(refusal.value)


def test_without_a_fault_its_seed_changes_nothing(run):
    one, other = (run(f"fault.seed={seed}", watched=False)[0].model.item_emb.weight for seed in (0, 1))
    assert torch.equal(one, other)


def test_bpr_learns_to_rank(composed):
    config = composed("dataset=synthetic", "loss=bpr", "training=ranking", "comparison.metrics=[ndcg@10]")
    trained = train(config, load(config), 0)
    assert trained.train_losses[-1] < trained.train_losses[0]
    assert np.isfinite(trained.train_losses).all()
