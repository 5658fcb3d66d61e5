"""Findings on trainings of models of clicks: an epoch too many, and tables drawn too wide for products of rows."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import flowgrad
from flowgrad import TrainingTracker


def course(*epochs, stopped=False):
    tracker = TrainingTracker()
    for train, validation, metric in epochs:
        tracker.end_epoch(train, validation, metric=metric)
    if stopped:
        tracker.stop_early()
    return {one.rule_id: one for one in tracker.findings()}


SECOND = [(0.55, 0.42, 0.62), (0.50, 0.44, 0.60), (0.45, 0.47, 0.58)]
"""Training loss, validation loss and AUC of epochs of which the first was the best."""


def test_what_is_learned_by_heart_from_the_second_epoch_on_is_told_with_a_change():
    found = course(*SECOND)
    assert found["one_epoch_overfitting"].fix.set == {"training.early_stopping": True}
    assert not found["one_epoch_overfitting"].candidates
    assert "overfitting_by_ranking" not in found


def test_a_best_epoch_later_on_is_overfitting():
    found = course((0.6, 0.45, 0.60), *SECOND)
    assert found["overfitting_by_ranking"].type == "OVERFITTING"
    assert "one_epoch_overfitting" not in found


@pytest.mark.parametrize(
    "epochs",
    [
        [(train, validation, None) for train, validation, _ in SECOND],  # nothing is known of the ranking
        [(train, validation, 0.62) for train, validation, _ in SECOND],  # answers that are surer alone
        [(0.55, validation, metric) for _, validation, metric in SECOND],  # nothing is learned any more
        [(0.55, 0.420, 0.62), (0.50, 0.421, 0.60)],  # a hair's breadth
    ],
)
def test_less_than_all_of_it_is_no_claim(epochs):
    assert not {"one_epoch_overfitting", "overfitting_by_ranking"} & set(course(*epochs))


def test_a_run_that_stopped_early_keeps_its_best_weights():
    assert not {"one_epoch_overfitting", "overfitting_by_ranking"} & set(course(*SECOND, stopped=True))


NEGATIVES = [(0.63, 0.64, 0.063), (0.52, 0.55, 0.079), (0.39, 0.49, 0.058), (0.35, 0.44, 0.049), (0.30, 0.40, 0.030),
             (0.28, 0.38, 0.028), (0.24, 0.42, 0.018), (0.2, 0.43, 0.016)]  # fmt: skip
"""A ranking whose negatives were drawn from a part of the items: training loss, validation loss, recall."""


def test_a_ranking_that_is_lost_while_the_loss_falls_is_not_overfitting_alone():
    """Negatives came from the first ids only; early stopping was prescribed, at an epoch that had lost its ranking."""
    found = course(*NEGATIVES)
    asked, follows = found["metric_falls_with_the_loss"], found["overfitting_by_ranking"]
    assert asked.candidates[0].cause == "LOSS_COMPARES_WITH_OTHERS"
    assert asked.fix is None
    assert (follows.follows, follows.fix) == ("METRIC_FALLS_WITH_THE_LOSS", None)


@pytest.mark.parametrize("lost", [0.0, 0.4])
def test_a_ranking_that_holds_or_wobbles_while_the_loss_falls_is_sound(lost):
    wobble = [(train, validation, 0.1 * (1 - lost * (n % 2))) for n, (train, validation, _) in enumerate(NEGATIVES)]
    assert "metric_falls_with_the_loss" not in course(*wobble)


class Products(nn.Module):
    """Inner products of the rows of two tables."""

    def __init__(self, deviation):
        super().__init__()
        self.users, self.items = nn.Embedding(60, 8), nn.Embedding(60, 8)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=deviation)

    def forward(self, users, items):
        return (self.users(users) * self.items(items)).sum(dim=1)


def watched(deviation, *, told):
    torch.manual_seed(0)
    model = Products(deviation)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    watch = flowgrad.watch(model, optimizer)
    for tracker in watch.tables.values() if told else ():
        tracker.observe(multiplied=1)
    for _ in range(2):
        for _ in range(20):
            users, items = torch.randint(60, (128,)), torch.randint(60, (128,))
            optimizer.zero_grad()
            loss = functional.binary_cross_entropy_with_logits(model(users, items), (users < items).float())
            loss.backward()
            optimizer.step()
            watch.log(loss=loss)
        watch.end_epoch()
    watch.stop_early()
    watch.detach()
    return watch


def test_rows_that_are_multiplied_and_stay_as_they_were_drawn_are_told():
    found = {one.rule_id: one for one in watched(1.0, told=True).findings()}
    assert found["rows_as_drawn"].fix.set == {"model.init_std": 0.05}
    assert "rows_as_drawn" not in {one.rule_id for one in watched(1.0, told=False).findings()}
    assert "rows_as_drawn" not in {one.rule_id for one in watched(0.05, told=True).findings()}


def test_measurements_of_a_watch_are_those_of_all_trackers_that_have_any():
    watch = watched(0.1, told=True)
    kinds = [seen.kind for seen in watch.measurements()]
    assert kinds == ["flow", "training", "embedding", "embedding"]  # no batch was logged
    assert watch.measurements()[1].scalars["stopped_early"] == 1
