"""A tracker that saw nothing says so: why, and the way out. It never says "No findings", and never counts zero."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from flowgrad import EmbeddingTracker
from flowgrad.errors import FlowGradError
from flowgrad.report import NOT_OBSERVED, to_text
from flowgrad.rules import RuleBook

RULES = RuleBook.load()
ROWS, DIM = 30, 6
COUNTED = ("total_exposures", "exposure_gini", "head_share", "mean_exposures", "median_velocity", "median_coherence")
COUNTS = ("dead_embeddings", "popularity_bias", "zombie_embeddings", "frequency_aware_saliency")


def loop(layer, tracker, steps=24, look_up=None, order="right", rate=0.1, frozen=False):
    """A small training of `layer`; `order` says where `tracker.step()` stands."""
    head = nn.Linear(DIM, 1)
    optimizer = torch.optim.SGD([*([] if frozen else layer.parameters()), *head.parameters()], lr=rate)
    for step in range(steps):
        ids = torch.arange(8) + step % 8
        if order == "top":
            tracker.step()
        optimizer.zero_grad()
        loss = (head((layer if look_up is None else look_up)(ids)).squeeze(1) - ids).square().mean()
        if order == "before backward":
            tracker.step()
        loss.backward()
        if order == "before step":
            tracker.step()
        optimizer.step()
        if order == "right":
            tracker.step()
    return tracker


def made(layer=None, **arguments):
    layer = nn.Embedding(ROWS, DIM) if layer is None else layer
    return layer, EmbeddingTracker(layer, name="emb", rules=RULES, **arguments)


def functional_lookup():
    layer, tracker = made()
    return loop(layer, tracker, look_up=lambda ids: functional.embedding(ids, layer.weight))


def indexed_weight():
    layer, tracker = made()
    return loop(layer, tracker, look_up=lambda ids: layer.weight[ids])


def shared_parameter():
    layer, tracker = made()
    other = nn.Embedding(ROWS, DIM)
    other.weight = layer.weight
    return loop(layer, tracker, look_up=other)


def replaced():
    _, tracker = made()
    return loop(nn.Embedding(ROWS, DIM), tracker)


def left_in_eval():
    layer, tracker = made()
    return loop(layer.eval(), tracker)


def no_gradients():
    layer, tracker = made()

    def look_up(ids):
        with torch.no_grad():
            return layer(ids)

    return loop(layer, tracker, look_up=look_up)


def compiled_before():
    layer = nn.Embedding(ROWS, DIM)
    network = torch.compile(layer, backend="eager")
    network(torch.arange(8))
    _, tracker = made(layer)
    return loop(layer, tracker, look_up=network)


def step_never_called():
    layer, tracker = made()
    return loop(layer, tracker, order="never")


def nothing_happened():
    return made()[1]


def eval_after_the_first_epoch():
    layer, tracker = made()
    loop(layer, tracker, steps=10)
    return loop(layer.eval(), tracker, steps=40)


BLIND = {
    functional_lookup: "although the table moved: it is looked up past this layer",
    indexed_weight: "although the table moved: it is looked up past this layer",
    shared_parameter: "another layer that shares the parameter",
    replaced: "the table did not move: the layer is not called",
    left_in_eval: r"eval mode \(at 24 forward passes with gradients enabled\); call model.train\(\)",
    no_gradients: "gradients disabled",
    compiled_before: "compiled",
    step_never_called: "192 lookups were seen and no step; call step",
    nothing_happened: "no step was seen; call step",
    eval_after_the_first_epoch: "at 40 of 50 steps the layer was called in eval mode",
}
MISPLACED = ("before step", "before backward")


@pytest.mark.parametrize("case", BLIND)
def test_a_tracker_that_saw_nothing_says_why(case):
    """Each of these reported "No findings." and every row dead, or a share of dead rows of 1."""
    assert_blind(case(), BLIND[case])


@pytest.mark.parametrize("order", MISPLACED)
def test_a_step_in_the_wrong_place_is_told(order):
    """`step()` before `optimizer.step()` showed rows that never move, and a healthy run."""
    layer, tracker = made()
    loop(layer, tracker, order=order)
    assert_blind(tracker, "step.. is called at the wrong place")


def test_a_step_in_the_wrong_place_is_nobody_else_who_writes():
    """Epochs are told by their last batch; a step taken behind `step()` lay between two of them, as a write."""
    layer, tracker = made()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    for step in range(60):
        optimizer.zero_grad()
        layer(torch.arange(4 if step % 6 == 5 else 8) + step % 6).square().sum().backward()
        tracker.step()
        optimizer.step()
    assert_blind(tracker, "step.. is called at the wrong place")


def assert_blind(tracker, because):
    measured = tracker.measurements()
    assert measured.coverage.blind
    report = tracker.to_report()
    assert report.status == NOT_OBSERVED
    assert "No findings" not in to_text(report)
    assert all(math.isnan(measured.scalars[name]) for name in COUNTED)
    assert all(math.isnan(share) for share in RULES.shares(measured).values())
    assert tracker.row_table()["exposures"].isna().all()
    for name in COUNTS:
        with pytest.raises(FlowGradError, match=f"^emb: .* cannot be told: .*{because}"):
            getattr(tracker, name)()


@pytest.mark.parametrize("order", ["right", "top"])
def test_a_step_in_a_right_place_is_not_blamed(order):
    """At the top of the loop, `step()` follows the optimizer's as well."""
    layer, tracker = made()
    measured = loop(layer, tracker, order=order).measurements()
    assert measured.coverage.blind == ""
    assert measured.coverage.seen["lookups"] == 192
    assert measured.scalars["median_velocity"] > 0


def test_accumulated_gradients_with_a_step_at_every_pass_are_seen():
    layer, tracker = made()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for step in range(40):
        layer(torch.arange(8)).square().sum().backward()
        if step % 4 == 3:
            optimizer.step()
            optimizer.zero_grad()
        tracker.step()
    assert tracker.measurements().coverage.blind == ""


def test_weights_loaded_after_attaching_do_not_make_a_step_misplaced():
    """A table that stands still, and was filled after the tracker was attached, moved without any step."""
    layer, tracker = made()
    nn.init.normal_(layer.weight)
    loop(layer, tracker, frozen=True)
    assert tracker.measurements().coverage.blind == ""


def test_evaluation_now_and_then_is_no_blindness():
    layer, tracker = made()
    for _ in range(4):
        loop(layer.train(), tracker, steps=10)
        with torch.no_grad():
            layer.eval()(torch.arange(3))
    measured = tracker.measurements()
    assert measured.coverage.blind == ""
    assert "lookups_in_eval" not in measured.coverage.unseen


def test_evaluation_with_gradients_enabled_is_told_and_judged_all_the_same():
    layer, tracker = made()
    for _ in range(4):
        loop(layer.train(), tracker, steps=10)
        layer.eval()(torch.arange(3))
    measured = tracker.measurements()
    assert measured.coverage.blind == ""
    assert "at 4 steps" in measured.coverage.unseen["lookups_in_eval"]


def test_coverage_counts_what_was_seen_and_names_what_was_not_told():
    layer, tracker = made()
    loop(layer, tracker)
    tracker.end_epoch()
    coverage = tracker.measurements().coverage
    assert coverage.seen == {
        "steps": 24,
        "steps_with_lookups": 24,
        "lookups": 192,
        "probed_steps": coverage.seen["probed_steps"],
        "windows": coverage.seen["windows"],
        "followed_rows": ROWS,
        "epochs": 1,
    }
    assert set(coverage.unseen) >= {"in_batch_negatives", "sampling_correction", "labels", "optimizer"}
    tracker.observe(in_batch_negatives=1, sampling_correction=0)
    assert "in_batch_negatives" not in tracker.measurements().coverage.unseen


@pytest.mark.parametrize("tied", [True, False])
def test_rows_that_move_without_a_lookup_are_not_dead(tied):
    """Rows of a table that the output layer shares, or that decays, were said to hold their initial noise."""
    torch.manual_seed(0)
    layer, tracker = made()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, weight_decay=0.0 if tied else 0.1)
    for _ in range(30):
        optimizer.zero_grad()
        hidden = layer(torch.arange(8))
        (
            functional.cross_entropy(hidden @ layer.weight.T, torch.arange(8)) if tied else hidden.square().mean()
        ).backward()
        optimizer.step()
        tracker.step()
    measured = tracker.measurements()
    assert tracker.dead_embeddings() == []
    assert "DEAD_EMBEDDINGS" not in [one.type for one in tracker.findings()]
    assert measured.scalars["unseen_moved_share"] == 1
    told = measured.coverage.unseen["lookups"]
    assert told.startswith(f"{ROWS - 8} rows moved though none of their lookups was seen")
    assert ("have a gradient through another use" in told) == tied


def test_rows_never_looked_up_that_stand_still_are_dead():
    layer, tracker = made()
    loop(layer, tracker)
    assert tracker.dead_embeddings() == list(range(15, ROWS))
    (found,) = [one for one in tracker.findings() if one.rule_id == "dead_rows"]
    assert "stand where they began" in found.premise
    assert "noise" not in found.implies


@pytest.mark.parametrize("evaluated", [False, True])
def test_a_mode_of_now_is_no_cause(evaluated):
    """A model that was evaluated last was told to have been in eval mode, where its lookups went past the layer."""
    layer = nn.Embedding(20, 4)
    tracker = EmbeddingTracker(layer, "table")
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.embedding(torch.arange(10), layer.weight).square().sum().backward()
        optimizer.step()
        tracker.step()
    layer.train(not evaluated)
    blind = tracker.measurements().coverage.blind
    assert "it is looked up past this layer" in blind
    assert ("it is in eval mode now" in blind) is evaluated
