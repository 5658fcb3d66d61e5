"""`on_finding="apply"`: findings change a training that runs, once each, where their rules call that safe."""

from __future__ import annotations

import math

import pytest
import torch
from lxml import etree
from torch import nn

import flowgrad
from flowgrad.report import from_xml, to_xml
from flowgrad.rules import RuleBook
from flowgrad.trackers.schedules import every
from flowgrad.watching import watched_run
from tests.watching_loops import alike, batches, criterion, made, train

RULE = {"subject": "flow", "severity": "high", "premise": "p", "implies": "i", "action": "A", "expected_effect": "e"}
TABLE = "tables.1"


def book(condition="steps >= 9", **rule):
    content = {**RULE, "type": "SICK", "condition": condition, **rule}
    return RuleBook.from_mapping({"sick": content})


def applied(model, optimizer, rules, **settings):
    settings = {"looks": every(10), "on_finding": "apply", **settings}
    return flowgrad.watch(model, optimizer, rules=rules, **settings)


def sgd(model, lr=0.1, **settings):
    return torch.optim.SGD(model.parameters(), lr, **settings)


RATE = book(in_training={"learning_rate": 0.1})


def by_hand(steps, change, optimizer_of=sgd, seed=0, **made_of):
    """The same loop without a watch, where `change(optimizer, step)` is called before each step."""
    model = made(seed, **made_of)
    optimizer = optimizer_of(model)
    for step, (ids, labels) in enumerate(batches(epochs=10)[:steps]):
        optimizer.zero_grad()
        criterion(model(ids), labels).backward()
        change(model, optimizer, step)
        optimizer.step()
    return model


def test_a_rate_is_lowered_at_the_second_look_and_once():
    def lowered(_, optimizer, step):
        if step == 21:
            optimizer.param_groups[0]["lr"] = 0.1 * 0.1

    model = made()
    optimizer = sgd(model)
    with applied(model, optimizer, RATE) as watch:
        train(model, [optimizer], watch, 60)
    assert [(one.step, one.kind, one.old, one.new, one.finding) for one in watch.treated] == [
        (21, "learning_rate", "0.1", "0.01", "SICK")
    ]
    assert alike(model, by_hand(60, lowered))
    assert optimizer.param_groups[0]["lr"] == 0.1, "between steps the rate is the loop's own"


SCHEDULERS = {
    "recursive": lambda one: torch.optim.lr_scheduler.StepLR(one, 10, 0.5),
    "of steps": lambda one: torch.optim.lr_scheduler.LambdaLR(one, lambda step: 1 / (1 + step)),
    "cosine": lambda one: torch.optim.lr_scheduler.CosineAnnealingLR(one, 50),
    "one cycle": lambda one: torch.optim.lr_scheduler.OneCycleLR(one, 0.3, 60),
}


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_no_schedule_undoes_the_change_or_is_disturbed_by_it(kind):
    """A schedule that computes each rate from its base would have written over a lowered one at its next step."""
    factors, used = [], {}
    for rules in (RATE, book("steps < 0")):
        model = made()
        optimizer = sgd(model, momentum=0.5)
        scheduler = SCHEDULERS[kind](optimizer)
        watch = applied(model, optimizer, rules)
        rates = used[rules is RATE] = []
        optimizer.register_step_pre_hook(lambda one, *_, rates=rates: rates.append(one.param_groups[0]["lr"]))
        told = []
        for ids, labels in batches(epochs=6):
            optimizer.zero_grad()
            criterion(model(ids), labels).backward()
            optimizer.step()
            scheduler.step()
            told.append(scheduler.get_last_lr()[0])
        watch.detach()
        factors.append(told)
    assert factors[0] == factors[1]
    assert used[True][:21] == used[False][:21]
    assert used[True][21:] == pytest.approx([0.1 * rate for rate in used[False][21:]])


def test_a_gradient_is_clipped_as_torch_clips_it():
    def clipped(model, _, step):
        if step >= 21:
            nn.utils.clip_grad_norm_(model.parameters(), 0.05)

    model = made()
    optimizer = sgd(model)
    with applied(model, optimizer, book(in_training={"clip_norm": 0.05})) as watch:
        train(model, [optimizer], watch, 40)
    other = by_hand(40, clipped)
    assert [(one.kind, one.old, one.new) for one in watch.treated] == [("clip_norm", "none", "0.05")]
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert not alike(model, by_hand(40, lambda *_: None))


def test_sparse_gradients_are_clipped_with_the_dense_ones():
    norms = []
    for sparse in (False, True):
        model = made(sparse=sparse)
        optimizer = sgd(model)
        with applied(model, optimizer, book(in_training={"clip_norm": 0.05})) as watch:
            train(model, [optimizer], watch, 30)
            ids, labels = batches()[0]
            before = [one.detach().clone() for one in model.parameters()]
            optimizer.zero_grad()
            criterion(model(ids), labels).backward()
            optimizer.step()
        moved = sum((one.detach() - old).square().sum() for one, old in zip(model.parameters(), before, strict=True))
        norms.append(float(moved.sqrt()))
    assert norms[0] == pytest.approx(0.1 * 0.05, rel=1e-3)
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)


@pytest.mark.parametrize("sparse", [False, True])
def test_rows_that_are_excluded_learn_no_more_and_the_others_do(sparse):
    rules = book(
        "rows == 50 and steps >= 9",
        subject="embedding",
        rows="exposures > 1.1 * mean_exposures",
        in_training={"exclude": True},
    )
    model = made(sparse=sparse)
    optimizer = sgd(model)
    with applied(model, optimizer, rules) as watch:
        train(model, [optimizer], watch, 25)
        assert [(one.kind, one.where) for one in watch.treated] == [("exclude", TABLE)]
        rows = watch._treatment._excluded[TABLE][1]
        before = model.tables[1].weight.detach().clone()
        train(model, [optimizer], watch, 20)
    after = model.tables[1].weight.detach()
    others = torch.ones(50, dtype=torch.bool).index_fill(0, rows, False)
    assert 0 < len(rows) < 50
    assert torch.equal(after[rows], before[rows])
    assert not torch.equal(after[others], before[others])
    assert watch.treated[0].new.startswith(f"{len(rows)} rows: ")


def test_a_training_that_is_to_stop_says_so_and_goes_back_to_its_best_epoch():
    model = made()
    optimizer = sgd(model)
    best = None
    rules = book("epochs >= 4", in_training={"stop": True})
    with applied(model, optimizer, rules, looks=lambda _: False) as watch:
        for epoch, loss in enumerate([3.0, 1.0, 2.0, 4.0, 5.0, 6.0, 7.0], 1):
            train(model, [optimizer], watch, 20)
            watch.end_epoch(val_loss=loss)
            if epoch == 2:
                best = [one.detach().clone() for one in model.parameters()]
            if watch.should_stop:
                break
        assert epoch == 5
        assert not all(torch.equal(a, b) for a, b in zip(model.parameters(), best, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), best, strict=True))
    assert watch.treated[0].new == "weights of epoch 2, val_loss 1"


@pytest.mark.parametrize(("later", "stops"), [([2.0, 2.0, 2.0, 2.0], 0), ([0.5, 2.0, 2.0, 2.0], 1)])
def test_a_training_is_not_stopped_for_what_a_rate_did_that_was_changed_since(later, stops):
    """Seven of ten factorisations were stopped an epoch after their rate was lowered, and lost what that had gained."""
    content = {**RULE, "condition": "steps >= 9"}
    rules = RuleBook.from_mapping(
        {
            "rate": {**content, "type": "RATE", "in_training": {"learning_rate": 0.1}},
            "over": {**content, "type": "OVER", "condition": "epochs >= 3", "in_training": {"stop": True}},
        }
    )
    model = made()
    optimizer = sgd(model)
    with applied(model, optimizer, rules, looks=lambda _: False) as watch:
        for loss in [1.0, 3.0, 4.0, *later]:
            train(model, [optimizer], watch, 20)
            watch.end_epoch(val_loss=loss)
    assert [one.kind for one in watch.treated] == ["learning_rate", *["stop"] * stops]


SPARED = {
    "not safe": {},
    "open cause": {"candidates": {"A": "a?", "B": "b?"}, "in_training": {"learning_rate": 0.1}},
    "of little weight": {"severity": "low", "in_training": {"learning_rate": 0.1}},
    "one look": {"condition": "steps == 21", "severity": "critical", "in_training": {"learning_rate": 0.1}},
    "only at the end": {"condition": "steps >= 60", "in_training": {"learning_rate": 0.1}},
}


@pytest.mark.parametrize("kind", SPARED)
def test_what_is_not_certain_or_not_safe_changes_no_bit(kind):
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    rule = {"condition": "steps >= 9", **SPARED[kind]}
    with applied(model, optimizer, book(**rule)) as watch:
        train(model, [optimizer], watch, 60)
    twin = made()
    train(twin, [torch.optim.Adam(twin.parameters(), 0.01)], None, 60)
    assert not watch.treated
    assert alike(model, twin)


def test_a_rate_that_falls_by_itself_is_left_alone():
    """Adagrad takes its longest steps first: in a healthy factorisation rows circled up to step 48, and not later."""
    model = made()
    optimizer = torch.optim.Adagrad(model.parameters(), 0.1)
    with applied(model, optimizer, RATE) as watch:
        train(model, [optimizer], watch, 40)
    assert not watch.treated


def test_two_findings_that_ask_for_one_thing_change_it_once():
    content = {**RULE, "condition": "steps >= 9", "in_training": {"learning_rate": 0.1}}
    rules = RuleBook.from_mapping({"a": {**content, "type": "A"}, "b": {**content, "type": "B"}})
    model = made()
    optimizer = sgd(model)
    with applied(model, optimizer, rules) as watch:
        train(model, [optimizer], watch, 40)
    assert [one.finding for one in watch.treated] == ["A"]


def test_two_looks_at_one_state_are_one():
    """At step 32 ends an epoch, too: a finding of that step alone lowered the rate."""
    model = made()
    optimizer = sgd(model)
    rules = book("steps >= 32 and steps < 40", in_training={"learning_rate": 0.1})
    with applied(model, optimizer, rules, looks=None) as watch:
        for _ in range(6):
            train(model, [optimizer], watch, 8)
            watch.end_epoch()
    assert not watch.treated


@pytest.mark.parametrize("at", [15, 30])
def test_a_resumed_run_goes_on_as_the_whole_one(at):
    def loop(model, optimizer, watch, steps):
        for ids, labels in batches(epochs=6)[steps]:
            optimizer.zero_grad()
            criterion(model(ids), labels).backward()
            optimizer.step()

    whole = made()
    optimizer = torch.optim.Adam(whole.parameters(), 0.05)
    with applied(whole, optimizer, RATE) as watch:
        loop(whole, optimizer, watch, slice(0, 60))
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    watch = applied(model, optimizer, RATE)
    loop(model, optimizer, watch, slice(0, at))
    state = {"watch": watch.state_dict(), "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    watch.detach()
    assert state["optimizer"]["param_groups"][0]["lr"] == 0.05
    other = made(1)
    optimizer = torch.optim.Adam(other.parameters(), 0.05)
    other.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    with applied(other, optimizer, RATE) as resumed:
        resumed.load_state_dict(state["watch"])
        loop(other, optimizer, resumed, slice(at, 60))
    assert alike(whole, other)
    assert [one.step for one in resumed.treated] == [21]


def test_a_checkpoint_of_a_changed_run_is_not_gone_on_from_unchanged_in_silence():
    model = made()
    optimizer = sgd(model)
    watch = applied(model, optimizer, RATE)
    train(model, [optimizer], watch, 30)
    state = watch.state_dict()
    watch.detach()
    with flowgrad.watch(model, optimizer) as plain:
        plain.load_state_dict(state)
        train(model, [optimizer], plain, 2)
    assert "1 changes that findings made before the checkpoint are made no more" in plain.report()


def test_the_report_tells_each_change_and_the_rate_that_steps_are_taken_with():
    model = made()
    optimizer = sgd(model)
    with applied(model, optimizer, RATE) as watch:
        train(model, [optimizer], watch, 40)
        report = watch.to_report()
    assert "Changed    learning_rate at step 21: 0.1 → 0.01, for SICK" in watch.report()
    change = etree.fromstring(watch.to_agent_xml()).find("treated/change")
    assert dict(change.attrib) == {
        "step": "21", "kind": "learning_rate", "where": "model", "old": "0.1", "new": "0.01", "finding": "SICK",
    }  # fmt: skip
    assert from_xml(to_xml(report)) == report
    assert report.run.training["lr"] == pytest.approx(0.01)
    assert watch.to_dict()["flowgrad_watch_report"]["treated"][0]["new"] == "0.01"


def test_a_step_that_raises_leaves_the_rate_as_the_loop_set_it():
    model = made()
    optimizer = sgd(model)
    with applied(model, optimizer, RATE) as watch:
        train(model, [optimizer], watch, 30)
        optimizer.register_step_pre_hook(_fail_once())
        ids, labels = batches()[0]
        with pytest.raises(RuntimeError, match="no memory"):
            train(model, [optimizer], watch, 1)
        criterion(model(ids), labels).backward()
        optimizer.step()
        assert math.isclose(watch.to_report().run.training["lr"], 0.01)
    assert optimizer.param_groups[0]["lr"] == 0.1


def _fail_once():
    left = [True]

    def hook(*_):
        if left:
            left.clear()
            raise RuntimeError("no memory")

    return hook


def test_nothing_is_changed_where_several_ranks_train(monkeypatch):
    """Each rank may find something else, and their weights would drift apart."""
    monkeypatch.setattr(watched_run, "_other_ranks", lambda: 2)
    model = made()
    optimizer = sgd(model)
    with applied(model, optimizer, RATE) as watch:
        train(model, [optimizer], watch, 40)
    assert not watch.treated
    assert "findings change nothing where several ranks train" in watch.report()
    assert alike(model, by_hand(40, lambda *_: None))


def test_a_page_tells_each_change(tmp_path):
    pytest.importorskip("jinja2")
    model = made()
    optimizer = sgd(model)
    with applied(model, optimizer, RATE) as watch:
        train(model, [optimizer], watch, 40)
    watch.to_html(tmp_path / "report.html")
    assert "Changed while it trained" in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "must be a mapping of learning_rate"),
        ("learning_rate", "must be a mapping of learning_rate"),
        ({"rate": 0.1}, "unknown key 'rate'"),
        ({"learning_rate": 0}, "learning_rate: must be a positive number"),
        ({"clip_norm": True}, "clip_norm: must be a positive number"),
        ({"stop": 3}, "stop: must be true"),
        ({"exclude": True}, "exclude: names the rows"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(given, said):
    with pytest.raises(flowgrad.rules.rulebook.RuleError, match=f"in_training.*{said}"):
        book(in_training=given)
