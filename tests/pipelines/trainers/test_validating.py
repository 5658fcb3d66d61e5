"""Every kind of training judges a run by its validation rows where the proof's rows are not to be seen."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pipelines.trainers.trainer import trainer_of

SEEDS = ("seeds.test=[1,2,3,4,5,6]", "workers=1")
KINDS = {
    "ratings": ("experiment=movielens_mf", "dataset=synthetic", "training.epochs=1"),
    "ranking": ("experiment=movielens_implicit", "dataset=synthetic", "training.epochs=1"),
    "network": (
        "experiment=layers_digits",
        "dataset=breast_cancer",
        "task=malignant",
        "tuned=null",
        "training.epochs=1",
    ),
    "booster": (
        "experiment=movielens_boosting",
        "dataset=diabetes",
        "task=progression",
        "tuned=null",
        "model.rounds=3",
    ),
    "student": ("experiment=distillation_digits", "tuned=null", "training.epochs=1", "teacher.epochs=1"),
}


@pytest.mark.parametrize("overrides", KINDS.values(), ids=KINDS)
def test_a_run_is_the_same_and_is_judged_by_other_rows(composed, overrides):
    trainer = trainer_of(composed(*overrides, *SEEDS))
    data = trainer.load()
    judged = trainer.validating(data)
    trained = trainer.train(judged, 3)
    assert trained.validation_losses == trainer.train(data, 3).validation_losses
    by_validation, by_test = (trainer.evaluate(trained, given, 3).metrics for given in (judged, data))
    assert tuple(by_validation) == trainer.metrics()
    assert all(map(math.isfinite, by_validation.values()))
    assert by_validation != by_test


def test_ratings_are_judged_by_the_loss_that_training_sees(composed):
    """What early stopping goes by is the first metric on the same rows."""
    trainer = trainer_of(composed(*KINDS["ratings"], *SEEDS))
    data = trainer.load()
    trained = trainer.train(data, 3)
    assert trainer.evaluate(trained, trainer.validating(data), 3).metrics["mse"] == pytest.approx(
        trained.validation_losses[-1], rel=1e-5
    )
    assert trainer.validating(data) == replace(data, test=data.validation)
