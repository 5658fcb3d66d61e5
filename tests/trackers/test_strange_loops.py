"""Loops and layers that are not the plain ones: watched as they should be, or refused; never disturbed."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from flowgrad import EmbeddingTracker
from flowgrad.rules import RuleBook
from flowgrad.testing import seeded
from flowgrad.trackers import TrackingStopped
from flowgrad.trackers.embedding.probes import MOST_PASSES

ROWS, DIM = 20, 4
RULES = RuleBook.load()
IDS = torch.arange(8)


def tracked(layer, **arguments):
    return EmbeddingTracker(layer, "table", RULES, **arguments)


def exposures(tracker):
    return tracker.row_table()["exposures"].tolist()


def train(layer, tracker, steps, forward=None, ids=IDS):
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        (forward or layer)(ids).square().sum().backward()
        optimizer.step()
        tracker.step()


def test_a_compiled_model_is_compiled_once():
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    layer = nn.Embedding(ROWS, DIM)
    tracker = tracked(layer)
    model = nn.Sequential(layer, nn.Linear(DIM, 1))
    torch._dynamo.reset()
    train(layer, tracker, 40, torch.compile(model, backend=backend))
    assert len(graphs) <= 2, "before and after the hook"
    assert exposures(tracker) == [40.0] * 8 + [0.0] * 12


@pytest.mark.parametrize("reentrant", [False, True])
def test_lookups_that_are_repeated_in_the_backward_pass_count_once(reentrant):
    layer, linear = nn.Embedding(ROWS, DIM), nn.Linear(DIM, DIM)
    tracker = tracked(layer)
    anchor = torch.zeros(1, requires_grad=True)  # what reentrant checkpointing needs to be part of a graph

    def block(ids, _):
        return linear(layer(ids)).relu()

    train(layer, tracker, 20, lambda ids: checkpoint(block, ids, anchor, use_reentrant=reentrant))
    assert exposures(tracker) == [20.0] * 8 + [0.0] * 12


def test_function_transforms_are_not_disturbed():
    layer = nn.Embedding(ROWS, DIM)
    tracker = tracked(layer)

    def loss(weight, ids):
        return torch.func.functional_call(layer, {"weight": weight}, (ids,)).square().sum()

    torch.func.grad(loss)(layer.weight.detach(), IDS)
    torch.func.vmap(layer)(IDS.reshape(4, 2))
    assert tracker.measurements().coverage.seen["lookups"] == 0
    train(layer, tracker, 3)
    assert sum(exposures(tracker)) == 24


def test_of_many_accumulated_passes_a_few_are_probed():
    layer = nn.Embedding(ROWS, DIM)
    tracker = tracked(layer)
    for _ in range(100):
        layer(IDS).square().sum().backward()
    assert len(tracker._probes._pending) == MOST_PASSES
    with torch.no_grad():
        layer.weight -= 0.1 * layer.weight.grad
    tracker.step()
    table = tracker.row_table().head(8)
    assert table["exposures"].tolist() == [100] * 8
    assert table["gradient_steps"].tolist() == table["move_steps"].tolist() == [MOST_PASSES] * 8


def test_what_was_made_under_inference_mode_can_be_written_to_later():
    layer = nn.Embedding(50, DIM)
    tracker = tracked(layer, sample=10)
    train(layer, tracker, 5)
    with torch.inference_mode():
        tracker.end_epoch()
    train(layer, tracker, 5)
    other = tracked(layer, sample=10)
    with torch.inference_mode():
        other.load_state_dict(tracker.state_dict())
    train(layer, other, 5)
    assert exposures(other)[:8] == [15] * 8


@pytest.mark.parametrize("change", [lambda layer: layer.half(), lambda layer: layer.to("meta")])
def test_a_table_that_was_converted_or_moved_is_named(change):
    layer = nn.Embedding(ROWS, DIM)
    tracker = tracked(layer)
    train(layer, tracker, 2)
    change(layer)
    if not layer.weight.is_meta:
        layer(IDS).float().square().sum().backward()
    with pytest.warns(
        TrackingStopped, match=r"table: the table was \(20, 4\) of torch.float32 on cpu when .* attach a new"
    ):
        tracker.step()
    assert tracker.to_report().status == "NOT_OBSERVED"


@pytest.mark.parametrize(
    "make",
    [
        nn.utils.parametrizations.spectral_norm,
        lambda layer: nn.utils.parametrizations.weight_norm(layer),
    ],
)
def test_a_computed_weight_is_refused(make):
    with pytest.raises(TypeError, match=r"the weight of this Parametrized.* is computed"):
        tracked(make(nn.Embedding(ROWS, DIM)))


def test_layers_that_look_up_something_else_are_refused():
    class Positions(nn.Embedding):
        def forward(self, tokens, past=0):
            return super().forward(torch.arange(past, past + tokens.shape[1]))

    with pytest.raises(TypeError, match=r"Positions.forward takes 'tokens' first"):
        tracked(Positions(ROWS, DIM))


def test_a_layer_that_only_adds_to_the_lookup_is_watched():
    class Scaled(nn.Embedding):
        def forward(self, input):
            return super().forward(input) * 2

    layer = Scaled(ROWS, DIM)
    tracker = tracked(layer)
    train(layer, tracker, 3)
    assert sum(exposures(tracker)) == 24


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sample": 10.0}, TypeError, "float"),
        ({"sample": 0}, ValueError, "sample=0"),
    ],
)
def test_mistakes_show_when_the_tracker_is_made(arguments, error, message):
    with pytest.raises(error, match=message):
        tracked(nn.Embedding(ROWS, DIM), **arguments)


@pytest.mark.parametrize("given", [{"auto_fix": True}, {"log": "x.csv"}])
def test_names_of_what_damped_gradients_warn(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.warns(DeprecationWarning, match="damping gradients did not help; leave them out"):
        tracker = tracked(nn.Embedding(ROWS, DIM), **given)
    train(tracker.layer, tracker, 2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("rows", "values", "message"),
    [([1, 25], [0.1, 0.2], "there is no row 25; the table has rows 0 to 19"), ([1], [0.1, 0.2], "1 rows and 2")],
)
def test_examples_that_do_not_fit_change_nothing(rows, values, message):
    tracker = tracked(nn.Embedding(ROWS, DIM))
    rows, values = np.array(rows), np.array(values)
    with pytest.raises(ValueError, match=message):
        tracker.observe_residuals(rows, values, biases=False)
    with pytest.raises(ValueError, match=message):
        tracker.observe_labels(rows, np.zeros(len(values), dtype=int), values)
    assert np.isnan(tracker.summary()["row_effect_f"])


def test_sums_over_ranks_last_until_the_next_step_also_after_an_epoch(monkeypatch):
    with seeded():
        layer = nn.Embedding(ROWS, DIM)
    tracker = tracked(layer)
    train(layer, tracker, 130)
    monkeypatch.setattr("flowgrad.trackers.embedding.ranks.world_size", lambda group=None: 2)
    monkeypatch.setattr("flowgrad.trackers.embedding.ranks.agree", lambda *arguments: True)
    monkeypatch.setattr("flowgrad.trackers.embedding.ranks.total", lambda tensor, group: 2 * tensor)
    monkeypatch.setattr("flowgrad.trackers.embedding.ranks.highest", lambda tensor, group: tensor)
    tracker.all_reduce()
    tracker.end_epoch()
    assert tracker.summary()["total_exposures"] == 2 * 8 * 130
    train(layer, tracker, 1)
    assert tracker.summary()["total_exposures"] == 8 * 131
