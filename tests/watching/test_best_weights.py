"""The weights that stand in the model at the end: the best epoch's, the last one's, or others."""

import copy

import pytest
import torch
from torch import nn

import flowgrad

LOSSES = [(1.0 - 0.08 * k, 0.5 - 0.1 * k if k < 3 else 0.2 + 0.1 * k) for k in range(12)]
"""Training and validation loss of each epoch: the third epoch is the best."""


def trained(keep, *, after=lambda model, best: model.load_state_dict(best), within=lambda model: None, figures=LOSSES):
    """Watch a run whose loop keeps the state of its best epoch by `keep` and does `after` with it at the end."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    watch = flowgrad.watch(model, optimizer)
    rows, lowest, best = torch.randn(16, 4), float("inf"), None
    for loss, val_loss in figures:
        for _ in range(3):
            optimizer.zero_grad()
            model(rows).square().mean().backward()
            optimizer.step()
            watch.log(loss=loss)
        within(model)
        if val_loss < lowest:
            lowest, best = val_loss, keep(model.state_dict())
        watch.end_epoch(val_loss=val_loss)
    after(model, best)
    return watch


def types(watch):
    return {finding.type for finding in watch.findings()}


def average(model):
    """Put other weights in for a moment, as the validation of an average does."""
    own = copy.deepcopy(model.state_dict())
    model.load_state_dict({name: value * 0.9 for name, value in own.items()})
    model.load_state_dict(own)


def test_a_state_that_was_kept_without_a_copy_is_asked_about():
    found = {finding.type: finding for finding in trained(lambda state: state).findings()}
    assert {"OVERFITTING", "BEST_WEIGHTS_NOT_COPIED"} <= set(found)
    asked = found["BEST_WEIGHTS_NOT_COPIED"]
    assert asked.candidates[0].cause == "REFERENCES_KEPT"
    assert asked.fix is None
    assert "9 epochs ago" in asked.premise


@pytest.mark.parametrize(
    "after",
    [
        lambda model, best: model.load_state_dict(best),
        lambda model, best: [own.data.copy_(best[name]) for name, own in model.named_parameters()],
        lambda model, best: model.load_state_dict({name: value * 0.9 for name, value in best.items()}),
    ],
)
def test_a_run_whose_best_weights_or_an_average_stand_in_the_model_is_not_judged_by_its_last_epoch(after):
    assert not {"OVERFITTING", "BEST_WEIGHTS_NOT_COPIED", "VALIDATION_LOSS_RISES"} & types(
        trained(copy.deepcopy, after=after)
    )


def test_a_run_that_keeps_its_last_weights_is_told_of_overfitting_alone():
    found = types(trained(copy.deepcopy, after=lambda model, best: None))
    assert "OVERFITTING" in found
    assert "BEST_WEIGHTS_NOT_COPIED" not in found


@pytest.mark.parametrize("within", [average, lambda model: None])
def test_weights_that_were_swapped_for_a_test_and_put_back_are_no_state_without_a_copy(within):
    """Where that happens after the last epoch alone, nothing tells it from a state without a copy: it is asked."""
    found = types(trained(copy.deepcopy, after=lambda model, best: average(model), within=within))
    assert "OVERFITTING" in found
    assert ("BEST_WEIGHTS_NOT_COPIED" in found) == (within is not average)


@pytest.mark.parametrize("change", ["a forward pass that cuts rows", "numbers that are not"])
def test_weights_that_nobody_replaced_are_those_of_the_last_epoch(change):
    """A table with max_norm writes to its rows in each forward pass, and NaN is not itself."""
    table = nn.Embedding(30, 4, max_norm=0.5)
    model = nn.ModuleList([table, nn.Linear(4, 1)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    watch = flowgrad.watch(model, optimizer)
    for _ in range(3):
        optimizer.zero_grad()
        model[1](table(torch.arange(10))).square().mean().backward()
        optimizer.step()
    if change == "numbers that are not":
        with torch.no_grad():
            model[1].weight.fill_(float("nan"))
    watch.end_epoch()
    table(torch.arange(30))
    assert watch.network.written_since()["weights_rewritten"] == 0


def test_the_last_epoch_that_is_the_best_may_be_loaded_again():
    falling = [(1.0 - 0.05 * k, 0.9 - 0.05 * k) for k in range(12)]
    assert "BEST_WEIGHTS_NOT_COPIED" not in types(trained(lambda state: state, figures=falling))
