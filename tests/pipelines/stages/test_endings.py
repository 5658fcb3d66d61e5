"""Runs that longer ones make on their way."""

from __future__ import annotations

import pytest

from pipelines.stages.endings import ending_sooner
from pipelines.stages.outcomes import Runs
from pipelines.trainers.factorization import stacking
from pipelines.trainers.trainer import ENDING, trainer_of

SMALL = ["dataset=synthetic", "training.batch_size=128", "optimizer.lr=0.02", "model.biases=true"]
SHORT = [*SMALL, "training.epochs=4"]
LONG = [*SMALL, "training.epochs=30", "training.early_stopping=true", "training.patience=1"]
SEEDS = [11, 12, 16]


def endings_of(configs):
    return [tuple(config.training[key] for key in ENDING) for config in configs]


def plain(composed, *overrides):
    return composed(*overrides, rules=False)


@pytest.mark.parametrize(
    ("config", "other", "expected"),
    [
        (SHORT, SHORT, []),
        (LONG, LONG, []),
        (LONG, SHORT, [(4, True, 1), (4, True, 2), (4, False, 1)]),
        (SHORT, LONG, [(4, True, 2), (4, True, 1)]),
        ([*LONG, "training.epochs=4"], SHORT, []),
        ([*LONG, "training.epochs=4", "training.patience=3"], SHORT, [(4, True, 2)]),
    ],
)
def test_runs_that_may_end_with_others_at_the_latest(composed, config, other, expected):
    """Without early stopping, how patient it is says nothing, so that one of two is enough."""
    found = endings_of(ending_sooner(plain(composed, *config), plain(composed, *other)))
    assert sorted(found) == sorted(expected)


def test_a_training_without_epochs_has_no_other_endings(composed):
    booster = plain(composed, "experiment=movielens_boosting")
    assert ending_sooner(booster, plain(composed, *SHORT)) == []


@pytest.fixture
def trained(monkeypatch):
    """Endings and seeds of each stack that is trained."""
    made = []

    def train(config, data, seeds, sooner=()):
        made.append((endings_of([config])[0], list(seeds)))
        return stacking.train_stack(config, data, seeds, sooner)

    monkeypatch.setattr("pipelines.trainers.factorization.trainer.train_stack", train)
    return made


@pytest.mark.parametrize("stopping", ["training.early_stopping=true", "training.early_stopping=false"])
def test_a_run_that_ends_sooner_is_part_of_the_longer_one(composed, trained, stopping):
    slowly = ["loss.l2=0.01", "optimizer.lr=0.002"]  # so that all seeds are still learning in the fourth epoch
    baseline, long, short = (plain(composed, *one) for one in (SHORT, [*LONG, *slowly], [*SHORT, *slowly, stopping]))
    data = trainer_of(baseline).load()
    runs = Runs(data, baseline=baseline)
    list(runs.outcomes(long, SEEDS))
    found = list(runs.outcomes(short, SEEDS))
    assert trained == [((30, True, 1), SEEDS)]
    assert found == list(Runs(data).outcomes(short, SEEDS)), "it is not what it would be if it were made by itself"


def test_a_run_that_the_longer_one_does_not_reach_is_made(composed, trained):
    """Early stopping ends the longer one before the shorter one's last epoch, of some seeds."""
    baseline, long = plain(composed, *SMALL, "training.epochs=12"), plain(composed, *LONG)
    data = trainer_of(baseline).load()
    runs = Runs(data, baseline=baseline)
    ends = [len(one.validation_losses) for one in runs.outcomes(long, SEEDS)]
    assert min(ends) < 12, "all seeds went as far; choose others"
    found = list(runs.outcomes(baseline, SEEDS))
    assert trained == [((30, True, 1), SEEDS), ((12, False, 2), SEEDS)]
    assert [len(one.validation_losses) for one in found] == [12] * len(SEEDS)


def test_runs_that_differ_in_more_or_in_seeds_are_made(composed, trained):
    baseline = plain(composed, *SHORT)
    runs = Runs(trainer_of(baseline).load(), baseline=baseline)
    list(runs.outcomes(plain(composed, *LONG), SEEDS))
    list(runs.outcomes(plain(composed, *SHORT, "loss.l2=0.01"), SEEDS))
    list(runs.outcomes(baseline, SEEDS[:2]))
    list(runs.outcomes(plain(composed, *SHORT), SEEDS[:2]))
    assert [seeds for _, seeds in trained] == [SEEDS, SEEDS, SEEDS[:2]], "the same run is made once"
