"""Backward passes that are for nothing, the mode of modules, layers listed twice, losses that repeat with epochs."""

import math

import pytest
import torch
from torch import nn

from flowgrad import FlowTracker

BATCHES = 12


def network(dropout=False):
    torch.manual_seed(0)
    middle = [nn.Dropout(0.3)] if dropout else []
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), *middle, nn.Linear(16, 1))


def loss_of(model, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(16, 6, generator=generator)
    return (model(x).squeeze(1) - x[:, 0]).square().mean()


def types(tracker):
    return {finding.type for finding in tracker.findings()}


@pytest.mark.parametrize("to_none", [True, False])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize("tells", ["batch", "step"])
def test_steps_outside_the_loop_are_found(to_none, optimizer, tells):
    """An indentation: one step an epoch, with the gradient of the last batch; nothing was said of it."""
    model = network()
    optimizer = optimizer(model.parameters(), lr=0.01)
    tracker = FlowTracker(model, optimizer)
    for _ in range(6):
        for batch in range(BATCHES):
            optimizer.zero_grad(set_to_none=to_none)
            loss = loss_of(model, batch)
            loss.backward()
            if tells == "batch" and batch < BATCHES - 1:
                tracker.step(loss.item())
        optimizer.step()
        tracker.step(loss.item())
    found = next(one for one in tracker.findings() if one.type == "GRADIENTS_THROWN_AWAY")
    assert (found.severity, found.candidates) == ("high", ())
    figures = tracker.summary()
    assert figures["lost_passes"] == 6 * (BATCHES - 1)


def trained(step, model, optimizers, steps=30, **known):
    tracker = FlowTracker(model, optimizers, **known)
    for number in range(steps):
        step(number)
        tracker.step(1.0)
    return tracker


def test_accumulated_gradients_are_not_thrown_away():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def step(number):
        optimizer.zero_grad()
        for part in range(16):
            (loss_of(model, part) / 16).backward()
        optimizer.step()

    tracker = trained(step, model, optimizer)
    assert tracker.summary()["lost_passes"] == 0
    assert "GRADIENTS_THROWN_AWAY" not in types(tracker)


def test_units_whose_gradient_is_zero_are_not_taken_for_cleared_ones():
    """The smallest tensor may take gradients of zero at every pass of an accumulation."""
    model = network()
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
    optimizer = torch.optim.SGD(model[:1].parameters(), lr=0.01)

    def step(number):
        optimizer.zero_grad()
        for part in range(16):
            loss_of(model, part).backward()
        optimizer.step()

    assert trained(step, model, optimizer).summary()["lost_passes"] == 0


@pytest.mark.parametrize("generator_steps", [1, 5])
def test_the_second_player_of_a_game_is_no_fault(generator_steps):
    """A discriminator's gradient of the generator's loss is cleared before its own step."""
    maker, judge = network(), nn.Linear(1, 1)
    first, second = (torch.optim.Adam(m.parameters(), lr=0.001) for m in (maker, judge))

    def step(number):
        for _ in range(generator_steps):
            first.zero_grad()
            judge(maker(torch.randn(8, 6))).mean().backward()
            first.step()
        second.zero_grad()
        judge(torch.randn(8, 1)).mean().backward()
        second.step()

    assert "GRADIENTS_THROWN_AWAY" not in types(trained(step, nn.ModuleList([maker, judge]), [first, second]))


@pytest.mark.parametrize("kind", ["closure", "grad"])
def test_passes_that_train_in_another_way_are_not_counted(kind):
    """L-BFGS clears within its step, and torch.autograd.grad leaves `.grad` as it is."""
    model = network()
    optimizer = (
        torch.optim.LBFGS(model.parameters(), lr=0.1)
        if kind == "closure"
        else torch.optim.SGD(model.parameters(), lr=0.01)
    )

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model, 0)
        loss.backward()
        return loss

    def step(number):
        if kind == "closure":
            optimizer.step(closure)
            return
        for _ in range(12):
            torch.autograd.grad(loss_of(model, 1), list(model.parameters()))
        closure()
        optimizer.step()

    assert "GRADIENTS_THROWN_AWAY" not in types(trained(step, model, optimizer, 10))


def epochs_of(model, count=8, mode=None, validate=None, order=None):
    """A loop as most write them: `mode` before an epoch, `validate` behind it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    tracker = FlowTracker(model, optimizer)
    for epoch in range(count):
        (mode or (lambda number: model.train()))(epoch)
        for batch in range(BATCHES):
            optimizer.zero_grad()
            loss = loss_of(model, epoch * BATCHES + batch)
            loss.backward()
            optimizer.step()
            tracker.step(loss.item() if order is None else order(epoch, batch))
        (validate or model.eval)()
        with torch.no_grad():
            loss = loss_of(model, 999).item()
        tracker.end_epoch(1.0, loss)
    return tracker


def test_a_model_that_stays_in_evaluation_mode_is_found():
    """`model.train()` stands before the loop over epochs, and the validation calls `model.eval()`."""
    model = network(dropout=True)
    found = epochs_of(model, 12, mode=lambda epoch: model.train() if not epoch else None)
    assert "TRAINED_IN_EVAL_MODE" in types(found)


@pytest.mark.parametrize(("dropout", "said"), [(True, True), (False, False)])
def test_a_model_never_put_into_training_mode_is_a_question_where_dropout_never_drops(dropout, said):
    model = network(dropout) if dropout else nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Linear(16, 1))
    found = [
        f for f in epochs_of(model, mode=lambda epoch: model.eval()).findings() if f.type == "TRAINED_IN_EVAL_MODE"
    ]
    assert [f.severity for f in found] == ["low"] * said


def test_a_validation_in_training_mode_is_found():
    model = network(dropout=True)
    assert "VALIDATED_IN_TRAIN_MODE" in types(epochs_of(model, validate=model.train))


@pytest.mark.parametrize(("p", "said"), [(0.95, True), (0.5, False), (0.8, False)])
def test_a_dropout_of_what_should_be_kept_is_a_question(p, said):
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(p), nn.Linear(16, 1))
    assert ("NEARLY_ALL_DROPPED" in types(epochs_of(model))) == said


@pytest.mark.parametrize(
    ("momentum", "tracked", "said"),
    [
        (0.001, 0, {"BATCH_STATISTICS_BEHIND"}),
        (0.1, 0, set()),
        (None, 0, set()),
        (0.001, 5000, set()),
        (0.9, 0, {"BATCH_STATISTICS_OF_LAST_BATCH"}),
    ],
)
def test_statistics_that_have_not_arrived_are_a_question(momentum, tracked, said):
    """Keras' momentum in PyTorch: the model that was evaluated was another one, and nothing was said."""
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16, momentum=momentum), nn.ReLU(), nn.Linear(16, 1))
    model[1].num_batches_tracked += tracked
    found = [one for one in epochs_of(model).findings() if one.type.startswith("BATCH_STATISTICS")]
    assert {one.type for one in found} == said
    assert all(one.candidates and one.fix is None for one in found)


@pytest.mark.parametrize("dropout", [True, False])
def test_a_usual_loop_has_no_finding_on_modes(dropout):
    tracker = epochs_of(network(dropout), 12)
    assert not types(tracker) & {"TRAINED_IN_EVAL_MODE", "VALIDATED_IN_TRAIN_MODE"}
    figures = tracker.summary()
    assert math.isnan(figures["held_out_in_training"]) != dropout


def stepped(model):
    """Any training of all the weights."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)

    def step(number):
        optimizer.zero_grad()
        sum(p.square().sum() for p in model.parameters()).backward()
        optimizer.step()

    return trained(step, model, optimizer, 8)


@pytest.mark.parametrize("alike", ["list", "names"])
def test_a_layer_listed_twice_is_a_low_question(alike):
    layer = nn.Linear(6, 6)
    model = nn.Sequential(*[layer] * 2, nn.Linear(6, 1))
    if alike == "names":
        model = nn.Module()
        model.first = model.second = layer
    found = [f for f in stepped(model).findings() if f.type == "SHARED_PARAMETERS"]
    assert [(f.severity, f.fix) for f in found] == [("low", None)]


@pytest.mark.parametrize("kind", ["tied", "alias", "activation"])
def test_tied_matrices_aliases_and_activations_are_not_listed_twice(kind):
    model = nn.Module()
    model.table, model.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
    if kind == "tied":
        model.head.weight = model.table.weight
    if kind == "alias":
        model.all = nn.Sequential(model.table, model.head)
    if kind == "activation":
        relu = nn.ReLU()
        model.stack = nn.Sequential(relu, nn.Linear(4, 4), relu)
    assert stepped(model).summary()["shared_modules"] == 0


def test_losses_that_repeat_with_epochs_are_found():
    """Rows sorted by their target: a divergence was claimed, and a tenth of the rate prescribed."""
    wave = [1.0, 1.5, 2.0, 1.4, 1.1, 0.9, 1.6, 1.2, 0.8, 0.7, 1.3, 1.0]
    tracker = epochs_of(network(), order=lambda epoch, batch: wave[batch] + 0.05 * math.sin(epoch * 7 + batch))
    assert "LOSS_REPEATS_WITH_EPOCHS" in types(tracker)


def test_a_smaller_last_batch_is_no_order_of_the_rows():
    """A contrastive loss over 20 rows is lower than one over 128, at the end of each epoch; rows were shuffled."""
    torch.manual_seed(3)
    noise = torch.rand(8, BATCHES).tolist()
    tracker = epochs_of(
        network(),
        order=lambda epoch, batch: (1.0 if batch == BATCHES - 1 else 2.0) + 0.05 * noise[epoch][batch],
    )
    assert "LOSS_REPEATS_WITH_EPOCHS" not in types(tracker)


@pytest.mark.parametrize("shape", ["noise", "falls", "constant"])
def test_losses_of_shuffled_rows_do_not_repeat(shape):
    torch.manual_seed(3)
    noise = torch.rand(8, BATCHES).tolist()

    def loss(epoch, batch):
        at = epoch * BATCHES + batch
        level = 2 * math.exp(-at / 40) + 0.5 if shape == "falls" else 1.0
        return level * (1 + (0.0 if shape == "constant" else 0.3) * (noise[epoch][batch] - 0.5))

    assert "LOSS_REPEATS_WITH_EPOCHS" not in types(epochs_of(network(), order=loss))


@pytest.mark.parametrize(("momentum", "said"), [(0.999, True), (0.9, False)])
def test_a_momentum_near_one_is_found(momentum, said):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.003, momentum=momentum)
    tracker = FlowTracker(model, optimizer)
    for number in range(200):
        optimizer.zero_grad()
        loss = loss_of(model, number)
        loss.backward()
        optimizer.step()
        tracker.step(loss)
    assert ("MOMENTUM_TOO_HIGH" in types(tracker)) == said
