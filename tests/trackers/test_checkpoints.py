import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from flowgrad import EmbeddingTracker, TrainingTracker
from flowgrad.rules import RuleBook
from flowgrad.testing import Ratings, healthy
from flowgrad.trackers import states
from flowgrad.trackers.embedding.epochs import EpochSense
from flowgrad.trackers.embedding.probes import FIRST_PROBES

ROWS, DIM, STEPS = 40, 4, 120
BATCHES, BATCH, LAST = 10, 24, 11
"""An epoch's batches, and the sizes of all but the last and of the last."""
FROZEN = 30
"""Row that is looked up late and has no part in the loss: for its sake every step is probed then."""
RULES = RuleBook.load()
CHECKPOINTS = (0, 1, 7, FIRST_PROBES - 1, FIRST_PROBES, FIRST_PROBES + 1, 50, 57, 97, 111)
"""Before the first step, in the first probes, at their end, at the end of an epoch and in the middle of one."""


def saved(state):
    """The state after a way through a file that may hold nothing but plain values and tensors."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


class Run:
    """A table that is trained on a stream of batches, each a function of its step."""

    def __init__(self, *, sparse, announced, sample, seed=0):
        self.announced = announced
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layer = nn.Embedding(ROWS, DIM, sparse=sparse, padding_idx=2)
        optimizer = torch.optim.SparseAdam if sparse else torch.optim.Adam
        self.optimizer = optimizer(self.layer.parameters(), lr=0.05)
        self.tracker = EmbeddingTracker(self.layer, "table", RULES, sample=sample)
        self.step = 0

    def train(self, until):
        while self.step < until:
            size = LAST if self.step % BATCHES == BATCHES - 1 else BATCH
            rng = np.random.default_rng([3, self.step])
            ids = torch.from_numpy((rng.random(size) ** 2 * (ROWS - 1)).astype(int))
            self.optimizer.zero_grad()
            ids[ids == FROZEN] = 0 if self.step < 90 else FROZEN
            error = self.layer(ids).sum(dim=1) - torch.from_numpy(rng.normal(size=size)).float()
            (error.square() * (ids != FROZEN)).mean().backward()
            self.optimizer.step()
            self.tracker.step()
            self.step += 1
            if self.announced and self.step % BATCHES == 0:
                self.tracker.end_epoch()
            if self.step == 20:
                rows = rng.integers(0, ROWS, 300)
                self.tracker.observe(in_batch_negatives=1)
                self.tracker.observe_residuals(rows, rng.normal(size=300), biases=False)
                self.tracker.observe_labels(rows, rng.integers(0, 9, 300), rng.integers(1, 6, 300))

    def state(self):
        parts = (self.layer, self.optimizer, self.tracker)
        return saved([*(part.state_dict() for part in parts), self.step])

    def resume(self, state):
        for part, kept in zip((self.layer, self.optimizer, self.tracker), state, strict=False):
            part.load_state_dict(kept)
        self.step = state[-1]
        return self


def figures(tracker):
    """All that a tracker has to say; NaN equals NaN, and every other float to the last bit."""
    measured = tracker.measurements()
    tables = {name: table.to_csv(float_format="%.17g") for name, table in measured.tables.items()}
    return repr(dict(measured.scalars)), tables, tracker.to_agent_xml()


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("announced", [False, True], ids=["silent", "announced"])
@pytest.mark.parametrize("sample", [12, ROWS], ids=["sampled", "whole"])
def test_a_resumed_run_reports_what_the_uninterrupted_one_does(sparse, announced, sample):
    kind = {"sparse": sparse, "announced": announced, "sample": sample}
    whole, kept = Run(**kind), []
    for step in CHECKPOINTS:
        whole.train(step)
        kept.append(whole.state())
    whole.train(STEPS)
    expected = figures(whole.tracker)
    trackers = [state[2] for state in kept]
    assert any(state["followed"] is None for state in trackers) == (sample < ROWS)
    assert trackers[-1]["followed"]["windows"]["_by_epoch"]
    assert any(state["probes"]["suspicious"] for state in trackers) == (sample == ROWS)
    for state in kept:
        resumed = Run(**kind, seed=1).resume(state)
        resumed.train(STEPS)
        assert figures(resumed.tracker) == expected, f"resumed at step {state[-1]}"


@settings(max_examples=15)
@given(steps=st.lists(st.integers(0, 70), min_size=1, max_size=4).map(sorted), sample=st.sampled_from([7, ROWS]))
def test_a_run_may_be_interrupted_anywhere_and_often(steps, sample):
    whole = run = Run(sparse=False, announced=False, sample=sample)
    whole.train(70)
    run = Run(sparse=False, announced=False, sample=sample)
    for step in steps:
        run.train(step)
        run = Run(sparse=False, announced=False, sample=sample, seed=1).resume(run.state())
    run.train(70)
    assert figures(run.tracker) == figures(whole.tracker)


def test_loading_replaces_all_that_was_seen_before():
    """Also what the tracker of a larger sample saw, with lookups that still wait for their step."""
    run = Run(sparse=False, announced=True, sample=12)
    run.train(50)
    other = Run(sparse=False, announced=False, sample=ROWS, seed=1)
    other.train(13)
    other.layer(torch.tensor([1, 2, 3]))
    other.layer.load_state_dict(run.layer.state_dict())
    other.tracker.load_state_dict(run.tracker.state_dict())
    assert figures(other.tracker) == figures(run.tracker)
    assert figures(other.tracker)[0] == repr(dict(other.tracker.measurements().scalars))


def test_a_state_stays_as_it_was_when_the_run_goes_on():
    """Counts are counted in place; a state that shared them would change under the checkpoint."""
    run = Run(sparse=False, announced=True, sample=12)
    run.train(40)
    held = run.tracker.state_dict()
    before = repr(saved(held))
    run.train(60)
    assert repr(held) == before
    loaded = Run(sparse=False, announced=True, sample=12, seed=1)
    loaded.tracker.load_state_dict(held)
    loaded.train(20)
    assert repr(held) == before


def test_taking_a_state_disturbs_nothing():
    looked, left = (Run(sparse=True, announced=False, sample=12) for _ in range(2))
    for step in range(60):
        looked.train(step)
        looked.tracker.state_dict()
    left.train(59)
    assert figures(looked.tracker) == figures(left.tracker)


def test_double_precision_and_half_precision():
    for dtype in (torch.float64, torch.bfloat16):
        layer = nn.Embedding(ROWS, DIM, dtype=dtype)
        tracker = EmbeddingTracker(layer, rules=RULES)
        other = EmbeddingTracker(layer, "layer", rules=RULES)
        for _ in range(20):
            layer(torch.arange(9)).float().sum().backward()
            with torch.no_grad():
                layer.weight -= 0.1 * layer.weight.grad
            tracker.step()
        other.load_state_dict(saved(tracker.state_dict()))
        assert figures(other) == figures(tracker)


def test_a_state_of_a_release_that_damped_gradients_is_taken():
    run = Run(sparse=False, announced=True, sample=ROWS)
    run.train(20)
    state = run.tracker.state_dict() | {"interventions": [{"step": 4, "factor": 0.1, "rows": [3, 4]}]}
    other = Run(sparse=False, announced=True, sample=ROWS)
    other.tracker.load_state_dict(state)
    assert torch.equal(other.tracker.state_dict()["lookups"], run.tracker.state_dict()["lookups"])


# --- the other tracker -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpoint", [0, 3, 25, 49, 50, 73])
def test_training_tracker(checkpoint):
    def train(tracker, first, last):
        for step in range(first, last):
            tracker.step(2 + math.sin(step))
            if step % 25 == 24:
                tracker.end_epoch(2 / (step + 1), 3.0 if step < 60 else None, steps=1)

    whole = TrainingTracker("run", target_variance=1.5, l2_penalty=None, rules=RULES)
    train(whole, 0, 100)
    begun = TrainingTracker("run", target_variance=1.5, l2_penalty=None, rules=RULES)
    train(begun, 0, checkpoint)
    resumed = TrainingTracker("run", rules=RULES)
    resumed.load_state_dict(saved(begun.state_dict()))
    train(begun, checkpoint, 100)
    train(resumed, checkpoint, 100)
    assert figures(resumed) == figures(begun) == figures(whole)


# --- what is refused -------------------------------------------------------------------------------------------------


def a_state(rows=ROWS, dim=DIM, **layer):
    return EmbeddingTracker(nn.Embedding(rows, dim, **layer), rules=RULES).state_dict()


REFUSED = {
    "more rows": (a_state(rows=41), r"shape \[41, 4\], and this one has shape \[40, 4\]; load it into the tracker of"),
    "fewer columns": (a_state(dim=3), r"shape \[40, 3\], and this one has shape \[40, 4\]"),
    "other type": (a_state(dtype=torch.float64), "dtype float64, and this one has dtype float32; .*new tracker"),
    "other tracker": (TrainingTracker().state_dict(), "kind 'training', and this one is of kind 'embedding'; load"),
    "newer": (a_state() | {"version": 3}, "version 3, and this FlowGrad reads version 2; load it with the FlowGrad"),
    "no version": ({k: v for k, v in a_state().items() if k != "version"}, "version None"),
    "cut": ({k: v for k, v in a_state().items() if k != "followed"}, r"lacks 'followed'; save the whole of"),
    "a model's": (nn.Embedding(ROWS, DIM).state_dict(), r"an? OrderedDict of 'weight' is no tracker state; give what"),
    "empty": ({}, "a dict of nothing is no tracker state"),
    "no mapping": ([1, 2], "list is no tracker state"),
    "nothing": (None, "NoneType is no tracker state"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_state_that_does_not_fit_is_refused_and_nothing_changed(case):
    state, message = REFUSED[case]
    run = Run(sparse=False, announced=False, sample=ROWS)
    run.train(20)
    before = figures(run.tracker)
    with pytest.raises(ValueError, match=rf"^table: .*{message}"):
        run.tracker.load_state_dict(state)
    assert figures(run.tracker) == before


def test_training_tracker_refuses_the_same():
    tracker = TrainingTracker("run")
    for state, message in ((a_state(), "kind 'embedding'"), ({}, "no tracker state"), ("x", "str is no tracker state")):
        with pytest.raises(ValueError, match=rf"^run: .*{message}"):
            tracker.load_state_dict(state)
    with pytest.raises(ValueError, match=r"lacks 'recent'"):
        tracker.load_state_dict({key: value for key, value in tracker.state_dict().items() if key != "recent"})


def test_states_say_what_they_are():
    for tracker in (TrainingTracker(), EmbeddingTracker(nn.Embedding(3, 2))):
        state = tracker.state_dict()
        assert (state["flowgrad_tracker"], state["version"]) == (tracker.KIND, states.VERSION)


def test_epoch_sense_goes_on_in_the_middle_of_an_epoch():
    sizes = [8, 8, 3] * 4
    whole = EpochSense()
    expected = [whole.ends(size) for size in sizes]
    assert sum(expected) == 4
    for cut in range(len(sizes)):
        first, second = EpochSense(), EpochSense()
        said = [first.ends(size) for size in sizes[:cut]]
        second.load_state_dict(first.state_dict())
        assert said + [second.ends(size) for size in sizes[cut:]] == expected


def test_silent_epochs_of_a_sampled_table_are_recognised():
    """Batch sizes used to be looked at from step 33 on, where the sample is chosen. That is the middle of an epoch,
    which then seemed shorter than the next one, and no epoch of a large table was recognised any more.
    """
    for sample in (12, ROWS):
        run = Run(sparse=False, announced=False, sample=sample)
        run.train(FIRST_PROBES + 4 * BATCHES)
        assert run.tracker._followed.windows._by_epoch
        assert run.tracker._followed.windows._epoch_length == BATCHES


def test_the_examples_survive_a_checkpoint_too():
    example = healthy()
    tracker = EmbeddingTracker(example.run.model.item_emb, rules=RULES)
    example.train(130, tracker)
    other = EmbeddingTracker(Ratings(1).model.item_emb, rules=RULES)
    other.load_state_dict(saved(tracker.state_dict()))
    other.layer.load_state_dict(example.run.model.item_emb.state_dict())
    assert figures(other) == figures(tracker)
