"""The one report: each finding once with its places, one verdict on the rate, and what could not be seen."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

import flowgrad
from flowgrad.report import Place, RunReport, from_xml, to_short_text, to_xml, validate
from flowgrad.rules import RuleBook
from tests.watching_loops import Ranker, criterion, data, made, train

MANY = (20, 40, 60, 80, 100) * 5 + (400,)


def ranked(rate, *, sizes=MANY, steps=80, sparse=False):
    torch.manual_seed(0)
    model = Ranker(sizes, sparse=sparse)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    watch = flowgrad.watch(model, optimizer)
    ids, labels = data(1280, sizes)
    for step in range(steps):
        chosen = torch.arange(step * 128, (step + 1) * 128) % 1280
        optimizer.zero_grad()
        loss = criterion(model(ids[chosen]), labels[chosen])
        loss.backward()
        optimizer.step()
        watch.log(loss=loss)
        if step % 10 == 9:
            watch.log(val_loss=loss.item())
            watch.end_epoch()
    return watch


@pytest.fixture(scope="module")
def too_fast():
    watch = ranked(0.5)
    yield watch
    watch.detach()


def test_twenty_six_tables_are_read_on_one_screen(too_fast):
    text, xml = too_fast.report(), too_fast.to_agent_xml()
    assert len(text.splitlines()) <= 60
    assert max(map(len, text.splitlines())) <= 120
    assert len(xml.encode()) <= 20_000
    validate(xml)
    assert from_xml(xml) == too_fast.to_report()


def test_a_finding_is_told_once_with_its_places(too_fast):
    report = too_fast.to_report()
    types = [one.type for one in report.findings]
    assert len(types) == len(set(types))
    whole = too_fast.details()
    for finding in report.findings:
        there = {(one.kind, one.layer) for one in whole.reports if finding.type in {f.type for f in one.findings}}
        assert finding.places.count == len(there)
        assert {(place.kind, place.layer) for place in finding.places.shown} <= there


def test_the_rate_has_one_verdict_and_one_change(too_fast):
    report = too_fast.to_report()
    assert report.learning_rate.verdict == "too_high"
    assert 'group["lr"] *= 0.1' in report.learning_rate.change
    told = [one for one in report.findings if any('"lr"] *=' in change.text for change in one.plain)]
    assert len(told) == 1
    assert "Rate       too high" in too_fast.report()


def test_rows_are_counted_whole_though_few_are_named(too_fast):
    for finding in too_fast.to_report().findings:
        if finding.rows is None or finding.places.shown[0].kind != "embedding":
            continue
        tracker = too_fast.tables[finding.places.shown[0].layer]
        whole = next(one for one in tracker.findings() if one.rule_id == finding.rule)
        assert finding.rows.count == len(whole.rows)
        assert len(finding.rows.shown) <= 5


def test_tables_that_are_alike_are_one_group(too_fast):
    groups = [one for one in too_fast.to_report().watched if one.kind == "embedding"]
    assert sum(one.count for one in groups) == 26
    assert len(groups) <= 3


def test_a_sound_run_has_no_objection():
    watch = ranked(0.003, sizes=(20, 30, 40))
    report = watch.to_report()
    assert not [one for one in report.findings if one.severity in ("high", "critical")]
    assert report.learning_rate.verdict in ("no_objection", "open")
    watch.detach()


def test_json_has_the_names_of_the_xml(too_fast):
    read = json.loads(too_fast.to_json())
    assert read == too_fast.to_dict()
    report = read["flowgrad_watch_report"]
    assert report["status"] == "FINDINGS"
    first = report["causal_model"][0]
    assert {"type", "rule", "severity", "premise", "places", "confidence"} <= set(first)
    assert first["places"]["place"][0]["layer"]
    assert {one["name"] for one in report["coverage"]["seen"]} >= {"steps", "tables", "losses"}


def test_a_notebook_shows_it_with_every_text_escaped(too_fast):
    html = too_fast._repr_html_()
    assert re.fullmatch(r"<Watch of \w+: [\d,]+ steps>", repr(too_fast))
    assert "LEARNING_RATE_TOO_HIGH" in html
    model = made()
    with flowgrad.watch(model, torch.optim.SGD(model.parameters(), 0.1), name="<script>") as watch:
        assert "<script>" not in watch._repr_html_()


def test_what_was_not_logged_is_said():
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with flowgrad.watch(model, optimizer) as watch:
        train(model, [optimizer], watch, log=False)
        unseen = {one.name: one.because for one in watch.to_report().coverage.unseen}
    assert "watch.log(loss=loss)" in unseen["loss"]
    assert "watch.end_epoch()" in unseen["epochs"]
    assert "inputs=x" in unseen["batches"]


def test_losses_that_were_logged_now_and_then_are_said():
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with flowgrad.watch(model, optimizer) as watch:
        for _ in range(4):
            train(model, [optimizer], watch, 10, log=False)
            watch.log(loss=0.7)
        unseen = {one.name: one.because for one in watch.to_report().coverage.unseen}
    assert unseen["loss"].startswith("logged 4 times in 40 steps")


def test_nothing_told_asks_for_a_call_that_the_loop_does_not_need():
    """Lines of the trackers asked for step(loss) and end_epoch(train_loss, ...), which `watch` calls itself."""
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with flowgrad.watch(model, optimizer) as watch:
        train(model, [optimizer], watch, log=False)
        text = watch.report()
    assert "step(loss)" not in text
    assert "tracker" not in text


def test_losses_of_an_epoch_are_meant():
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with flowgrad.watch(model, optimizer) as watch:
        for epoch in range(3):
            train(model, [optimizer], watch, 10)
            for part in (1.0, 2.0):
                watch.log(val_loss=part + epoch, metric=0.5)
            watch.end_epoch()
        measured = watch.details().reports[1]
        figures = {one.name: one.value for one in measured.measurements}
        assert watch._attached.course.validation_losses == (1.5, 2.5, 3.5)
        assert len(watch._attached.course.train_losses) == 3
        assert figures["metric_told"] == 1.0
        assert watch._attached.course.measurements().scalars["steps"] == 30


def test_the_last_loss_counts_though_it_is_told_after_its_step(watched):
    watched.to_report()
    assert watched.network.measurements().coverage.seen["losses"] == 40


def test_batches_that_are_logged_are_looked_at():
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    ids, labels = data()
    with flowgrad.watch(model, optimizer) as watch:
        for _ in range(2):
            for x, y in zip(ids.split(64), labels.split(64), strict=True):
                optimizer.zero_grad()
                outputs = model(x)
                loss = criterion(outputs, y)
                loss.backward()
                optimizer.step()
                watch.log(loss=loss, inputs=x, targets=y, outputs=outputs)
            watch.log(val_loss=0.5, inputs=ids[:64], targets=labels[:64])
            watch.end_epoch()
        report = watch.to_report()
        assert {one.kind for one in report.watched} == {"flow", "embedding", "batches"}
        figures = watch.batches.measurements().scalars
        assert figures["validation_rows"] == 64
        assert figures["loss_looks"] > 0
        assert figures["late_steps"] == 0


def test_rates_that_are_contradicted_have_no_change():
    book = RuleBook.load()
    low, high = (
        {
            "subject": "flow",
            "severity": "high",
            "condition": "steps > 0",
            "premise": "p",
            "implies": "i",
            "action": action,
            "expected_effect": "e",
            "plain": {"torch": "x"},
        }
        for action in ("INCREASE_LEARNING_RATE", "DECREASE_LEARNING_RATE")
    )
    own = RuleBook.from_mapping({"one": {**low, "type": "ONE"}, "other": {**high, "type": "OTHER"}})
    assert len(book) > len(own)
    model = made()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with flowgrad.watch(model, optimizer, rules=own) as watch:
        train(model, [optimizer], watch, 8)
        report = watch.to_report()
    assert report.learning_rate.verdict == "contradictory"
    assert report.learning_rate.change == ""
    assert all(not one.plain and "says otherwise" in one.deferred for one in report.findings)


def test_a_report_without_a_table():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with flowgrad.watch(model, optimizer, name="net") as watch:
        for _ in range(40):
            optimizer.zero_grad()
            model(torch.ones(8, 4)).square().mean().backward()
            optimizer.step()
        report = watch.to_report()
        assert [one.kind for one in report.watched] == ["flow"]
        assert "tables" not in {one.name for one in report.coverage.seen}
        assert report.findings == () or report.findings[0].places.shown[0] == Place("net", "flow")


def test_several_reports_are_told_on_few_screens(watched):
    """Those of sixty-four trainings would be thousands of lines."""
    one = watched.to_report()
    blind = replace(one, findings=(), coverage=replace(one.coverage, blind="nothing was seen"))
    made = [replace(one if place % 2 else blind, layer=f"train.py ({place}: Net)") for place in range(64)]
    text = to_short_text(RunReport(tuple(made)))
    assert text.startswith("64 trainings, one after the other:\n  train.py (0: Net): steps 40, NOT_OBSERVED\n")
    assert "  ... and 44 more; the XML has them\n" in text
    assert text.count("Alike: ") == 2
    assert len(text.splitlines()) < 22 + 2 * 62
    assert len(to_xml(RunReport(tuple(made)))) < 64 * 20_000


def test_a_fact_that_was_told_of_one_table_is_not_asked_for_again():
    model = nn.ModuleDict({name: nn.Embedding(20, 4) for name in ("users", "films")})
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = flowgrad.watch(model, optimizer)
    for _ in range(20):
        optimizer.zero_grad()
        loss = (model["users"](torch.arange(8)) * model["films"](torch.arange(8))).sum()
        loss.backward()
        optimizer.step()
        watch.log(loss=loss)
    assert "in-batch negatives" in str(watch.report())
    watch.tables["films"].observe(in_batch_negatives=1, sampling_correction=1)
    told = str(watch.report())
    assert "nobody told residuals or labels of the tables" in told
