"""Neural matrix factorisation."""

from __future__ import annotations

import pytest
import torch

from flowgrad.errors import FlowGradError
from pipelines.stages.check import check_settings
from pipelines.trainers.factorization.models.neumf import NeuMF
from pipelines.trainers.trainer import trainer_of

SMALL = ["model=neumf", "tracker=neumf", "dataset=synthetic", "training.epochs=2", "optimizer.lr=0.01"]


def made(seed: int = 0, **settings) -> NeuMF:
    given = {"dim": 3, "biases": False, "init_std": 0.5, "sparse": False, "mlp_dim": 2, "widths": [5, 4]} | settings
    return NeuMF(6, 7, 3.5, generator=torch.Generator().manual_seed(seed), **given)


def test_scores_are_those_of_the_paper():
    model = made(biases=True)
    with torch.no_grad():
        model.user_bias.weight.normal_(generator=torch.Generator().manual_seed(1))
    users, items = torch.tensor([0, 5, 2]), torch.tensor([6, 0, 3])
    hidden = torch.cat([model.mlp_user_emb.weight[users], model.mlp_item_emb.weight[items]], dim=1)
    for layer in model.layers:
        hidden = (hidden @ layer.weight.T + layer.bias).clamp(min=0)
    both = torch.cat([model.user_emb.weight[users] * model.item_emb.weight[items], hidden], dim=1)
    wanted = both @ model.head.weight[0] + model.head.bias + 3.5 + model.user_bias.weight[users, 0]
    assert torch.allclose(model(users, items), wanted, atol=1e-6)


def test_scores_of_all_items_are_those_of_the_pairs():
    model = made()
    users = torch.tensor([4, 1])
    scores = model.score_all(users)
    assert scores.shape == (2, 7)
    assert torch.allclose(scores[1, 3], model(torch.tensor([1]), torch.tensor([3]))[0], atol=1e-6)


def test_weights_are_drawn_by_the_generator_alone():
    torch.manual_seed(1)
    one, state = made(3), torch.random.get_rng_state()
    torch.manual_seed(2)
    other = made(3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    torch.manual_seed(1)
    assert torch.equal(state, torch.random.get_rng_state())  # nothing was drawn from torch's own


def test_its_four_tables_are_watched(composed):
    config = composed(*SMALL)
    trainer = trainer_of(config)
    data = trainer.load()
    trained = trainer.train(data, 0, watched=True)
    assert [seen.subject for seen in trained.measurements[1:]] == list(config.tracker.tables)
    assert trained.validation_losses[-1] < trained.validation_losses[0]
    assert list(trainer.row_ids(data, "mlp_item_emb")) == list(data.ratings.item_ids)
    bare = trainer.train(data, 0).model
    assert all(torch.equal(a, b) for a, b in zip(bare.parameters(), trained.model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.widths=[]", "model.widths=[]: give units of one layer or more"),
        ("model.widths=[4,0]", "model.widths=0: must be at least 1"),
        ("model.mlp_dim=0", "model.mlp_dim=0: must be at least 1"),
    ],
)
def test_mistakes(composed, override, message):
    with pytest.raises(FlowGradError) as error:
        check_settings(composed(*SMALL, override))
    assert message in str(error.value)


def test_tables_that_it_lacks_are_named(composed):
    config = composed("model=mf", "tracker=neumf", "dataset=synthetic")
    trainer = trainer_of(config)
    with pytest.raises(FlowGradError, match=r"mlp_user_emb.*'item_emb', 'user_emb'"):
        trainer.train(trainer.load(), 0, watched=True)
