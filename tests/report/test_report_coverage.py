"""What a report rests on, and the three states that follow."""

import math
from dataclasses import replace

import pytest

from flowgrad.evidence.ledger import Ledger
from flowgrad.measurements import Coverage, Measurements
from flowgrad.report import FINDINGS, HEALTHY, NOT_OBSERVED, build_report, causal_model, from_xml, to_text, to_xml
from flowgrad.report.report import Unjudged
from flowgrad.report.short_text import to_short_text
from flowgrad.rules import RuleBook

RULES = RuleBook.from_mapping(
    {
        "mine": {
            "subject": "training",
            "type": "MINE",
            "condition": "val_rise > 1",
            "premise": "It rose.",
            "implies": "Something.",
            "action": "LOOK",
            "expected_effect": "You know.",
        },
    },
    ledger=Ledger(()),
)
SEEN = Coverage({"steps": 40.0}, {"validation_loss": "never told; call end_epoch(train, validation)"})


def report(coverage=SEEN, **scalars):
    measured = Measurements("training", "run", {"val_rise": 0.1, "val_fall": math.nan} | scalars, coverage=coverage)
    return build_report(measured, [causal_model(one) for one in RULES.evaluate(measured)], book=RULES)


def test_a_report_is_healthy_where_it_could_have_seen_a_fault():
    found = report()
    assert found.status == HEALTHY
    assert "No findings." in to_text(found)


def test_a_finding_is_a_finding():
    assert report(val_rise=2.0).status == FINDINGS
    assert report(Coverage(blind="no step was seen"), val_rise=2.0).status == FINDINGS


def test_a_blind_tracker_is_not_healthy():
    """A tracker that saw no lookup of a table that moved said "No findings"."""
    found = report(replace(SEEN, blind="no step was seen"))
    assert found.status == NOT_OBSERVED
    assert not found.healthy
    text = to_text(found)
    assert "No findings." not in text
    assert "Blind" in text
    assert "no step was seen" in text
    assert b"<status>NOT_OBSERVED</status>" in to_xml(found)


def test_where_no_rule_could_be_judged_nothing_is_healthy():
    found = report(val_rise=math.nan)
    assert found.status == NOT_OBSERVED
    assert [(one.rule, one.because) for one in found.coverage.unjudged] == [("mine", "val_rise is not known")]


def test_an_unknown_figure_stands_once_under_coverage_and_not_among_the_measurements():
    found = report()
    assert [metric.name for metric in found.measurements] == ["val_rise"]
    assert found.coverage.unknown == "val_fall"
    assert b"NaN" not in to_xml(found)


def test_what_was_not_seen_is_said_with_the_way_to_see_it():
    text = to_text(report())
    assert "validation_loss: never told; call end_epoch(train, validation)" in text
    assert "steps 40" in text


@pytest.mark.parametrize("rules", [1, 3, 4])
def test_more_than_three_rules_that_are_not_judged_are_counted_in_texts_and_named_in_the_xml(rules):
    """A tracker of a booster whose data nobody showed listed 25 rules in as many lines."""
    named = tuple(Unjudged(f"rule_{n}", "val_rise is not known") for n in range(rules))
    coverage = replace(report().coverage, unjudged=named)
    found = replace(report(), coverage=coverage)
    count = f"{rules} rules, for figures that are not known; the XML names them"
    assert (count in to_text(found)) == (rules > 3)
    assert ("rule_0 (val_rise is not known)" in to_text(found)) == (rules <= 3)
    assert count.replace("1 rules", "1 rule") in to_short_text(found)
    assert from_xml(to_xml(found).decode()).coverage.unjudged == named


def test_reports_of_earlier_versions_are_read():
    root = "flowgrad_training_report"
    old = f"<{root} layer='run' schema_version='1.0'><status>HEALTHY</status></{root}>"
    assert from_xml(old).status == HEALTHY
    assert from_xml(old).coverage is None
