"""Whatever happens to a model while it trains, no tracker ends the training: one warning, and the report is blind."""

from __future__ import annotations

import threading
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from flowgrad.compression import apply_recipe
from flowgrad.compression.plans import LayerMask, PruningPlan, RowPlan, TableRows
from flowgrad.errors import FlowGradError
from flowgrad.integrations.model_loss import ModelLoss
from flowgrad.rules import RuleBook
from flowgrad.trackers import TrackingStopped, TrainingTracker
from flowgrad.trackers.batches import BatchTracker
from flowgrad.trackers.distillation import DistillationTracker
from flowgrad.trackers.embedding import EmbeddingTracker
from flowgrad.trackers.flow import FlowTracker
from flowgrad.trackers.squared_gradients import SquaredGradients

RULES = RuleBook.load()
ROWS, DIM = 30, 4


class Model(nn.Module):
    """A table and a small network behind it."""

    def __init__(self, sparse=False):
        super().__init__()
        self.emb = nn.Embedding(ROWS, DIM, sparse=sparse)
        self.body = nn.Sequential(nn.Linear(DIM, 6), nn.ReLU(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))

    def forward(self, ids):
        return self.body(self.emb(ids))


class Run:
    """A loop with every tracker of a network on it, or with none."""

    def __init__(self, watched=True, optimizer=torch.optim.SGD, **model):
        torch.manual_seed(3)
        self.teacher, self.model = Model(), Model(**model)
        self.optimizer = optimizer(self.model.parameters(), lr=0.1)
        self.trackers, self.at, self.squares = {}, 0, None
        self.ids = lambda at: torch.arange(at, at + 8) % ROWS
        self.loss_told = lambda loss: loss
        if watched:
            given = {"rules": RULES}
            self.squares = SquaredGradients(self.optimizer)
            self.trackers = {
                "table": EmbeddingTracker(self.model.emb, "table", optimizer=self.optimizer, **given),
                "network": FlowTracker(self.model, self.optimizer, **given),
                "blind": FlowTracker(self.model, name="without", **given),
                "student": DistillationTracker(self.teacher, self.model, optimizer=self.optimizer, **given),
                "batches": BatchTracker(optimizer=self.optimizer, **given),
                "losses": TrainingTracker(**given),
            }

    def step(self):
        self.look(*self.train_step())

    def train_step(self):
        self.at += 1
        ids = self.ids(self.at)
        self.optimizer.zero_grad()
        with torch.no_grad():
            wanted = self.teacher(ids).softmax(-1)
        out = self.model(ids)
        soft = nn.functional.kl_div(out.log_softmax(-1), wanted.to(out.dtype), reduction="batchmean")
        loss = soft + (out**2).sum() / 8
        loss.backward()
        self.optimizer.step()
        return ids, out, soft, self.loss_told(loss)

    def look(self, ids, out, soft, told):
        for kind, tracker in self.trackers.items():
            if kind == "table":
                tracker.step()
            elif kind == "batches":
                tracker.step(ids, None, outputs=out, loss=told)
            elif kind == "student":
                tracker.step(told, soft)
            else:
                tracker.step(told)
        if self.at % 9 == 0:
            for kind in ("table", "network", "batches"):
                if kind in self.trackers:
                    self.trackers[kind].end_epoch()

    def train(self, steps):
        for _ in range(steps):
            self.step()

    def weights(self):
        return [tensor.detach().clone() for tensor in (*self.model.parameters(), *self.model.buffers())]


def _empty(run):
    run.ids = lambda at: torch.zeros(0, dtype=torch.long)


def _prune(run):
    prune.random_unstructured(run.model.emb, "weight", 0.3)
    prune.l1_unstructured(run.model.body[0], "weight", 0.3)


def _parametrize(run):
    parametrizations.weight_norm(run.model.emb, "weight")
    parametrizations.weight_norm(run.model.body[2], "weight")


def _buffer(run):
    for layer in (run.model.emb, run.model.body[0]):
        held = layer.weight
        del layer.weight
        layer.register_buffer("weight", held.detach().clone())


def _recipe(run):
    keep = torch.ones(6, DIM, dtype=torch.bool)
    keep[0] = False
    plan = PruningPlan(0.2, "magnitude", None, (LayerMask("body.0.weight", (6, DIM), keep.numpy()),), 24)
    apply_recipe(run.model, plan, keep_masks=True, inplace=True)
    rows = RowPlan(0.9, "norm", (TableRows("emb.weight", (ROWS, DIM), (1, 2)),), ROWS)
    apply_recipe(run.model, rows, keep_masks=True, inplace=True)


def _permanent(run):
    prune.random_unstructured(run.model.emb, "weight", 0.3)
    prune.remove(run.model.emb, "weight")


def _double(run):
    run.model.double()


def _resized(run):
    run.model.emb.weight = nn.Parameter(torch.ones(ROWS + 5, DIM))
    run.model.body[4].weight = nn.Parameter(torch.ones(3, 6))


def _replaced(run):
    run.model.emb = nn.Embedding(ROWS, DIM)
    run.model.body[0] = nn.Linear(DIM, 6)
    with torch.no_grad():
        run.model.emb.weight.fill_(0.1)
        run.model.body[0].weight.fill_(0.1)
        run.model.body[0].bias.fill_(0.1)


def _deleted(run):
    held = run.model.emb.weight.detach().clone()
    del run.model.emb
    run.model.emb = lambda ids: held[ids]
    del run.model.body[2]


def _sparse(run):
    run.model.emb.sparse = not run.model.emb.sparse


def _groups(run):
    held = run.optimizer.param_groups[0]["params"]
    run.optimizer.param_groups[0]["params"] = held[:-1]
    run.optimizer.add_param_group({"params": [held[-1]], "lr": 0.05})
    run.optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], "lr": torch.tensor(0.1)})


def _no_groups(run):
    run.optimizer.param_groups.clear()


def _frozen(run):
    run.model.emb.weight.requires_grad_(False)
    run.model.body[0].requires_grad_(False)


def _cleared(run):
    for module in run.model.modules():
        module._forward_hooks.clear()


def _evaluated(run):
    run.model.eval()


def _no_bias(run):
    run.optimizer.param_groups[0]["params"] = [p for p in run.model.parameters() if p is not run.model.body[2].bias]
    run.model.body[2].bias = None


TABLE, NETWORK, STUDENT = {"table"}, {"network", "blind"}, {"student"}
EVENTS = {
    "empty": (_empty, set()),
    "prune": (_prune, TABLE | NETWORK),
    "parametrize": (_parametrize, TABLE | NETWORK | STUDENT),
    "buffer": (_buffer, TABLE | NETWORK | STUDENT),
    "recipe": (_recipe, TABLE | NETWORK),
    "permanent": (_permanent, set()),
    "double": (_double, TABLE | NETWORK),
    "resized": (_resized, TABLE | NETWORK | STUDENT),
    "replaced": (_replaced, set()),
    "deleted": (_deleted, set()),
    "sparse": (_sparse, set()),
    "groups": (_groups, set()),
    "no groups": (_no_groups, set()),
    "frozen": (_frozen, set()),
    "hooks": (_cleared, set()),
    "evaluated": (_evaluated, set()),
    "no bias": (_no_bias, NETWORK),
}
"""What happens, and whose watching ends by it."""


def _same(runs):
    for one, other in zip(*(run.weights() for run in runs), strict=True):
        assert torch.equal(one.nan_to_num(), other.nan_to_num())


@pytest.mark.parametrize("event", EVENTS)
def test_training_goes_on_bit_for_bit_whatever_happens_to_the_model(event):
    """A table under a mask ended in a KeyError of the forward pass, an empty batch in an IndexError of a ReLU's hook,
    and a converted model in a ValueError of `step`.
    """
    happens, ends = EVENTS[event]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        runs = [Run(watched) for watched in (True, False)]
        for run in runs:
            run.train(12)
            torch.manual_seed(0)
            happens(run)
            run.train(10)
    _same(runs)
    stopped = {name for name, tracker in runs[0].trackers.items() if tracker.stopped}
    assert stopped == ends
    assert len([one for one in warned if issubclass(one.category, TrackingStopped)]) == len(stopped)
    for name, tracker in runs[0].trackers.items():
        if name in ends:
            assert tracker.to_report().status == "NOT_OBSERVED"
            assert not tracker.findings()
            assert tracker.measurements().scalars["steps"] >= 12
            assert tracker.measurements().step <= 17
            assert "stopped watching at" in tracker.report()
            assert not any(
                hooks for hooks in (runs[0].optimizer._optimizer_step_pre_hooks,) if tracker in hooks.values()
            )
        else:
            tracker.report()
    held = [
        *runs[0].optimizer._optimizer_step_pre_hooks.values(),
        *runs[0].optimizer._optimizer_step_post_hooks.values(),
    ]
    assert not any(getattr(hook, "__self__", None) is runs[0].trackers[name] for hook in held for name in ends)


def test_what_was_seen_before_stays_as_it_was():
    """Figures of a tracker that stopped are of its steps: what the table is trained to later on is not in them."""
    run = Run()
    run.train(12)
    before = run.trackers["table"].measurements()
    _prune(run)
    with pytest.warns(TrackingStopped, match="table: EmbeddingTracker stopped watching at a forward pass, after 12"):
        run.train(1)
    run.train(20)
    after = run.trackers["table"].measurements()
    assert after.step == 12
    assert {name: after.scalars[name] for name in ("steps", "epochs")} == {"steps": 12.0, "epochs": 1.0}
    assert after.tables["rows"]["exposures"].equals(before.tables["rows"]["exposures"])
    assert run.trackers["table"].row_table()["norm"].equals(before.tables["rows"]["norm"])
    with pytest.raises(FlowGradError, match="stopped watching"):
        run.trackers["table"].dead_embeddings()


@pytest.mark.parametrize("kind", ["table", "network", "student", "batches", "losses"])
def test_a_checkpoint_of_a_tracker_that_stopped_says_so(kind):
    run, other = Run(), Run()
    run.train(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            raise RuntimeError("something\nelse")
        except RuntimeError as error:
            run.trackers[kind]._failed("step()", error)
    state = run.trackers[kind].state_dict()
    with pytest.warns(TrackingStopped, match="before the checkpoint, the tracker stopped watching at step"):
        other.trackers[kind].load_state_dict(state)
    other.train(2)
    assert other.trackers[kind].to_report().status == "NOT_OBSERVED"
    assert "RuntimeError: something else" in other.trackers[kind].to_agent_xml()
    with pytest.raises(ValueError, match="load the state into a new tracker"):
        other.trackers[kind].load_state_dict(Run().trackers[kind].state_dict())
    damaged = {**state, "stopped_watching": {**state["stopped_watching"], "steps": -1}}
    with pytest.raises(ValueError, match=r"state\['stopped_watching'\]\['steps'\] is -1"):
        Run().trackers[kind].load_state_dict(damaged)


ODD = ["text", {"loss": 1.0}, [1.0, 2.0], object(), torch.ones(2), torch.ones(0), 1j, torch.tensor(1j), b"x", torch.nn]


@pytest.mark.parametrize("place", range(len(ODD)))
def test_a_loss_that_is_none_is_refused_at_the_first_step_and_ends_the_watching_later(place):
    """A loss of the 500th batch that was not reduced ended a training that ran for hours."""
    told = ("network", "blind", "student", "losses")
    run = Run()
    for kind in told:
        with pytest.raises(ValueError, match="give the one number that backward ran on"):
            run.trackers[kind].step(ODD[place])
        assert run.trackers[kind].measurements().step == 0
    run.train(4)
    run.loss_told = lambda loss: ODD[place]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        run.train(5)
    assert len([one for one in warned if one.category is TrackingStopped]) == len(told)
    for kind in told:
        assert run.trackers[kind].to_report().status == "NOT_OBSERVED"
        assert run.trackers[kind].measurements().step == 4
    run.trackers["batches"].report()


def test_batches_that_cannot_be_read_are_refused_at_first_and_end_the_watching_later():
    tracker = BatchTracker(rules=RULES)
    for call in (tracker.step, tracker.validate):
        with pytest.raises(ValueError, match="no tensor with rows"):
            call("text")
    tracker.step(torch.zeros(4, 2), torch.zeros(4))
    with pytest.warns(TrackingStopped, match="different numbers of rows"):
        tracker.step({"a": torch.zeros(3), "b": torch.zeros(4)})
    tracker.step("text")
    tracker.validate(None)
    tracker.end_epoch()
    assert tracker.measurements().step == 1


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (0, 0), (0,)])
@pytest.mark.parametrize("whole", [False, True])
def test_batches_without_rows_or_columns_are_passed_over(shape, whole):
    tracker = BatchTracker(rules=RULES)
    for _ in range(2):
        tracker.step(torch.ones(5, 3), torch.ones(5))
        tracker.step(torch.zeros(shape).long() if whole else torch.zeros(shape), torch.zeros(shape[0]))
        tracker.validate(torch.zeros(shape), torch.zeros(shape[0]))
        tracker.end_epoch()
    assert not tracker.stopped
    tracker.report()


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.Tanh, nn.Sigmoid, nn.Hardsigmoid, nn.Identity])
@pytest.mark.parametrize("every", [True, False])
def test_empty_batches_show_no_unit_and_no_fault(activation, every):
    """The hook of a ReLU took the largest output of no example, and the forward pass ended in an IndexError."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(2, 3, 1), activation(), nn.Flatten(), nn.Linear(12, 4), activation(), nn.Linear(4, 1)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    tracker = FlowTracker(model, optimizer, rules=RULES)
    for step in range(30):
        optimizer.zero_grad()
        loss = model(torch.randn(0 if every or step % 3 else 6, 2, 4)).square().sum()
        loss.backward()
        optimizer.step()
        tracker.step(loss)
    assert not tracker.stopped
    rows = tracker.measurements().tables["rows"]
    assert every or activation is nn.Identity or (rows["dead_share"].notna() | rows["saturation"].notna()).any()
    tracker.report()


@pytest.mark.parametrize("shape", [(10, 0), (0, 4)])
@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_a_table_without_numbers_is_refused_where_it_is_attached(shape, kind):
    """A probe of it took the largest of no entries, in the third call of the loop."""
    with pytest.raises(FlowGradError, match=r"wide: the table has the shape \(\d+, \d\), and nothing in it can be"):
        EmbeddingTracker(kind(*shape), "wide")


def test_layers_without_numbers_are_watched_among_others():
    torch.manual_seed(0)

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.none, self.table, self.some = nn.Linear(3, 0), nn.Embedding(5, 0), nn.Linear(3, 1)
            self.empty = nn.Parameter(torch.zeros(0))
            self.join = nn.Linear(0, 2)

        def forward(self, x):
            nothing = self.join(torch.relu(self.none(x)) + self.table(torch.zeros(len(x), dtype=torch.long)))
            return self.some(x) + nothing.sum() + self.empty.sum()

    runs = []
    for watched in (True, False):
        torch.manual_seed(1)
        model, teacher = Odd(), Odd()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        trackers = []
        if watched:
            trackers = [FlowTracker(model, optimizer, rules=RULES), DistillationTracker(teacher, model, rules=RULES)]
            trackers.append(DistillationTracker(teacher, model, optimizer=optimizer, rules=RULES))
        for step in range(30):
            optimizer.zero_grad()
            loss = model(torch.ones(4, 3) * step).square().mean()
            loss.backward()
            optimizer.step()
            for tracker in trackers:
                tracker.step(loss)
        runs.append([p.detach().clone() for p in model.parameters()])
        for tracker in trackers:
            assert not tracker.stopped
            tracker.report()
            tracker.state_dict()
    assert all(map(torch.equal, *runs))


def test_two_threads_with_one_tracker_end_the_watching_and_not_the_training():
    """Whose step a look was of cannot be told; figures of both were mixed, and now and then one fell over the other."""
    run = Run()
    errors, turn, training = [], threading.Barrier(2, timeout=60), threading.Lock()

    def loop():
        try:
            for _ in range(6):
                turn.wait()
                with training:  # torch itself refuses a weight that another thread changes in the middle of a step
                    told = run.train_step()
                run.look(*told)
        except Exception as error:
            turn.abort()
            errors.append(error)

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=loop, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
    assert not any(thread.is_alive() for thread in threads)
    told = [str(one.message) for one in warned if one.category is TrackingStopped]
    assert not errors
    assert len(told) == len(set(told))
    for tracker in run.trackers.values():
        tracker.report()


class Attending(Model):
    """The network with attention before it and a loss of its own behind it."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(DIM, 1, batch_first=True)

    def forward(self, ids):
        rows = self.emb(ids)[None]
        out = self.body(self.attention(rows, rows, rows, need_weights=False)[0][0])
        return {"loss": out.square().mean(), "out": out}


@pytest.mark.parametrize("left", range(3))
def test_hooks_taken_off_within_a_pass_do_not_end_it(left):
    """PyTorch still calls them, and leaves out what was given by name."""
    torch.manual_seed(0)
    model, teacher, gone = Attending(), Attending(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    own_loss = ModelLoss()
    own_loss.attach(model)
    trackers = [
        EmbeddingTracker(model.emb, "table", optimizer=optimizer, rules=RULES),
        FlowTracker(model, optimizer, rules=RULES),
        DistillationTracker(teacher, model, optimizer=optimizer, rules=RULES),
    ]

    def take_off(module, given, output):
        if len(gone) >= left:
            for one in (*trackers, own_loss):
                one.detach()
        gone.append(module)

    for place in (model, model.attention, model.emb, teacher)[left:]:
        place.register_forward_hook(take_off, prepend=True)
    for _ in range(3):
        optimizer.zero_grad()
        with torch.no_grad():
            teacher(torch.arange(8))
        model(torch.arange(8))["loss"].backward()
        optimizer.step()
    assert len(gone) >= 3


def test_threads_that_step_in_turns_are_told_and_a_run_that_changes_thread_is_watched():
    def in_thread(call):
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    run = Run()
    in_thread(lambda: run.train(3))
    run.train(3)
    assert not any(tracker.stopped for tracker in run.trackers.values())
    go, done = threading.Semaphore(0), threading.Semaphore(0)

    def other():
        for _ in range(4):
            assert go.acquire(timeout=60)
            run.train(1)
            done.release()

    thread = threading.Thread(target=other, daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrackingStopped)
        thread.start()
        for _ in range(4):
            go.release()
            assert done.acquire(timeout=60)
            run.train(1)
        thread.join()
    for kind, tracker in run.trackers.items():
        assert "threads take steps in turns" in tracker.stopped, kind


def test_gradients_may_change_their_layout_in_the_middle():
    runs = []
    for watched in (True, False):
        run = Run(watched, sparse=True)
        run.train(5)
        run.model.emb.sparse = False
        run.train(5)
        run.model.emb.sparse = True
        run.train(5)
        runs.append(run)
    assert not runs[0].trackers["table"].stopped
    for tracker in runs[0].trackers.values():
        tracker.report()
    _same(runs)


def test_facts_and_examples_that_are_none_are_refused_at_any_call():
    run = Run()
    run.train(3)
    table, network = run.trackers["table"], run.trackers["network"]
    for call in (
        lambda: table.observe(in_batch_negatives="often"),
        lambda: table.observe(nothing=1),
        lambda: table.observe_residuals(torch.tensor([1]).numpy(), torch.ones(2).numpy(), biases=True),
        lambda: network.observe_inputs(torch.zeros(0, 3)),
        lambda: network.observe_inputs([1.0]),
        lambda: run.trackers["student"].observe(),
    ):
        with pytest.raises(FlowGradError):
            call()
    assert not any(tracker.stopped for tracker in run.trackers.values())


def test_a_broken_tracker_warns_as_an_error_where_that_is_asked_for():
    run = Run()
    run.train(2)
    _prune(run)
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrackingStopped)
        with pytest.raises(TrackingStopped, match="stopped watching"):
            run.train(1)


@pytest.mark.parametrize(
    "part", ["_network", "_course", "_rewrites", "_motion", "_exchanges", "_lookups", "_audit", "_calls"]
)
def test_a_fault_of_a_part_of_a_tracker_ends_no_training(part, monkeypatch):
    """Whatever part of a tracker breaks, and wherever in the loop."""
    runs = [Run(), Run(watched=False)]
    runs[1].train(10)
    runs[0].train(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrackingStopped)
        for tracker in runs[0].trackers.values():
            if hasattr(tracker, part):
                monkeypatch.setattr(tracker, part, None)
        runs[0].train(6)
    _same(runs)
    for tracker in runs[0].trackers.values():
        if tracker.stopped:
            assert tracker.to_report().status == "NOT_OBSERVED"
            tracker.to_agent_xml()
            tracker.state_dict()


def test_a_comparison_of_no_example_is_none():
    run = Run()
    run.train(3)
    student = run.trackers["student"]
    student.observe(torch.arange(8))
    student.observe(torch.zeros(0, dtype=torch.long))
    student.observe(torch.arange(8))
    assert not student.stopped
    assert student.measurements().scalars["comparisons"] == 2


def test_rows_without_any_number_are_reported():
    """The report of rows that were NaN throughout ended in a ValueError of reshape."""
    tracker = BatchTracker(rules=RULES)
    for _ in range(8):
        tracker.step(torch.full((8, 2), torch.nan), torch.full((8,), torch.nan))
    tracker.validate(torch.full((8, 2), torch.nan), torch.full((8,), torch.nan))
    tracker.end_epoch()
    tracker.report()
