"""Ranking models: what they are fed, what they are, and how they are trained."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch.nn import functional

from datasets.ratings import encode_ratings
from datasets.tables import TEST, TRAIN, VALIDATION
from flowgrad.errors import FlowGradError
from pipelines.config.schema.ranking import RankingLossSettings
from pipelines.data.interactions import PADDING, Interactions
from pipelines.stages.check import check_settings
from pipelines.trainers.ranking.batches import Batch, events_of, shuffled, windows_of
from pipelines.trainers.ranking.losses import (
    BatchSoftmax,
    FullSoftmax,
    Pairwise,
    SampledSoftmax,
    false_negative_share,
)
from pipelines.trainers.ranking.models.gru4rec import GRU4Rec, GRU4RecSettings
from pipelines.trainers.ranking.models.ials import IALS, IALSSettings
from pipelines.trainers.ranking.models.lightgcn import LightGCN, LightGCNSettings
from pipelines.trainers.ranking.models.ranker import build_ranker
from pipelines.trainers.ranking.models.sasrec import SASRec, SASRecSettings
from pipelines.trainers.ranking.models.two_tower import TwoTower, TwoTowerSettings
from pipelines.trainers.ranking.serving import serve
from pipelines.trainers.trainer import trainer_of

MODELS = {
    "sasrec": "full_softmax",
    "gru4rec": "sampled_softmax",
    "two_tower": "batch_softmax",
    "lightgcn": "pairwise",
    "bpr_mf": "pairwise",
}
SMALL = ["dataset=synthetic", "training.epochs=3", "training.batch_size=64"]


def interactions(*users):
    """Each user's items in order of time; the last is tested, the one before validated."""
    pairs = [(user, item) for user, items in enumerate(users) for item in items]
    parts = [
        TEST if at == len(items) - 1 else VALIDATION if at == len(items) - 2 else TRAIN
        for items in users
        for at in range(len(items))
    ]
    user, item = (torch.tensor(column) for column in zip(*pairs, strict=True))
    names = [[str(one) for one in column.tolist()] for column in (user, item)]
    ratings = encode_ratings("mine", "here", *names, np.ones(len(user)), np.arange(len(user)))
    return Interactions(ratings, user, item, torch.tensor(parts))


def random_data(seed=0, users=12, items=15):
    rng = np.random.default_rng(seed)
    lists = [rng.permutation(items)[: rng.integers(5, items)].tolist() for _ in range(users - 1)]
    return interactions(list(range(items)), *lists)


def model_of(kind, data, **given):
    made, settings_type, own = {
        "sasrec": (SASRec, SASRecSettings, {"length": 6, "blocks": 2, "heads": 2, "dropout": 0.1}),
        "gru4rec": (GRU4Rec, GRU4RecSettings, {"length": 6, "width": 7, "layers": 2, "dropout": 0.1}),
        "two_tower": (TwoTower, TwoTowerSettings, {"length": 6, "widths": [32]}),
        "lightgcn": (LightGCN, LightGCNSettings, {"layers": 2}),
        "ials": (IALS, IALSSettings, {"unobserved_weight": 0.3, "l2": 0.1, "l2_exponent": 1.0}),
    }[kind]
    chosen = OmegaConf.structured(settings_type(dim=8, init_std=0.5, **own, **given))
    return build_ranker(chosen, made, data, torch.Generator().manual_seed(1))


def loss_of(kind, data, **given):
    return kind(OmegaConf.structured(RankingLossSettings(_target_="", **given)), data, torch.Generator().manual_seed(2))


# --- what models are fed ----------------------------------------------------------------------------------------------


def test_histories_hold_what_came_before_and_nothing_of_other_users():
    data = interactions([3, 1, 4, 2], [0, 2, 1])
    assert data.histories(torch.tensor([3, 4, 6]), 3).tolist() == [[4, 2, 5], [0, 0, 0], [0, 1, 3]]
    assert data.seen(torch.tensor([3, 4, 6])).nonzero().tolist() == [[0, 1], [0, 3], [0, 4], [2, 0], [2, 2]]


@settings(max_examples=30)
@given(st.integers(0, 999), st.integers(1, 9))
def test_windows_hold_each_training_event_but_the_first_as_a_target_once(seed, length):
    data = random_data(seed)
    windows = windows_of(data, length)
    found = sorted(zip(windows.owners.tolist(), windows.items.tolist(), strict=True))
    later = data.train[data.train > data.first[data.train]]
    assert found == sorted(zip(data.users[later].tolist(), data.items[later].tolist(), strict=True))
    assert (windows.there == (windows.histories != PADDING)).all()
    follows = set(
        zip(*(one.tolist() for one in (data.users[later], data.items[later - 1], data.items[later])), strict=True)
    )
    own = windows.users[:, None].expand_as(windows.targets)[windows.there].tolist()
    before = (windows.histories[windows.there] - 1).tolist()
    assert set(zip(own, before, windows.items.tolist(), strict=True)) == follows


def test_an_epoch_holds_each_example_once():
    examples = events_of(random_data(), 4)
    seen = torch.cat([batch.targets for batch in shuffled(examples, 7, torch.Generator().manual_seed(0))])
    assert sorted(seen.tolist()) == sorted(examples.targets.tolist())


# --- the models -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sasrec", "gru4rec", "two_tower"])
def test_padding_changes_no_answer_where_it_is_masked(kind):
    data = random_data()
    history = torch.tensor([[3, 5, 2]])
    filled = torch.cat([torch.zeros(1, 3, dtype=torch.int64), history], dim=1)
    user = torch.tensor([0])
    masked = model_of(kind, data)
    torch.testing.assert_close(masked.asked(user, history), masked.asked(user, filled), rtol=1e-4, atol=1e-5)
    read = model_of(kind, data, mask_padding=False)
    assert not torch.allclose(read.asked(user, history), read.asked(user, filled), rtol=1e-2)


@pytest.mark.parametrize("kind", ["sasrec", "gru4rec"])
def test_a_state_sees_nothing_that_comes_later(kind):
    model = model_of(kind, random_data()).eval()
    one, other = torch.tensor([[0, 1, 2, 3, 4]]), torch.tensor([[0, 1, 2, 9, 8]])
    with torch.no_grad():
        a, b = model.states(one), model.states(other)
    torch.testing.assert_close(a[:, 1:3], b[:, 1:3])
    assert not torch.allclose(a[:, 3:], b[:, 3:])


@pytest.mark.parametrize("kind", ["sasrec", "gru4rec", "two_tower", "lightgcn"])
def test_normalised_vectors_have_length_1_and_scores_are_their_products(kind):
    data = random_data()
    model = model_of(kind, data, normalise=True)
    queries = model.asked(torch.arange(3), torch.tensor([[1, 2, 3]] * 3))
    torch.testing.assert_close(queries.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(model.catalogue().norm(dim=1), torch.ones(data.n_items))


def test_a_graph_without_layers_is_a_factorisation():
    data = random_data()
    model = model_of("lightgcn", data)
    model._layers = 0
    users = torch.arange(4)
    torch.testing.assert_close(model.asked(users, users[:, None]), model.user_emb.weight[:4].detach())
    torch.testing.assert_close(model.catalogue(), model.item_emb.weight.detach())


def test_propagation_is_that_of_the_dense_matrix():
    data = random_data()
    model = model_of("lightgcn", data)
    size = data.n_users + data.n_items
    adjacency = torch.zeros(size, size)
    met, items = data.users[data.train], data.items[data.train] + data.n_users
    adjacency[met, items] = adjacency[items, met] = 1
    degree = adjacency.sum(dim=1).clamp(min=1).rsqrt()
    graph = degree[:, None] * adjacency * degree
    whole = torch.cat([model.user_emb.weight, model.item_emb.weight]).detach()
    expected = (whole + graph @ whole + graph @ graph @ whole) / 3
    torch.testing.assert_close(model.catalogue(), expected[data.n_users :])


def test_each_sweep_of_als_lowers_its_objective():
    data = random_data()
    model = model_of("ials", data)

    def objective():
        p, q = model.user_emb.weight.double(), model.item_emb.weight.double()
        met = torch.zeros(data.n_users, data.n_items, dtype=torch.float64)
        met[data.users[data.train], data.items[data.train]] = 1
        scores = p @ q.T
        fit = (met * (1 - scores) ** 2 + 0.3 * scores**2).sum()
        weights = [met.sum(dim=1) + 0.3 * data.n_items, met.sum(dim=0) + 0.3 * data.n_users]
        penalty = sum((0.1 * w * rows.square().sum(dim=1)).sum() for w, rows in zip(weights, (p, q), strict=True))
        return float(fit + penalty)

    values = [objective()]
    for _ in range(5):
        model.sweep()
        values.append(objective())
    assert all(later < before + 1e-6 for before, later in itertools.pairwise(values))


def test_heads_that_do_not_divide_the_columns_are_refused():
    chosen = OmegaConf.structured(SASRecSettings(dim=8, init_std=0.1, length=4, blocks=1, heads=3, dropout=0.0))
    with pytest.raises(FlowGradError, match=r"model\.heads=3 does not divide model\.dim=8"):
        SASRec(chosen, random_data())


# --- losses -----------------------------------------------------------------------------------------------------------


def pairs(data):
    return Batch(torch.tensor([0, 1, 2, 0]), torch.ones(4, 1, dtype=torch.int64), torch.tensor([2, 3, 2, 5]))


def test_the_softmax_over_all_items_is_the_cross_entropy():
    data = random_data()
    model, batch = model_of("lightgcn", data), pairs(random_data())
    value, penalty = loss_of(FullSoftmax, data, temperature=0.5).of(model, batch)
    logits = model.asked(batch.users, batch.histories) @ model.catalogue().T / 0.5
    torch.testing.assert_close(value.detach(), functional.cross_entropy(logits, batch.targets))
    assert float(penalty) == 0


def test_in_the_batch_an_item_is_no_negative_of_itself_and_popularity_is_taken_off():
    data = random_data()
    model, batch = model_of("lightgcn", data), pairs(data)
    value, _ = loss_of(BatchSoftmax, data, logq=1.0).of(model, batch)
    scores = model.asked(batch.users, batch.histories) @ model.catalogue().T
    share = (data.exposures.clamp(min=1) / data.exposures.sum()).log()
    own, expected = scores.gather(1, batch.targets[:, None])[:, 0] - share[batch.targets], []
    for row, target in enumerate(batch.targets.tolist()):
        others = [item for item in batch.targets.tolist() if item != target]
        logits = torch.cat([own[row : row + 1], scores[row, others] - share[others]])
        expected.append(logits.logsumexp(dim=0) - logits[0])
    # The target's own score is corrected as the others are.
    torch.testing.assert_close(value.detach(), torch.stack(expected).mean())


@pytest.mark.parametrize(
    ("kind", "given"), [(BatchSoftmax, {}), (SampledSoftmax, {"negatives": 40}), (Pairwise, {"negatives": 40})]
)
def test_hardest_negatives_cost_at_least_what_all_do_on_average(kind, given):
    data = random_data()
    model, batch = model_of("lightgcn", data), pairs(data)
    with torch.no_grad():
        one = float(loss_of(kind, data, hard=1, **given).of(model, batch)[0])
        every = float(loss_of(kind, data, **given).of(model, batch)[0])
    assert one >= every if kind is Pairwise else one <= every
    assert math.isfinite(one)


def test_positives_of_the_same_user_are_no_negatives_where_they_are_masked():
    data = random_data()
    model = model_of("lightgcn", data)
    own = data.items[data.train][data.users[data.train] == 0]
    users = torch.zeros(len(own), dtype=torch.int64)
    batch = Batch(users, users[:, None], own)
    value, _ = loss_of(BatchSoftmax, data, mask_positives=True).of(model, batch)
    assert value.item() == 0  # nothing is left to compare with


def test_the_share_of_false_negatives_is_that_of_drawn_pairs():
    data = random_data(users=30, items=20)
    rng = np.random.default_rng(0)
    users, items = data.users[data.train].numpy(), data.items[data.train].numpy()
    met = set(zip(users.tolist(), items.tolist(), strict=True))
    for kind in (BatchSoftmax, SampledSoftmax):
        events = rng.integers(len(users), size=40_000)
        drawn = items[rng.integers(len(items), size=40_000)] if kind.IN_BATCH else rng.integers(20, size=40_000)
        other = drawn != items[events]
        hits = [(u, i) in met for u, i in zip(users[events].tolist(), drawn.tolist(), strict=True)]
        assert false_negative_share(kind, data) == pytest.approx(np.mean(np.array(hits) & other), abs=0.01)


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (FullSoftmax, {"negatives": 4}, "loss.negatives=4"),
        (SampledSoftmax, {}, "loss.negatives=0"),
        (FullSoftmax, {"logq": 1.0}, "loss.logq=1.0"),
        (FullSoftmax, {"hard": 3}, "loss.hard=3"),
    ],
)
def test_settings_that_a_loss_does_not_have_are_refused(kind, given, message):
    with pytest.raises(FlowGradError, match=message):
        kind.check(OmegaConf.structured(RankingLossSettings(_target_="", **given)))


# --- serving and training ---------------------------------------------------------------------------------------------


def test_items_met_before_are_no_candidates_and_the_target_always_is_one():
    data = interactions([0, 1, 2, 1], [3, 2, 0])
    model, loop = model_of("lightgcn", data), OmegaConf.create({"repeats": False, "serve_cold": True})
    served = serve(model, data, data.held_out(TEST), loop)
    assert served.scores.isneginf().nonzero().tolist() == [[0, 0], [0, 2], [1, 2], [1, 3]]
    loop.repeats = True
    assert not serve(model, data, data.held_out(TEST), loop).scores.isneginf().any()
    loop.serve_cold = False
    cold = (data.exposures == 0).nonzero()[:, 0].tolist()
    assert serve(model, data, data.held_out(TEST), loop).scores.isneginf()[0].nonzero()[:, 0].tolist() == cold


@pytest.fixture(scope="module")
def trained():
    return {}


@pytest.mark.parametrize(("model", "loss"), MODELS.items())
def test_watching_changes_nothing_and_a_seed_gives_the_same_weights(composed, model, loss):
    config = composed("experiment=movielens_sasrec_tuned", *SMALL, f"model={model}", f"loss={loss}", rules=False)
    check_settings(config)
    trainer = trainer_of(config)
    data = trainer.load()
    torch.manual_seed(5)
    bare = trainer.train(data, 3)
    torch.manual_seed(6)
    watched = trainer.train(data, 3, watched=True)
    for name, weights in bare.model.state_dict().items():
        assert torch.equal(weights, watched.model.state_dict()[name]), name
    kinds = [one.kind for one in watched.measurements]
    assert kinds[:3] == ["ranking", "training", "flow"]
    assert "embedding" in kinds
    scores = trainer.evaluate(watched, data, 3)
    assert list(scores.metrics) == list(trainer.metrics())
    assert all(math.isfinite(value) for value in scores.metrics.values())
    assert len(scores.by_user) == len(data.held_out(TEST).unique())
    assert np.mean(scores.by_user) == pytest.approx(scores.metrics["ndcg@10"])


def test_what_is_solved_for_has_no_optimizer(composed):
    config = composed("experiment=movielens_ials", *SMALL, rules=False)
    check_settings(config)
    trainer = trainer_of(config)
    data = trainer.load()
    done = trainer.train(data, 0, watched=True)
    assert [one.kind for one in done.measurements] == ["ranking"]
    assert trainer.facts(done)["optimizer"] == "none"
    with pytest.raises(FlowGradError, match="optimizer: IALS is solved for and has none"):
        check_settings(composed("experiment=movielens_ials", "optimizer=adam", rules=False))
    without_loss = composed("experiment=movielens_sasrec_tuned", rules=False)
    without_loss.loss = None
    with pytest.raises(FlowGradError, match="loss=null: SASRec is trained by a gradient"):
        check_settings(without_loss)


def test_rules_that_change_settings_this_training_lacks_keep_their_words(composed):
    from pipelines.stages.rule_book import rule_book

    config = composed("experiment=movielens_sasrec_tuned", "dataset=synthetic")
    book = rule_book(config, [], [])
    assert book["hot_rows"].fix is None
    assert book["hot_rows"].plain
    assert book["zombie_rows"].fix is not None


def test_a_file_of_events_is_read_with_its_repeats(composed, tmp_path):
    file = tmp_path / "events.csv"
    rows = [f"u{user},i{(user + at * at) % 7},{at}" for user in range(9) for at in range(8)]
    file.write_text("\n".join(["user,item,time", *rows]))
    config = composed(
        "experiment=movielens_sasrec_tuned", "dataset=events_csv", f"dataset.path={file}", "training.repeats=true",
        rules=False,
    )  # fmt: skip
    check_settings(config)
    data = trainer_of(config).load()
    assert len(data.items) == 72
    assert data.n_items == 7
    file.write_text("user,item\nu,i")
    with pytest.raises(FlowGradError, match="time"):
        trainer_of(config).load()
