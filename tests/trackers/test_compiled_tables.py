"""Tables in compiled, exported, traced and scripted models."""

import pytest
import torch
from torch import nn

from flowgrad import EmbeddingTracker

ROWS, DIM = 30, 4


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(ROWS, DIM)
        self.head = nn.Linear(DIM, 1)

    def forward(self, ids):
        return self.head(self.emb(ids)).sum(-1)


@pytest.fixture(autouse=True)
def nothing_compiled():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def train(network, model, trackers=(), steps=5):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(steps):
        optimizer.zero_grad()
        network(torch.arange(6) + step).square().mean().backward()
        optimizer.step()
        for tracker in trackers:
            tracker.step()


def counted(tracker):
    table = tracker.row_table()
    return table["exposures"].sum(), (table["gradient_steps"] > 0).sum(), (table["move_steps"] > 0).sum()


@pytest.mark.parametrize("attach_first", [True, False])
def test_lookups_in_a_full_graph_are_counted(attach_first):
    """`fullgraph=True` raised an error, for the hook broke the graph."""
    torch.manual_seed(0)
    model, bare = Net(), Net()
    bare.load_state_dict(model.state_dict())
    tracker = EmbeddingTracker(model.emb) if attach_first else None
    network = torch.compile(model, fullgraph=True, backend="aot_eager")
    tracker = tracker or EmbeddingTracker(model.emb)
    train(network, model, [tracker])
    train(torch.compile(bare, fullgraph=True, backend="aot_eager"), bare)
    assert counted(tracker) == (30, 10, 10)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), bare.parameters(), strict=True))


def test_a_graph_that_serves_two_models_counts_for_each_on_its_own():
    """The second model of a class runs what was compiled for the first, whose hook stood in it."""
    trackers = []
    for steps in (3, 5):
        model = Net()
        trackers.append(EmbeddingTracker(model.emb, name=str(steps)))
        train(torch.compile(model, backend="aot_eager"), model, trackers[-1:], steps)
    assert [counted(tracker)[0] for tracker in trackers] == [18, 30]


def test_two_trackers_of_one_compiled_table_count_alike():
    model = Net()
    pair = [EmbeddingTracker(model.emb, name=name) for name in "ab"]
    train(torch.compile(model, fullgraph=True, backend="aot_eager"), model, pair)
    assert [counted(tracker)[0] for tracker in pair] == [30, 30]


def test_compiled_evaluation_does_not_count():
    model = Net()
    tracker = EmbeddingTracker(model.emb)
    network = torch.compile(model, fullgraph=True, backend="aot_eager")
    train(network, model, [tracker])
    with torch.no_grad():
        network(torch.arange(6))
        model.eval()
        network(torch.arange(6))
    assert counted(tracker)[0] == 30


def test_a_second_compiled_model_whose_first_was_not_tracked_is_said_to_be_unseen():
    first, second = Net(), Net()
    train(torch.compile(first, backend="aot_eager"), first)
    tracker = EmbeddingTracker(second.emb)
    train(torch.compile(second, backend="aot_eager"), second, [tracker])
    coverage = tracker.measurements().coverage
    assert coverage.seen["lookups"] == 30 or "shares its class with one that was" in coverage.blind


def test_a_detached_tracker_counts_no_more():
    model = Net()
    tracker = EmbeddingTracker(model.emb)
    network = torch.compile(model, backend="aot_eager")
    train(network, model, [tracker])
    tracker.detach()
    train(network, model)
    assert counted(tracker)[0] == 30


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("how", ["export", "trace"])
def test_what_is_exported_or_traced_runs_without_the_tracker(how, training):
    """Counting was traced as well: into constants, or it ended the export with an error."""
    model = Net().train(training)
    tracker = EmbeddingTracker(model.emb)
    ids = torch.arange(4)
    made = torch.export.export(model, (ids,)).module() if how == "export" else torch.jit.trace(model, (ids,))
    assert "flowgrad" not in str(made.graph)
    assert "scatter" not in str(made.graph)
    assert torch.equal(made(ids), model.eval()(ids))
    assert tracker.measurements().coverage.seen["lookups"] == 0


@pytest.mark.parametrize("training", [True, False])
def test_scripting_says_that_the_tracker_is_to_be_detached_first(training):
    model = Net().train(training)
    tracker = EmbeddingTracker(model.emb)
    with pytest.raises(AttributeError, match=r"torch.jit.script cannot compile its hook; call detach\(\)"):
        torch.jit.script(model)
    tracker.detach()
    assert torch.jit.script(model)(torch.arange(4)).shape == (4,)
