"""Networks on tables: what they are built of, fed and trained by, and that watching changes nothing."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import nn

from flowgrad.errors import FlowGradError
from pipelines.config.schema.models import RecurrentSettings
from pipelines.config.schema.training import NetworkLoopSettings
from pipelines.data.tables import Part
from pipelines.trainers.networks.data import Preparation, Rows, shuffled
from pipelines.trainers.networks.initialisation import initialise
from pipelines.trainers.networks.loop import fit
from pipelines.trainers.networks.losses import LOSSES, Loss, SquaredError, predicted
from pipelines.trainers.networks.models import Cnn, Mlp, Recurrent
from pipelines.trainers.networks.parameters import freeze, groups
from pipelines.trainers.scoring import scores
from pipelines.trainers.trainer import trainer_of

QUICK = ["experiment=layers_digits_tuned", "model.width=8", "training.epochs=2", "training.batch_size=256"]


def model_settings(**given_):
    return OmegaConf.structured(RecurrentSettings(_target_="", width=6, depth=2, **given_))


def loop_settings(**given_):
    base = {"epochs": 3, "batch_size": 4, "early_stopping": False, "full_rate": {}}
    return OmegaConf.structured(NetworkLoopSettings(**{**base, **given_}))


def rows(n=12, columns=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, columns, generator=generator)
    return Rows(inputs, inputs.sum(dim=1))


def part(**columns):
    features = pd.DataFrame({name: np.asarray(values, dtype=float) for name, values in columns.items()})
    return Part(features, np.zeros(len(features)))


def test_inputs_are_standardised_by_the_training_rows_alone():
    train = part(a=[1, 2, 3, np.nan], constant=[0.1, 0.1, 0.1, 0.1])
    preparation = Preparation.of(train, standardise=True, classes=False)
    seen = preparation.rows(train).inputs.double().numpy()
    np.testing.assert_allclose(seen.mean(axis=0), 0, atol=1e-6)
    assert seen[:, 0].std() == pytest.approx(1)
    np.testing.assert_allclose(seen[:, 1], 0, atol=1e-6)
    held_out = preparation.rows(part(a=[2, np.nan], constant=[0.1, 1.1])).inputs.numpy()
    assert held_out[:, 0].tolist() == [0, 0]  # the median of the training rows, which is their mean too
    assert held_out[1, 1] == pytest.approx(1)


def test_raw_inputs_stay_as_they_are_but_for_gaps():
    train = part(a=[1, 5, np.nan], empty=[np.nan] * 3)
    seen = Preparation.of(train, standardise=False, classes=True).rows(train)
    assert seen.inputs.tolist() == [[1, 0], [5, 0], [3, 0]]
    assert seen.target.dtype == torch.int64


@given(st.integers(1, 40), st.integers(1, 12))
def test_an_epoch_holds_each_row_once(n, batch_size):
    whole = Rows(torch.arange(n, dtype=torch.float32)[:, None], torch.arange(n, dtype=torch.float32))
    batches = list(shuffled(whole, batch_size, torch.Generator().manual_seed(0)))
    seen = torch.cat([batch.target for batch in batches]).tolist() if batches else []
    assert len(set(seen)) == len(seen)
    left = n - len(seen)
    assert left == (1 if n % batch_size == 1 and n > 1 and batch_size > 1 else 0) or batch_size == 1


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 12), st.sampled_from([None, "batch", "layer"]), st.booleans())
def test_networks_of_any_size_give_an_output_a_row_and_class(depth, width, normalisation, residual):
    for network in (Mlp, Cnn, Recurrent):
        chosen = model_settings(normalisation=normalisation, residual=residual)
        chosen.depth, chosen.width = depth, width
        assert network(chosen, 64, 10)(torch.randn(5, 64)).shape == (5, 10)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_every_cell_reads_the_pieces_in_order(cell):
    network = Recurrent(model_settings(cell=cell, steps=4), 8, 1)
    inputs = torch.randn(3, 8)
    turned = inputs.view(3, 4, 2).flip(1).reshape(3, 8)
    assert not torch.allclose(network(inputs), network(turned))


def test_inputs_that_a_network_cannot_arrange_are_refused():
    with pytest.raises(FlowGradError, match="Cnn takes a square image"):
        Cnn.check(model_settings(), 41)
    with pytest.raises(FlowGradError, match=r"model\.steps=8 does not divide the table's 41 columns"):
        Recurrent.check(model_settings(), 41)
    with pytest.raises(FlowGradError, match=r"model\.cell='lru' is unknown"):
        Recurrent.check(model_settings(cell="lru"), 64)


@pytest.mark.parametrize(
    ("init", "activation", "variance"),
    [
        ("kaiming", "relu", 2 / 400),
        ("kaiming", "tanh", 1 / 400),
        ("xavier", "relu", 2 / 800),
        ("torch", "relu", 1 / 1200),
    ],
)
def test_initial_weights_have_the_variance_of_their_rule(init, activation, variance):
    network = Mlp(model_settings(activation=activation), 400, 3)
    network.layers[0] = nn.Linear(400, 400)
    chosen = model_settings(init=init, activation=activation, init_scale=3.0, bias_init=-1.0)
    initialise(network, chosen, torch.Generator().manual_seed(0))
    weight = network.layers[0].weight
    assert float(weight.detach().var()) == pytest.approx(9 * variance, rel=0.02)
    assert float(weight.detach().mean()) == pytest.approx(0, abs=math.sqrt(9 * variance) / 100)
    assert set(network.layers[0].bias.tolist()) == {-1.0}
    assert set(network.head.bias.tolist()) == {0.0}


def test_initial_weights_depend_on_the_generator_alone():
    network, other = Mlp(model_settings(), 5, 1), Mlp(model_settings(), 5, 1)
    for made in (network, other):
        initialise(made, model_settings(), torch.Generator().manual_seed(3))
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def network_of(**given_):
    network = Mlp(model_settings(**given_), 3, 1)
    initialise(network, model_settings(), torch.Generator().manual_seed(0))
    return network


def test_parameters_are_grouped_by_their_rate():
    network = network_of()
    chosen = loop_settings(
        frozen=["layers.0.bias"],
        left_out=["head"],
        layer_lr={"layers": 0.1, "layers.1": 0.5},
        full_rate={"model": ["layers.1.weight", "head.bias"]},
    )
    freeze(network, chosen)
    made = groups(network, chosen, 2.0, "model")
    names = {id(p): name for name, p in network.named_parameters()}
    found = {group["lr"]: {names[id(p)] for p in group["params"]} for group in made}
    assert found == {0.2: {"layers.0.weight"}, 1.0: {"layers.1.bias"}, 2.0: {"layers.1.weight", "head.bias"}}


def test_nothing_to_train_and_unknown_names_are_refused():
    with pytest.raises(FlowGradError, match="leave nothing to train"):
        groups(network_of(), loop_settings(left_out=["layers", "head"]), 1.0, "model")
    with pytest.raises(FlowGradError, match=r"training.left_out names 'layer'; the network's parameters are layers\.0"):
        groups(network_of(), loop_settings(left_out=["layer"]), 1.0, "model")


def fitted(network, loss=None, watchers=(), **given_):
    optimizer = torch.optim.SGD(network.parameters(), lr=given_.pop("lr", 0.01))
    order = torch.Generator().manual_seed(1)
    return fit(
        network, loss or SquaredError(), optimizer, rows(), rows(seed=1), loop_settings(**given_), order, watchers
    )


def test_early_stopping_goes_back_to_the_best_weights():
    network = network_of()
    found = fitted(network, lr=0.4, epochs=30, early_stopping=True, patience=2)
    assert SquaredError().held_out(network, rows(seed=1)) == pytest.approx(min(found.validation_losses))
    assert found.validation_losses.index(min(found.validation_losses)) == len(found.validation_losses) - 3


def test_a_run_that_diverges_ends():
    found = fitted(network_of(), lr=1e30, epochs=30)
    assert len(found.train_losses) < 30
    assert not math.isfinite(found.train_losses[-1])


def test_clipped_gradients_bound_the_step():
    network, before = network_of(), network_of()
    fitted(network, lr=1.0, epochs=1, batch_size=12, clip_norm=1e-3)
    moved = math.sqrt(
        sum(float((a - b).square().sum()) for a, b in zip(network.parameters(), before.parameters(), strict=True))
    )
    assert moved == pytest.approx(1e-3, rel=1e-4)


class Told:
    """A watcher that notes what it is told."""

    def __init__(self):
        self.losses, self.epochs = [], []

    def step(self, loss):
        self.losses.append(float(loss))

    def end_epoch(self, train_loss, validation_loss):
        self.epochs.append((train_loss, validation_loss))


def test_watchers_are_told_of_every_step_and_epoch():
    told = Told()
    found = fitted(network_of(), watchers=[told])
    assert found.steps == len(told.losses) == 9
    assert told.epochs == list(zip(found.train_losses, found.validation_losses, strict=True))
    assert told.epochs[0][0] == pytest.approx(np.mean(told.losses[:3]))


class Halved(Loss):
    """Half the squared error."""

    def of(self, model, batch):
        return SquaredError().of(model, batch) / 2


def test_the_loop_takes_any_loss():
    whole, half = fitted(network_of(), lr=0.01), fitted(network_of(), Halved(), lr=0.02)
    np.testing.assert_allclose(half.train_losses, np.divide(whole.train_losses, 2), rtol=1e-4)


@pytest.mark.parametrize("kind", LOSSES)
def test_losses_and_predictions_fit_each_other(kind):
    """The loss of a batch is the score of its predictions, as scikit-learn computes it."""
    torch.manual_seed(0)
    network = nn.Linear(3, 4 if kind == "multiclass" else 1)
    inputs = torch.randn(50, 3)
    target = torch.randint(4 if kind == "multiclass" else 2, (50,))
    batch = Rows(inputs, target if kind == "multiclass" else target.float())
    found = scores(kind, target.numpy().astype(float), predicted(kind, network, inputs).numpy())
    score = found["rmse"] ** 2 if kind == "regression" else found["logloss"]
    assert float(LOSSES[kind]().of(network, batch).detach()) == pytest.approx(score, rel=1e-5)


def test_scores_of_classes():
    sure = np.array([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
    found = scores("multiclass", np.array([0.0, 2.0, 1.0]), sure)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["logloss"] == pytest.approx(-np.mean(np.log([0.9, 0.5, 0.3])))
    assert all(math.isnan(score) for score in scores("multiclass", np.zeros(1), np.full((1, 3), np.nan)).values())


@pytest.mark.parametrize("overrides", [[], ["model=cnn", "model.width=4"], ["model=recurrent", "model.width=4"]])
def test_a_watched_run_gives_the_bytes_of_one_that_is_not(composed, overrides):
    config = composed(*QUICK, *overrides)
    trainer = trainer_of(config)
    data = trainer.load()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    plain, again, watched = (trainer.train(data, 5, watched=watched) for watched in (False, False, True))
    assert torch.equal(torch.get_rng_state(), state)  # no draw from the global generator
    for other in (again, watched):
        assert other.validation_losses == plain.validation_losses
        for a, b in zip(plain.model.parameters(), other.model.parameters(), strict=True):
            assert torch.equal(a, b)
    (seen,) = watched.measurements
    assert seen.kind == "flow"
    assert seen.scalars["steps"] == watched.steps
    assert seen.scalars["input_scale_ratio"] == pytest.approx(1, rel=1e-3)


def test_another_seed_draws_other_weights(composed):
    config = composed(*QUICK)
    trainer = trainer_of(config)
    data = trainer.load()
    first, other = (trainer.train(data, seed) for seed in (1, 2))
    assert not torch.equal(first.model.head.weight, other.model.head.weight)
    assert first.validation_losses != other.validation_losses


MISTAKES = {
    "task.kind=ranks": "task.kind='ranks' is unknown; use regression or binary or multiclass",
    "task=odd task.kind=multiclass": "task.metrics names 'auc'; task.kind=multiclass gives accuracy, logloss",
    "task=rating": "task.target='rating'",
    "model.activation=softplus": "model.activation='softplus' is unknown; use one of relu",
    "model.normalisation=group": "model.normalisation='group' is unknown; use one of null, batch, layer",
    "model.depth=0": "model.depth=0: must be at least 1",
    "optimizer.lr=0": "optimizer.lr=0.0: must be above 0",
    "training.clip_norm=-1": "training.clip_norm=-1.0: must be above 0",
    "training.layer_lr={head: -1}": "training.layer_lr.head=-1: must be at least 0",
    "training.frozen=[tail]": "training.frozen names 'tail'; the network's parameters are layers.0.weight",
    "+training.full_rate.other=[head]": "training.full_rate names 'other'; what is watched is model",
    "optimizer.sparse_gradients=true": "a network's gradients are dense",
    "optimizer.momentum=0.9": "optimizer.momentum=0.9: Adam has no momentum; set it to 0",
    "model=mf": "model: training by Networks cannot use this choice; choose e.g. model=mlp",
}


@pytest.mark.parametrize("override", MISTAKES)
def test_mistakes_are_one_line(command, override):
    changes = [override] if "{" in override else override.split()
    code, _, err = command("experiment=layers_digits_tuned", *changes)
    assert code == 2
    assert MISTAKES[override] in err
    assert err.count("\n") == 1


def test_findings_change_a_network_that_trains_and_no_sound_one(composed):
    """With `training.treat=true` a rate of a hundred times is lowered; a usual one trains as it does alone."""
    found = {}
    for rate in (0.001, 0.1):
        for treat in (False, True):
            rest = ["training.epochs=12", "training.early_stopping=false", "model.width=32", f"optimizer.lr={rate}"]
            config = composed("experiment=layers_digits_tuned", *rest, f"training.treat={treat}", rules=False)
            trainer = trainer_of(config)
            data = trainer.load()
            found[rate, treat] = trainer.train(data, 3)
    assert not found[0.001, True].treated
    assert found[0.001, True].validation_losses == found[0.001, False].validation_losses
    assert [(one.kind, one.old, one.new) for one in found[0.1, True].treated] == [("learning_rate", "0.1", "0.01")]
    assert found[0.1, True].steps == found[0.1, False].steps
    assert found[0.1, True].validation_losses[-1] < found[0.1, False].validation_losses[-1]
