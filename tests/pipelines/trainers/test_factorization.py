"""The loop, its losses and its metrics against slow plain versions."""

from __future__ import annotations

import math
from contextlib import closing

import numpy as np
import pytest
import torch

from datasets.synthetic import make_ratings
from pipelines.data.ratings import Data, Examples, load
from pipelines.stages.outcomes import Runs
from pipelines.trainers.factorization.evaluation import evaluate
from pipelines.trainers.factorization.loop import train
from pipelines.trainers.factorization.losses import InBatchSoftmax, MeanSquaredError
from pipelines.trainers.factorization.models.factorization import MatrixFactorization
from pipelines.trainers.factorization.sampling import shuffled_batches

OPTIMIZERS = ["adam", "sparse_adam", "sgd", "adagrad"]


@pytest.fixture
def data(composed):
    return load(composed("dataset=synthetic"))


def model_of(data, biases=True, dim=4):
    generator = torch.Generator().manual_seed(0)
    model = MatrixFactorization(
        data.n_users, data.n_items, 3.5, dim=dim, biases=biases, init_std=0.5, sparse=False, generator=generator
    )
    if biases:
        torch.nn.init.normal_(model.item_bias.weight, generator=generator)
    return model


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", ["mse", "in_batch_softmax"])
def test_watching_changes_no_bit(composed, data, optimizer, loss):
    config = composed("dataset=synthetic", f"optimizer={optimizer}", f"loss={loss}", "model.biases=true", "loss.l2=0.1")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    watched, bare = train(config, data, 3, watched=True), train(config, data, 3)
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in bare.model.state_dict().items():
        assert torch.equal(value, watched.model.state_dict()[name]), name
    assert {seen.subject for seen in watched.measurements} == {"training", "user_emb", "item_emb"}


def test_exposures_are_those_of_the_training_data(composed, data):
    trained = train(composed("dataset=synthetic", "training.epochs=3"), data, 0, watched=True)
    items = next(seen for seen in trained.measurements if seen.subject == "item_emb").tables["rows"]
    expected = 3 * np.bincount(data.train.items.numpy(), minlength=data.n_items)
    assert items["exposures"].tolist() == expected.tolist()


def test_early_stopping_keeps_the_best_weights(composed, data):
    config = composed(
        "dataset=synthetic", "training.early_stopping=true", "training.epochs=60", "model.biases=true", "loss.l2=0.05"
    )
    trained = train(config, data, 0)
    losses = trained.validation_losses
    assert len(losses) < 60
    assert min(losses) not in losses[-config.training.patience :]
    loss = MeanSquaredError(data.train, data.n_items, l2=0, logq=0)
    assert loss.held_out(trained.model, data.validation) == pytest.approx(min(losses), rel=1e-6)


def test_a_run_that_diverges_ends_early_and_says_nan(composed, data):
    config = composed("dataset=synthetic", "optimizer=sgd", "optimizer.lr=1e6", "training.epochs=50")
    trained = train(config, data, 0, watched=True)
    assert len(trained.train_losses) < 50
    assert not math.isfinite(trained.train_losses[-1])
    assert not math.isfinite(evaluate("rating", 10, trained.model, data).metrics["mse"])
    course = next(seen for seen in trained.measurements if seen.kind == "training")
    assert course.scalars["loss_nonfinite"] == 1


def test_every_example_once_an_epoch(data):
    batches = list(shuffled_batches(data.train, 64, torch.Generator().manual_seed(1)))
    assert {len(batch) for batch in batches[:-1]} == {64}
    seen = sorted(zip(*(torch.cat([getattr(b, n) for b in batches]).tolist() for n in ("users", "items")), strict=True))
    assert seen == sorted(zip(data.train.users.tolist(), data.train.items.tolist(), strict=True))


@pytest.mark.parametrize("logq", [0.0, 0.5, 1.0])
def test_in_batch_softmax_against_loops(data, logq):
    model = model_of(data)
    batch = data.train[slice(0, 40)]
    loss, penalty = InBatchSoftmax(data.train, data.n_items, l2=0.3, logq=logq).terms(model, batch)
    counts = np.bincount(data.train.items.numpy(), minlength=data.n_items) / len(data.train)
    p, q = model.user_emb.weight.detach().double().numpy(), model.item_emb.weight.detach().double().numpy()
    b = model.item_bias.weight.detach().double().numpy()[:, 0]
    users, items = batch.users.numpy(), batch.items.numpy()
    terms, squares = [], []
    for row, user in enumerate(users):
        logits = {
            column: p[user] @ q[item] + b[item] - logq * math.log(counts[item])
            for column, item in enumerate(items)
            if column == row or item != items[row]
        }
        terms.append(math.log(sum(math.exp(v) for v in logits.values())) - logits[row])
        squares.append(p[user] @ p[user] + q[items[row]] @ q[items[row]] + b[items[row]] ** 2)
    assert loss.item() == pytest.approx(np.mean(terms), rel=1e-5)
    assert penalty.item() == pytest.approx(0.3 * np.mean(squares), rel=1e-5)


def slow_ranking(model, data, k):
    scores = model.score_all(torch.arange(data.n_users)).detach().double().numpy()
    seen = {user: set() for user in range(data.n_users)}
    for part in (data.train, data.validation):
        for user, item in zip(part.users.tolist(), part.items.tolist(), strict=True):
            seen[user].add(item)
    ndcg, hits = [], []
    for user, item in zip(data.test.users.tolist(), data.test.items.tolist(), strict=True):
        others = [scores[user, j] for j in range(data.n_items) if j != item and j not in seen[user]]
        rank = sum(s > scores[user, item] for s in others) + sum(s == scores[user, item] for s in others) / 2
        hits.append(rank < k)
        ndcg.append(1 / math.log2(rank + 2) if rank < k else 0.0)
    return np.mean(ndcg), np.mean(hits)


@pytest.mark.parametrize("constant", [False, True])
def test_ranking_metrics_against_loops(data, constant):
    """Constant scores must not put every item first."""
    model = model_of(data)
    if constant:
        for parameter in model.parameters():
            torch.nn.init.zeros_(parameter)
    values = evaluate("ranking", 10, model, data).metrics
    ndcg, hits = slow_ranking(model, data, 10)
    assert values["ndcg@10"] == pytest.approx(ndcg, rel=1e-9)
    assert values["hr@10"] == pytest.approx(hits)
    assert 0 < values["coverage@10"] <= 1


def test_ranking_keeps_a_held_out_item_that_was_seen_before():
    """With repeated pairs the test item may be among the user's training items; it must still be rankable."""
    one = Examples(torch.tensor([0]), torch.tensor([1]), torch.tensor([4.0]))
    ratings = make_ratings(5, 6, 25, 2, 0.1, 1.0, 0)
    data = Data(ratings, train=one, validation=one, test=one)
    model = model_of(data, biases=False)
    assert evaluate("ranking", 6, model, data).metrics["hr@6"] == 1


def test_rating_metrics_against_numpy(data):
    model = model_of(data)
    values = evaluate("rating", 10, model, data).metrics
    error = model(data.test.users, data.test.items).detach().numpy().astype(float) - data.test.ratings.numpy()
    assert values["mse"] == pytest.approx(np.mean(error**2))
    assert values["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)))
    assert values["mae"] == pytest.approx(np.mean(np.abs(error)))


@pytest.mark.parametrize(("kind", "metric"), [("rating", "mse"), ("ranking", "ndcg@10")])
def test_users_make_up_the_first_metric(data, kind, metric):
    """Weighted by how many test ratings each has, their means give the metric."""
    found = evaluate(kind, 10, model_of(data), data)
    users, counts = data.test.users.unique(return_counts=True)
    assert len(found.by_user) == len(users)
    assert np.average(found.by_user, weights=counts) == pytest.approx(found.metrics[metric])
    model = model_of(data)
    error = (model(data.test.users, data.test.items).detach() - data.test.ratings).double().square()
    if kind == "rating":
        assert found.by_user[3] == pytest.approx(float(error[data.test.users == users[3]].mean()), rel=1e-6)


def test_number_of_workers_changes_nothing(composed, data):
    config = composed("dataset=synthetic", "training.epochs=2")
    found = []
    for workers in (1, 2):
        with closing(Runs(data)) as runs:
            runs.start(workers)
            runs.begin(config, [4, 5])
            found.append([*runs.outcomes(config, [1, 2, 3]), *runs.outcomes(config, [4, 5])])
    assert found[0] == found[1]
    assert len(found[0]) == 5
