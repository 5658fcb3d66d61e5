"""Kinds of subjects that the library does not know: a subclass of `Subject` names one; rules and reports take it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from flowgrad import RuleBook, measures
from flowgrad.errors import FlowGradError, ReportError, RuleError
from flowgrad.measurements import Coverage, Measure, Measurements
from flowgrad.report import from_xml, to_xml, validate
from flowgrad.rules import kinds
from flowgrad.subject import Subject
from flowgrad.testing import TrackerContract
from flowgrad.trackers import Tracker, to_agent_xml
from flowgrad.trackers.flow import FlowTracker

LARGEST = Measure("largest_norm", "norm", "Largest norm of a parameter.")


class Norms(Tracker):
    KIND = "largest_norms"
    MEASURES = (LARGEST,)

    def __init__(self, model, name="norms", rules=None):
        super().__init__(name, rules)
        self.model, self.steps, self.largest = model, 0, math.nan

    def step(self):
        self.steps += 1
        self.largest = max(float(parameter.detach().norm()) for parameter in self.model.parameters())

    def end_epoch(self):
        pass

    def _measure(self):
        seen = Coverage({"steps": self.steps}, blind="" if self.steps else "no step was seen")
        return Measurements(self.KIND, self.name, {"largest_norm": self.largest}, {}, self.steps, seen)


def rule(**changes):
    return {
        "subject": "largest_norms", "type": "LARGE_LAYER", "condition": "largest_norm > 0",
        "premise": "{largest_norm:.1f}", "implies": "It is large.", "action": "LOOK", "expected_effect": "None.",
    } | changes  # fmt: skip


class TestNorms(TrackerContract):
    """The contract that every tracker of the library passes."""

    def make_model(self):
        return nn.Linear(4, 2)

    def make_optimizer(self, model):
        return torch.optim.SGD(model.parameters(), 0.1)

    def make_tracker(self, model):
        return Norms(model)

    def watched(self, model):
        return model

    def loss(self, model, step):
        return model(torch.full((3, 4), 1.0 + step)).square().mean()


@pytest.fixture
def declared() -> Iterator[None]:
    """Takes back what a test declares."""
    before, owners = dict(measures.VOCABULARY), dict(kinds._OWNERS)
    yield
    for known, kept in ((measures.VOCABULARY, before), (kinds._OWNERS, owners)):
        known.clear()
        known.update(kept)


def subclass(kind, names=("a",), base=Subject, name="Mine"):
    own = tuple(Measure(one, "count", "A figure.") for one in names)
    return type(name, (base,), {"KIND": kind, "MEASURES": own, "__module__": "mine"})


def test_a_rule_on_the_kind_fires_and_is_reported():
    tracker = Norms(nn.Linear(4, 2), rules=RuleBook.from_mapping({"large": rule()}))
    assert tracker.to_report().status == "NOT_OBSERVED"
    tracker.step()
    assert [finding.type for finding in tracker.findings()] == ["LARGE_LAYER"]
    text = tracker.to_agent_xml()
    assert text.startswith("<flowgrad_largest_norms_report ")
    assert 'unit="norm"' in text
    assert from_xml(text) == tracker.to_report()
    assert "Largest_norms report: norms" in tracker.report()


def test_it_shares_a_document_with_trackers_of_ours():
    model = nn.Linear(4, 2)
    flow = FlowTracker(model, torch.optim.SGD(model.parameters(), 0.1))
    text = to_agent_xml([flow, Norms(model)])
    assert [part.kind for part in from_xml(text).reports] == ["flow", "largest_norms"]


@pytest.mark.parametrize("names", [{"condition": "largest > 0"}, {"premise": "{other}"}, {"rows": "row > 1"}])
def test_its_rules_may_name_what_it_measures_and_nothing_else(names):
    with pytest.raises(RuleError, match="large"):
        RuleBook.from_mapping({"large": rule(**names)})


def test_a_rule_on_a_kind_that_nobody_declared_names_the_way_out():
    with pytest.raises(RuleError, match=r"nothing measures 'gardens'.*import a tracker of your own first"):
        RuleBook.from_mapping({"large": rule(subject="gardens")})


@pytest.mark.parametrize("kind", ["Layer", "layer norms", "", "_a", "a__b", "1a", "layer-norms", 3, None])
def test_a_kind_that_no_report_could_be_named_by_is_refused(declared, kind):
    with pytest.raises(FlowGradError, match="must be lower snake case"):
        subclass(kind)


def test_a_kind_of_another_class_is_refused(declared):
    subclass("apples")
    with pytest.raises(
        FlowGradError, match=re.escape("KIND='apples' is that of mine.Mine, which measures something else")
    ):
        subclass("apples", ("b",), name="Other")
    with pytest.raises(FlowGradError, match=re.escape("KIND='flow' is that of flowgrad")):
        subclass("flow", ("b",), name="Other")


def test_a_class_that_is_made_anew_declares_anew(declared):
    """A cell of a notebook that is run again made its class a second time, and its old measures stood."""
    subclass("apples")
    subclass("apples", ("a", "b"))
    assert [measure.name for measure in measures.VOCABULARY["apples"]] == ["a", "b"]


def test_a_measure_that_stands_twice_is_refused(declared):
    with pytest.raises(FlowGradError, match="'a' twice"):
        subclass("apples", ("a", "a"))


def test_subclasses_without_a_kind_declare_none(declared):
    before = dict(measures.VOCABULARY)
    type("Quiet", (FlowTracker,), {})
    assert before == measures.VOCABULARY
    assert not kinds.is_own("flow")
    assert kinds.is_own("largest_norms")


def body(tag):
    return f'<{tag} layer="l" schema_version="1.0"><status>HEALTHY</status></{tag}>'


def test_reports_of_kinds_that_only_their_writer_knows_are_read():
    garden = from_xml(body("flowgrad_my_garden2_report"))
    assert garden.kind == "my_garden2"
    with pytest.raises(ReportError, match="nothing here measures the kind 'my_garden2'; import its tracker first"):
        to_xml(garden)
    both = f"<flowgrad_report>{body('flowgrad_a_report')}{body('flowgrad_flow_report')}</flowgrad_report>"
    assert [part.kind for part in from_xml(both).reports] == ["a", "flow"]


@pytest.mark.parametrize(
    "text",
    [
        body("flowgrad_My_report"),
        body("flowgrad__report"),
        body("flowgrad_a_b__c_report"),
        body("garden_report"),
        body("flowgrad_garden_reports"),
        f"<flowgrad_report>{body('x')}</flowgrad_report>",
        f"<flowgrad_report>{''.join(body(f'flowgrad_k{n}_report') for n in range(65))}</flowgrad_report>",
        body("flowgrad_garden_report").replace("HEALTHY", "FINE"),
        body("flowgrad_garden_report").replace('layer="l"', ""),
    ],
)
def test_others_are_refused(text):
    with pytest.raises(ReportError, match="line 1: "):
        validate(text)
