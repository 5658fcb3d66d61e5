import copy
import io
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from torch import nn

from flowgrad import EmbeddingTracker
from flowgrad.evidence.ledger import Ledger
from flowgrad.report import from_xml
from flowgrad.rules import RuleBook
from flowgrad.testing import EXAMPLES, Example, Ratings, TrackerContract, healthy, seeded, zombie
from flowgrad.trackers.embedding.probes import FIRST_PROBES

ROWS, DIM = 12, 4
RULES = RuleBook.load()


def ids(step, size=10, low=0):
    """The batch of one step, repeats included; row 11 is never in it."""
    return torch.from_numpy(np.random.default_rng([7, step]).integers(low, ROWS - 1, size))


class Table(nn.Module):
    """A layer under test, with dropout so that a run depends on torch's global generator."""

    def __init__(self, layer):
        super().__init__()
        self.table = layer
        self.dropout = nn.Dropout(0.25)
        self.head = nn.Linear(DIM, 1).to(layer.weight.dtype)

    def forward(self, *args, **kwargs):
        return self.head(self.dropout(self.table(*args, **kwargs)))


# --- the contract, for every layer and optimizer ---------------------------------------------------------------------


class EmbeddingContract(TrackerContract):
    steps = 4

    def layer(self):
        return nn.Embedding(ROWS, DIM)

    def make_model(self):
        return Table(self.layer())

    def make_optimizer(self, model):
        return torch.optim.Adam(model.parameters(), lr=0.1)

    def make_tracker(self, model):
        return EmbeddingTracker(model.table, rules=RULES)

    def watched(self, model):
        return model.table

    def loss(self, model, step):
        return (model(ids(step)) - 1).square().mean()


class SparseContract(EmbeddingContract):
    def layer(self):
        return nn.Embedding(ROWS, DIM, sparse=True)


class BagContract(EmbeddingContract):
    def layer(self):
        return nn.EmbeddingBag(ROWS, DIM, mode="sum")

    def loss(self, model, step):
        return (model(ids(step), torch.tensor([0, 3, 3, 7])) - 1).square().mean()


class TestDenseAdam(EmbeddingContract):
    pass


class TestDenseSgd(EmbeddingContract):
    def make_optimizer(self, model):
        return torch.optim.SGD(model.parameters(), lr=0.1)


class TestDenseMomentum(EmbeddingContract):
    def make_optimizer(self, model):
        return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)


class TestDenseAdagrad(EmbeddingContract):
    def make_optimizer(self, model):
        return torch.optim.Adagrad(model.parameters(), lr=0.1)


class TestSparseAdam(SparseContract):
    def make_optimizer(self, model):
        return torch.optim.SparseAdam(model.table.parameters(), lr=0.1)


class TestSparseSgd(SparseContract):
    def make_optimizer(self, model):
        return torch.optim.SGD(model.parameters(), lr=0.1)


class TestSparseAdagrad(SparseContract):
    def make_optimizer(self, model):
        return torch.optim.Adagrad(model.parameters(), lr=0.1)


class TestBagSum(BagContract):
    pass


class TestBagMeanTwoDimensional(BagContract):
    def layer(self):
        return nn.EmbeddingBag(ROWS, DIM, mode="mean")

    def loss(self, model, step):
        return (model(ids(step).reshape(5, 2)) - 1).square().mean()


class TestBagSparse(BagContract):
    def layer(self):
        return nn.EmbeddingBag(ROWS, DIM, mode="sum", sparse=True)

    def make_optimizer(self, model):
        return torch.optim.SGD(model.parameters(), lr=0.1)


class TestPaddingRow(EmbeddingContract):
    def layer(self):
        return nn.Embedding(ROWS, DIM, padding_idx=3)


class TestMaxNorm(EmbeddingContract):
    def layer(self):
        return nn.Embedding(ROWS, DIM, max_norm=0.5)


class TestFloat64(EmbeddingContract):
    def layer(self):
        return nn.Embedding(ROWS, DIM, dtype=torch.float64)


class TestNoGradientWanted(EmbeddingContract):
    def layer(self):
        return nn.Embedding(ROWS, DIM).requires_grad_(False)


# --- what a lookup is ------------------------------------------------------------------------------------------------


def tracked(layer, **arguments):
    return EmbeddingTracker(layer, rules=RULES, **arguments)


def exposures(tracker):
    return tracker.row_table()["exposures"].tolist()


def lookups(tracker):
    """All that were seen, also where they say nothing yet."""
    return tracker.measurements().coverage.seen["lookups"]


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("sparse", [False, True])
def test_exposures_count_repeats_within_a_batch_exactly(dtype, sparse):
    """int32 ids, which nn.Embedding takes, used to end the run with a RuntimeError in `step()`."""
    layer = nn.Embedding(ROWS, DIM, sparse=sparse)
    tracker = tracked(layer)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    batches = [ids(step, size=40).to(dtype) for step in range(FIRST_PROBES)]
    for batch in batches:
        optimizer.zero_grad()
        layer(batch.reshape(4, 10)).sum().backward()
        optimizer.step()
        tracker.step()
    counts = np.bincount(np.concatenate(batches), minlength=ROWS).tolist()
    assert exposures(tracker) == counts
    # The first steps are all probed, and every lookup in them counts, as an exposure does.
    assert tracker.row_table()["move_steps"].tolist() == counts
    assert tracker.row_table()["gradient_steps"].tolist() == counts
    assert tracker.dead_embeddings() == [11]
    assert tracker.popularity_bias()["coverage"] == pytest.approx(11 / 12)


@pytest.mark.parametrize("form", ["offsets", "keywords", "2d"])
def test_exposures_of_bags(form):
    layer = nn.EmbeddingBag(ROWS, DIM)
    tracker = tracked(layer)
    flat, offsets = torch.tensor([1, 1, 2, 5, 5, 5]), torch.tensor([0, 2, 2])
    if form == "offsets":
        layer(flat, offsets)
    elif form == "keywords":
        layer(offsets=offsets, input=flat)
    else:
        layer(flat.reshape(3, 2))
    tracker.step()
    assert exposures(tracker) == np.bincount(flat, minlength=ROWS).tolist()


def test_lookups_without_training_do_not_count():
    layer = nn.Embedding(ROWS, DIM)
    tracker = tracked(layer)
    batch = torch.tensor([1, 2])
    with torch.no_grad():
        layer(batch)
    with torch.inference_mode():
        layer(batch)
    layer.eval()
    layer(batch)
    layer.train()
    tracker.step()
    assert lookups(tracker) == 0
    layer(batch)
    tracker.step()
    assert sum(exposures(tracker)) == lookups(tracker) == 2


def test_lookups_that_no_step_follows_say_nothing():
    """They count at once; what they came to nobody knows until the step, and after `detach()` nobody will."""
    layer = nn.Embedding(ROWS, DIM)
    tracker = tracked(layer)
    layer(torch.tensor([1, 2, 2])).sum().backward()
    table = tracker.row_table()
    assert lookups(tracker) == 3
    for column in ("exposures", "gradient_steps", "move_steps", "velocity"):
        assert table[column].isna().all(), column
    assert named(tracker)["frozen_rows"] == named(tracker)["stuck_rows"] == []
    tracker.detach()
    tracker.step()
    tracker.end_epoch()
    assert tracker.row_table().equals(table)
    assert tracker.measurements().scalars["steps"] == 0
    layer(torch.tensor([1, 2, 2]))
    assert tracker.row_table().equals(table)


def test_lookups_of_a_step_that_was_skipped_belong_to_the_next():
    """As where a gradient scaler skips the optimizer's step, and the loop the tracker's."""
    layer = nn.Embedding(ROWS, DIM, dtype=torch.float64)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    tracker = tracked(layer)
    for batch, skipped in (([1, 2], True), ([2, 3], False)):
        optimizer.zero_grad()
        layer(torch.tensor(batch)).sum().backward()
        if not skipped:
            optimizer.step()
            tracker.step()
    table = tracker.row_table()
    assert table["exposures"].tolist()[:5] == [0, 1, 2, 1, 0]
    assert table["gradient_steps"].tolist()[:5] == [0, 0, 2, 1, 0]
    assert table["move_steps"].tolist()[:5] == [0, 0, 2, 1, 0]
    assert table["velocity"].tolist()[1:4] == pytest.approx([0, 0.5 * DIM**0.5, 0.5 * DIM**0.5])


def test_an_empty_batch_is_no_error():
    layer = nn.Embedding(ROWS, DIM)
    tracker = tracked(layer)
    layer(torch.empty(0, dtype=torch.long))
    tracker.step()
    assert lookups(tracker) == 0
    assert tracker.measurements().scalars["steps"] == 1


def test_lookups_of_one_step_are_taken_together():
    """Gradient accumulation, or positive and negative items: one step, and every lookup of a row saw its one move."""
    layer = nn.Embedding(ROWS, DIM, dtype=torch.float64)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    tracker = tracked(layer)
    start = layer.weight.detach().clone()
    for batch in ([1, 1, 2], [2, 3]):
        layer(torch.tensor(batch)).sum().backward()
    optimizer.step()
    tracker.step()
    table = tracker.row_table()
    assert table["exposures"].tolist()[:5] == [0, 2, 2, 1, 0]
    assert table["move_steps"].tolist()[:5] == [0, 2, 2, 1, 0]
    assert table["gradient_steps"].tolist()[:5] == [0, 2, 2, 1, 0]
    path = (layer.weight.detach() - start).norm(dim=1).tolist()
    assert table["velocity"].tolist()[1:4] == pytest.approx(path[1:4])
    saliency = tracker.frequency_aware_saliency()
    assert saliency.name == "saliency"
    assert saliency.equals(table["velocity"].rename("saliency"))
    assert np.isnan(saliency[0])


def test_padding_is_no_row():
    layer = nn.Embedding(ROWS, DIM, padding_idx=-1)
    tracker = tracked(layer)
    layer(torch.tensor([1, ROWS - 1, ROWS - 1])).sum().backward()
    tracker.step()
    measured = tracker.measurements()
    assert ROWS - 1 not in measured.tables["rows"].index
    assert measured.scalars["rows"] == measured.scalars["followed_rows"] == ROWS - 1
    assert measured.scalars["total_exposures"] == 1
    assert ROWS - 1 not in tracker.dead_embeddings()


def test_renormalisation_by_max_norm_is_no_move():
    """The layer shortens the rows that it looks up; velocity is what the optimizer did after that."""
    layer = nn.Embedding(ROWS, DIM, max_norm=0.1)
    tracker = tracked(layer)
    for _ in range(3):
        layer(torch.tensor([1, 2]))
        tracker.step()
    assert tracker.row_table()["move_steps"].sum() == 0


def test_other_layers_are_refused():
    with pytest.raises(TypeError, match=r"watches nn\.Embedding or nn\.EmbeddingBag, got Linear"):
        EmbeddingTracker(nn.Linear(2, 2))


def test_facts_are_checked():
    tracker = tracked(nn.Embedding(ROWS, DIM))
    tracker.observe(in_batch_negatives=1, sampling_correction=0.5)
    assert tracker.measurements().scalars["in_batch_negatives"] == 1
    with pytest.raises(ValueError, match="unknown fact 'in_batch_negative'"):
        tracker.observe(in_batch_negative=1)


# --- rows that do not learn ------------------------------------------------------------------------------------------

FROZEN = [1, 4]


def one_run(layer, optimizer, clear=None, mask_gradient=False, steps=6, model=None):
    """Every row but 11 looked up at every step; `clear` is what the loop does before it tells the tracker."""
    tracker = tracked(layer)
    batch = torch.arange(ROWS - 1)
    for _ in range(steps):
        optimizer.zero_grad()
        (layer(batch) - 1).square().sum().backward()
        if mask_gradient:
            layer.weight.grad[FROZEN] = 0
        optimizer.step()
        if clear is not None:
            (model or optimizer).zero_grad(set_to_none=clear)
        tracker.step()
    return tracker


def named(tracker):
    book, measured = tracker.rule_book, tracker.measurements()
    return {rule: book.select(rule, measured).index.tolist() for rule in ("dead_rows", "frozen_rows", "stuck_rows")}


def mask(gradient):
    gradient = gradient.clone()
    gradient[FROZEN] = 0
    return gradient


@pytest.mark.parametrize("clear", [None, True, False])
@pytest.mark.parametrize("registered", ["before", "after"])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "Adagrad"])
def test_rows_whose_gradient_is_masked_by_a_hook_are_frozen(optimizer, registered, clear):
    layer = nn.Embedding(ROWS, DIM)
    if registered == "before":
        layer.weight.register_hook(mask)
    made = getattr(torch.optim, optimizer)(layer.parameters(), lr=0.1)
    tracker = tracked(layer)
    if registered == "after":
        layer.weight.register_hook(mask)
    batch = torch.arange(ROWS - 1)
    for _ in range(6):
        made.zero_grad()
        (layer(batch) - 1).square().sum().backward()
        made.step()
        if clear is not None:
            made.zero_grad(set_to_none=clear)
        tracker.step()
    assert named(tracker) == {"dead_rows": [11], "frozen_rows": FROZEN, "stuck_rows": []}


def test_rows_whose_gradient_is_masked_in_place_are_frozen():
    layer = nn.Embedding(ROWS, DIM)
    tracker = one_run(layer, torch.optim.Adam(layer.parameters()), mask_gradient=True)
    assert named(tracker) == {"dead_rows": [11], "frozen_rows": FROZEN, "stuck_rows": []}


@pytest.mark.parametrize("clear", [True, False])
def test_rows_masked_in_place_and_cleared_at_once_are_not_taken_for_healthy(clear):
    """The gradient can only be seen before the mask then, so they look stuck: it comes, and they do not move."""
    layer = nn.Embedding(ROWS, DIM)
    tracker = one_run(layer, torch.optim.Adam(layer.parameters()), clear, mask_gradient=True)
    assert named(tracker) == {"dead_rows": [11], "frozen_rows": [], "stuck_rows": FROZEN}


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("clear", [None, True])
def test_rows_that_the_optimizer_does_not_hold_are_stuck(clear, sparse):
    """A loop that cleared the whole model's gradients before `step()` used to have its stuck table called frozen."""
    layer, other = nn.Embedding(ROWS, DIM, sparse=sparse), nn.Embedding(ROWS, DIM)
    tracker = one_run(layer, torch.optim.SGD(other.parameters(), lr=0.1), clear, model=layer)
    assert named(tracker) == {"dead_rows": [11], "frozen_rows": [], "stuck_rows": list(range(11))}


def test_a_table_that_wants_no_gradient_is_frozen_on_purpose():
    """Rows of a table with `requires_grad=False` were said to have their gradient masked."""
    layer, other = nn.Embedding(ROWS, DIM).requires_grad_(False), nn.Linear(DIM, 1)
    tracker = tracked(layer)
    for _ in range(20):
        other(layer(torch.arange(4))).sum().backward()
        tracker.step()
    assert named(tracker)["frozen_rows"] == named(tracker)["stuck_rows"] == []
    assert tracker.findings() == ()
    assert "on purpose" in tracker.measurements().coverage.unseen["gradient"]


def test_a_table_that_wants_no_gradient_may_move():
    """A table kept as a moving average: `step()` used to raise RuntimeError, for no hook can stand on its weight."""
    layer = nn.Embedding(ROWS, DIM).requires_grad_(False)
    tracker = tracked(layer)
    for _ in range(3):
        layer(torch.arange(4))
        layer.weight.mul_(0.9)
        tracker.step()
    assert tracker.row_table()["move_steps"].tolist() == [1] * 12  # seen to stand elsewhere, and not probed
    assert tracker.dead_embeddings() == []
    assert named(tracker)["frozen_rows"] == []


def test_a_sparse_gradient_that_is_never_cleared_counts_for_the_rows_looked_up_alone():
    """Rows of earlier batches, still in the gradient, used to count a gradient step at every later step."""
    layer = nn.Embedding(ROWS, DIM, sparse=True)
    tracker = tracked(layer)
    for row in range(4):
        layer(torch.tensor([row])).sum().backward()
        tracker.step()
    assert tracker.row_table()["gradient_steps"].tolist() == [1] * 4 + [0] * 8


@pytest.mark.parametrize("clear", [True, False])
@pytest.mark.parametrize("sparse", [True, False])
def test_gradients_are_counted_in_loops_that_clear_them_first(clear, sparse):
    """The first step, at which the tracker learned of it, used to be missed."""
    layer = nn.Embedding(ROWS, DIM, sparse=sparse)
    tracker = one_run(layer, torch.optim.Adagrad(layer.parameters()), clear, steps=6)
    assert set(tracker.row_table()["gradient_steps"][:11]) == {6}
    assert set(tracker.row_table()["move_steps"][:11]) == {6}


# --- the name --------------------------------------------------------------------------------------------------------


class Holder:
    def __init__(self):
        self.item_emb = nn.Embedding(3, 2)
        self.name = EmbeddingTracker(self.item_emb).name
        self.tables = [self.item_emb]
        self.subscript = EmbeddingTracker(self.tables[0]).name


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.item_emb = nn.Embedding(3, 2)
        self.tables = nn.ModuleDict({"user": nn.Embedding(3, 2)})


def test_name_is_the_callers():
    model = Model()
    table = nn.Embedding(3, 2)
    assert EmbeddingTracker(model.item_emb).name == "item_emb"
    assert EmbeddingTracker(table).name == "table"
    assert EmbeddingTracker(layer=model.item_emb).name == "item_emb"
    assert EmbeddingTracker(rules=RULES, layer=table).name == "table"
    assert EmbeddingTracker(model.tables["user"]).name == "model.tables['user']"
    assert Holder().name == "item_emb"
    assert Holder().subscript == "tables[0]"
    assert (
        EmbeddingTracker(
            model.item_emb,
            rules=RULES,
        ).name
        == "item_emb"
    )
    é = [EmbeddingTracker(model.item_emb), EmbeddingTracker(table)]  # bytes and characters differ from here on
    assert [tracker.name for tracker in é] == ["item_emb", "table"]
    with EmbeddingTracker(model.item_emb) as tracker:
        assert tracker.name == "item_emb"
    assert EmbeddingTracker(model.item_emb, name="items").name == "items"
    assert EmbeddingTracker(model.item_emb, "items").name == "items"
    assert EmbeddingTracker(nn.Embedding(3, 2)).name.startswith("embedding")


def test_name_of_an_expression_without_one_comes_from_the_variables():
    model = Model()
    tracker = EmbeddingTracker(next(model.children()))
    assert tracker.name == "item_emb"


def test_name_stands_in_the_report():
    model = Model()
    assert 'layer="item_emb"' in EmbeddingTracker(model.item_emb, rules=RULES).to_agent_xml()


SOURCELESS = """
    import torch
    from torch.nn import Embedding, Module
    from flowgrad import EmbeddingTracker
    class Model(Module):
        def __init__(self):
            super().__init__()
            self.item_emb = Embedding(3, 2)
    model = Model()
    found = EmbeddingTracker(model.item_emb).name
"""


def test_name_without_source_comes_from_the_variables():
    """A class of modules among the variables used to end in a TypeError: `Module.named_modules() missing self`."""
    scope = {"__name__": "elsewhere"}
    exec(textwrap.dedent(SOURCELESS), scope)
    assert scope["found"] == "item_emb"


def test_name_under_python_c():
    code = textwrap.dedent(SOURCELESS) + "print(found)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "item_emb"


# --- copies ----------------------------------------------------------------------------------------------------------


def deep(model):
    return copy.deepcopy(model)


def pickled(model):
    return pickle.loads(pickle.dumps(model))


def saved(model):
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("way", [deep, pickled, saved])
@pytest.mark.parametrize("clear", [None, True])
def test_copies_of_a_tracked_model_do_not_feed_the_tracker(way, clear):
    model = Table(nn.Embedding(ROWS, DIM))
    tracker = one_run(model.table, torch.optim.SGD(model.parameters(), lr=0.1), clear)
    before = tracker.measurements()
    twin = way(model)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        twin(torch.tensor([11])).sum().backward()
        optimizer.step()
    assert torch.equal(twin.state_dict()["table.weight"][:11], model.table.weight[:11])
    tracker.step()
    assert tracker.row_table().equals(before.tables["rows"])
    assert tracker.dead_embeddings() == [11]
    model.table(torch.tensor([11]))
    tracker.step()
    assert tracker.dead_embeddings() == []


def test_a_copy_can_be_tracked_itself():
    model = Table(nn.Embedding(ROWS, DIM))
    first = tracked(model.table)
    twin = copy.deepcopy(model)
    second = tracked(twin.table)
    twin.table(torch.tensor([1, 1]))
    first.step()
    second.step()
    assert (lookups(first), lookups(second)) == (0, 2)


# --- weights out of the ordinary --------------------------------------------------------------------------------------


def test_rows_that_become_nan_are_counted_and_break_nothing():
    layer = nn.Embedding(ROWS, DIM)
    tracker = tracked(layer)
    for step in range(40):
        layer(torch.tensor([1, 2])).sum().backward()
        with torch.no_grad():
            layer.weight[2] += float("nan") if step == 20 else 0.1
        tracker.step()
    assert tracker.measurements().scalars["nonfinite_rows"] == 1
    assert "nonfinite_rows" in tracker.to_agent_xml()
    (found,) = [one for one in tracker.findings() if one.rule_id == "nonfinite_rows"]
    assert (found.type, found.action, found.fix) == ("NONFINITE_EMBEDDINGS", "CHECK_CANDIDATES", None)


# --- a stranger's loop -----------------------------------------------------------------------------------------------


def factorise(lr, seed=0, marks=(200,), by_epoch=False, batch_size=256):
    """A user of the library with ratings of his own; what it tells him after each number of steps in `marks`."""
    generator = np.random.default_rng(seed)
    users, items, count = 300, 200, 12000
    truth = generator.normal(scale=0.8, size=(users + items, 3))
    user, item = generator.integers(users, size=count), generator.integers(items, size=count)
    rating = 3.5 + (truth[user] * truth[users + item]).sum(axis=1) + generator.normal(scale=0.7, size=count)
    user, item = torch.from_numpy(user), torch.from_numpy(item)
    rating = torch.from_numpy(rating - rating.mean()).float()

    class Factorisation(nn.Module):
        def __init__(self):
            super().__init__()
            self.user_emb, self.item_emb = nn.Embedding(users, 8), nn.Embedding(items, 8)
            for table in (self.user_emb, self.item_emb):
                nn.init.normal_(table.weight, std=0.1)

        def forward(self, user, item):
            return (self.user_emb(user) * self.item_emb(item)).sum(dim=1)

    told = {}
    with seeded(seed):
        model = Factorisation()
        optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        tracker = EmbeddingTracker(model.item_emb)
        done = 0
        while True:
            for batch in torch.randperm(count).split(batch_size):
                optimizer.zero_grad()
                nn.functional.mse_loss(model(user[batch], item[batch]), rating[batch]).backward()
                optimizer.step()
                tracker.step()
                done += 1
                if done in marks:
                    told[done] = tracker.to_agent_xml()
                if done == max(marks):
                    return told
            if by_epoch:
                tracker.end_epoch()


def types(text):
    return [finding.type for finding in from_xml(text).findings]


# Batches of 256 show the epochs by a smaller last one; batches of 250 divide the ratings and show nothing.
LOOPS = pytest.mark.parametrize(("by_epoch", "batch_size"), [(False, 250), (False, 256), (True, 250)])


@LOOPS
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_learning_rate_far_too_high_is_found(seed, by_epoch, batch_size):
    for text in factorise(1.0, seed, (60, 200, 500), by_epoch, batch_size).values():
        report = from_xml(text)
        assert report.layer == "item_emb"
        found = next(finding for finding in report.findings if finding.type == "ZOMBIE_EMBEDDINGS")
        assert found.severity == "high"
        assert found.action == "DECREASE_LEARNING_RATE"
        assert "%" in found.premise
        assert found.implies
        assert found.expected_effect
        known = Ledger.load().confidence(found.rule, found.rule_sha256)
        assert (found.confidence.trials, found.confidence.confirmed) == (known.trials, known.confirmed)
        assert found.confidence.value == pytest.approx(known.value, rel=1e-5)
        assert found.rows.count > 100


@LOOPS
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_sensible_learning_rate_is_not_blamed(seed, by_epoch, batch_size):
    for text in factorise(0.01, seed, (60, 200, 500), by_epoch, batch_size).values():
        assert types(text) == []


def test_the_finding_reads_as_xml():
    text = factorise(1.0)[200]
    start = text.index('<causal_model type="ZOMBIE_EMBEDDINGS"')
    finding = text[start : text.index("</causal_model>", start)]
    for element in ("premise", "implies", "action", "expected_effect", "confidence"):
        assert f"<{element}" in finding


@pytest.mark.parametrize("by_epoch", [False, True])
def test_a_run_that_ends_with_its_first_epoch_is_judged_too(by_epoch):
    """An epoch has 47 steps; a run that ended between the first one's end and the second's used to be told nothing."""
    marks = (47, 48, 93)
    assert all("ZOMBIE_EMBEDDINGS" in types(text) for text in factorise(1.0, 0, marks, by_epoch).values())
    assert all(types(text) == [] for text in factorise(0.01, 0, marks, by_epoch).values())


@pytest.mark.parametrize("make", EXAMPLES)
@pytest.mark.parametrize("by_epoch", [False, True])
def test_examples_are_what_they_say(make, by_epoch):
    example = make(0)
    told = None if example.finding == "STUCK_EMBEDDINGS" else example.optimizer  # told, it is known why they are stuck
    tracker = EmbeddingTracker(example.run.model.item_emb, rules=RULES, optimizer=told)
    example.train(200, tracker, by_epoch=by_epoch)
    found = [finding.type for finding in tracker.findings() if finding.type != "FEW_ROWS_LOOKED_UP"]
    assert found[:1] == ([] if example.finding is None else [example.finding])


@pytest.mark.parametrize(
    ("optimizer", "sparse", "lr", "steps"),
    # Adagrad shortens its own steps: what began in a noise ball has left it a few hundred steps later.
    [("SparseAdam", True, 1.0, 300), ("SGD", False, 10.0, 300), ("Adagrad", False, 3.0, 60)],
)
def test_other_optimizers_too_fast_are_found(optimizer, sparse, lr, steps):
    run = Ratings(0, sparse=sparse)
    example = Example(run, getattr(torch.optim, optimizer)(run.model.parameters(), lr=lr), "ZOMBIE_EMBEDDINGS")
    tracker = EmbeddingTracker(run.model.item_emb, rules=RULES)
    example.train(steps, tracker)
    assert example.finding in [finding.type for finding in tracker.findings()]


def test_the_rows_named_tell_the_sick_from_the_healthy():
    shares = []
    for make in (healthy, zombie):
        example = make(1)
        tracker = EmbeddingTracker(example.run.model.item_emb, rules=RULES)
        example.train(300, tracker)
        shares.append(tracker.summary()["zombie_share"])
    assert shares[0] < 0.1
    assert shares[1] > 0.9


def test_a_table_that_left_the_range_of_numbers_is_found():
    """SGD with a huge learning rate turned a table into NaN, and no rule read `nonfinite_rows`."""
    table = nn.Embedding(4, 2)
    tracker = EmbeddingTracker(table)
    table(torch.tensor([0, 1])).sum().backward()
    with torch.no_grad():
        table.weight[1, 0] = float("nan")
    tracker.step()
    assert tracker.findings()[0].type == "NONFINITE_EMBEDDINGS"


@pytest.mark.parametrize("rows", [1, 2, 9])
def test_a_table_of_few_rows_has_not_collapsed(rows):
    """The effective rank was divided by the columns, though it cannot exceed the rows."""
    torch.manual_seed(0)
    table = nn.Embedding(rows, 64)
    optimizer = torch.optim.Adam(table.parameters(), lr=0.005)
    tracker = EmbeddingTracker(table)
    target = torch.randn(rows, 64)
    for _ in range(40):
        optimizer.zero_grad()
        (table(torch.arange(rows)) - target).square().mean().backward()
        optimizer.step()
        tracker.step()
    assert "REPRESENTATION_COLLAPSE" not in {finding.type for finding in tracker.findings()}


def test_nothing_seen_is_nothing_found():
    """Before the first step every row counted as dead."""
    assert EmbeddingTracker(nn.Embedding(4, 2)).findings() == ()
