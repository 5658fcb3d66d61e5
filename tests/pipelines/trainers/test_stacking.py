"""Seeds that are trained as a stack get what each gets in a run of its own."""

from __future__ import annotations

import pytest

from pipelines.stages.outcomes import Runs
from pipelines.trainers.factorization.losses import MeanSquaredError
from pipelines.trainers.factorization.models.factorization import MatrixFactorization
from pipelines.trainers.trainer import trainer_of

SEEDS = [11, 12, 16]
SMALL = ["dataset=synthetic", "training.epochs=2", "training.batch_size=128"]
STOPPING = [
    "training.epochs=40", "training.early_stopping=true", "training.patience=1", "model.biases=true",
    "optimizer.lr=0.02",
]  # fmt: skip
BPR = ["loss=bpr", "training=ranking"]
SOFTMAX = ["loss=in_batch_softmax", "training=ranking"]
NEUMF = ["model=neumf", "tracker=neumf"]


class Scaled(MatrixFactorization):
    """A model of a user's own, which scores rows of two dimensions only."""

    def score(self, p, q, b_user, b_item):
        """Scores of shape (n,)."""
        return 2 * (p * q).sum(dim=1)


class HalvedError(MeanSquaredError):
    """A loss of a user's own, which is one figure for all that it is given."""

    def terms(self, model, batch):
        """Half the mean over the batch."""
        loss, penalty = super().terms(model, batch)
        return loss.mean() / 2, penalty.mean()


def trainer_for(composed, *overrides):
    return trainer_of(composed(*SMALL, *overrides, rules=False))


def check_alike(trainer, data, found, seed):
    alone = trainer.train(data, seed)
    assert found.steps == alone.steps
    assert found.validation_losses == pytest.approx(alone.validation_losses, rel=1e-5)
    assert found.train_losses == pytest.approx(alone.train_losses, rel=1e-5, nan_ok=True)
    metrics = trainer.evaluate(alone, data, seed).metrics
    assert trainer.evaluate(found, data, seed).metrics == pytest.approx(metrics, rel=1e-5, nan_ok=True)


@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer=adam"],
        ["optimizer=adamw", "model.biases=true", "loss.l2=0.1"],
        ["optimizer=sgd", "optimizer.momentum=0.9"],
        ["optimizer=sgd", "optimizer.sparse_gradients=true"],
        ["optimizer=adagrad", "model.biases=true"],
        ["optimizer=adagrad", "optimizer.sparse_gradients=true"],
        ["optimizer=sparse_adam", "loss.l2=0.1", "model.biases=true"],
        ["optimizer=sgd", "optimizer.lr=20", "training.epochs=20", "model.biases=true"],
        [*BPR, "loss.l2=0.05", "model.biases=true"],
        [*NEUMF, "optimizer.lr=0.01"],
        ["optimizer=adam", "model.biases=true", "loss.l2=0.1", "fault=hot"],
        ["sampler.quarantine.item_emb=[1,2,3]"],
        ["fault=conflict_random"],
        ["fault=hot", "fault.strength=5", "training.capped_rows.item_emb=[1,2,3]"],
        ["fault=frozen", "training.capped_rows.user_emb=[1,2]"],
        ["fault=stuck", "optimizer=sparse_adam"],
        ["fault=frozen", "optimizer=sparse_adam"],
    ],
    ids=" ".join,
)
def test_each_seed_of_a_stack_gets_what_it_gets_alone(composed, overrides):
    trainer = trainer_for(composed, *overrides)
    data = trainer.load()
    assert trainer.stack_size(data) >= len(SEEDS)
    for seed, found in zip(SEEDS, trainer.train_stack(data, SEEDS), strict=True):
        check_alike(trainer, data, found, seed)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["loss.l2=0.01"],
        ["fault=frozen", "training.capped_rows.item_emb=[5,6]"],
        ["optimizer=sparse_adam", "optimizer.lr=0.04"],
        BPR,
        NEUMF,
    ],
    ids=" ".join,
)
def test_a_seed_that_stops_early_leaves_the_others_as_they_were(composed, overrides):
    """The state of the optimizer goes on for those that are left, and each goes back to its own best weights."""
    trainer = trainer_for(composed, *STOPPING, *overrides)
    data = trainer.load()
    stack = trainer.train_stack(data, SEEDS)
    assert len({found.steps for found in stack}) > 1, "all seeds stopped at once; choose others"
    for seed, found in zip(SEEDS, stack, strict=True):
        check_alike(trainer, data, found, seed)


DIGITS = ["experiment=layers_digits_tuned", "dataset.keep=0.2", "training.epochs=3"]
RATING_STUDENT = ["experiment=distillation_movielens", "dataset=synthetic", "training.epochs=2", "teacher.epochs=1"]


@pytest.mark.parametrize(
    "overrides",
    [
        DIGITS,
        [*DIGITS, "model.normalisation=batch", "training.early_stopping=true", "training.patience=1"],
        [*DIGITS, "model.normalisation=layer", "model.residual=true", "model.depth=3", "optimizer=sgd"],
        [*DIGITS, "training.layer_lr={layers.0: 0.1}", "training.frozen=[layers.1]", "training.left_out=[head.bias]"],
        [*DIGITS, "dataset=breast_cancer", "task=malignant", "dataset.keep=1", "training.epochs=12",
         "training.early_stopping=true", "training.patience=1", "optimizer.lr=0.03"],
        [*DIGITS, "dataset=diabetes", "task=progression", "optimizer.lr=0.01"],
        ["experiment=distillation_digits", "fault=slow_layer", "training.epochs=2", "teacher.epochs=1"],
        [*RATING_STUDENT, "training.early_stopping=true", "training.patience=1", "training.epochs=5"],
        [*RATING_STUDENT, "fault=frozen_layer"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_networks_and_students_are_stacked_too(composed, overrides):
    trainer = trainer_of(composed(*overrides, rules=False))
    data = trainer.load()
    assert trainer.stack_size(data) >= len(SEEDS)
    for seed, found in zip(SEEDS, trainer.train_stack(data, SEEDS), strict=True):
        check_alike(trainer, data, found, seed)


@pytest.mark.parametrize(
    "overrides",
    [
        [*DIGITS, "model=cnn"],
        [*DIGITS, "model=recurrent"],
        [*DIGITS, "training.clip_norm=1"],
        ["experiment=distillation_digits", "fault=noisy_weights", "teacher.epochs=1"],
    ],
    ids=" ".join,
)
def test_networks_that_would_be_others_are_not(composed, overrides):
    trainer = trainer_of(composed(*overrides, rules=False))
    assert trainer.stack_size(trainer.load()) == 1


@pytest.mark.parametrize(
    "overrides",
    [
        [*SOFTMAX, "fault=frozen"],
        [*SOFTMAX, "optimizer=sparse_adam"],
        ["training.treat=true"],
        ["optimizer._target_=torch.optim.RMSprop"],
        ["optimizer=sgd", "optimizer.momentum=0.5", "optimizer.sparse_gradients=true"],
        [f"model._target_={__name__}.Scaled"],
        [f"loss._target_={__name__}.HalvedError"],
        ["model.dim=100000"],
    ],
    ids=" ".join,
)
def test_what_would_be_another_training_is_not_stacked(composed, overrides):
    trainer = trainer_for(composed, *overrides)
    assert trainer.stack_size(trainer_for(composed).load()) == 1


def test_stacks_of_the_softmax_are_of_two_whose_seeds_get_what_they_get_alone(composed):
    trainer = trainer_for(composed, *SOFTMAX, "loss.logq=1", "loss.l2=0.03", "model.biases=true", *STOPPING)
    data = trainer.load()
    assert trainer.stack_size(data) == 2
    for seed, found in zip(SEEDS[:2], trainer.train_stack(data, SEEDS[:2]), strict=True):
        check_alike(trainer, data, found, seed)


def test_a_seed_does_not_depend_on_how_the_seeds_are_divided(composed, monkeypatch):
    trainer = trainer_for(composed)
    data = trainer.load()
    seeds = range(7)
    whole = list(Runs(data).outcomes(trainer.config, seeds))
    monkeypatch.setattr("pipelines.trainers.stacking._MOST_SEEDS", 3)
    assert trainer.stack_size(data) == 3
    parts = list(Runs(data).outcomes(trainer.config, seeds))
    assert len({found.metrics["mse"] for found in whole}) == 7
    for one, other in zip(whole, parts, strict=True):
        assert one.metrics == pytest.approx(other.metrics, rel=1e-5)
        assert one.validation_losses == pytest.approx(other.validation_losses, rel=1e-5)


@pytest.mark.parametrize(
    "overrides",
    [
        [*SMALL, "model.biases=true"],
        [*SMALL, *NEUMF],
        [*DIGITS, "model.normalisation=batch"],
        RATING_STUDENT,
    ],
    ids=" ".join,
)
def test_runs_that_end_sooner_are_what_they_are_alone(composed, overrides):
    """The models of a stack are trained on; those of runs that ended on the way stay as they were."""
    trainer, *others = (
        trainer_of(composed(*overrides, f"training.epochs={epochs}", f"training.early_stopping={stops}", rules=False))
        for epochs, stops in ((3, False), (2, False), (3, True))
    )
    data = trainer.load()
    stack = trainer.train_stack(data, SEEDS[:2], [other.config for other in others])
    for seed, found in zip(SEEDS, stack, strict=False):
        check_alike(trainer, data, found, seed)
        for other, ended in zip(others, found.sooner, strict=True):
            check_alike(other, data, ended, seed)
