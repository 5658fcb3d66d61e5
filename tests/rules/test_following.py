"""Findings that another of the same run explains: low, without a fix, and with the type of what they follow from."""

from itertools import permutations

import pytest

from flowgrad import TrainingTracker, joined
from flowgrad.errors import RuleError
from flowgrad.evidence.ledger import Ledger
from flowgrad.measurements import Measure, Measurements
from flowgrad.report import from_xml, to_text, to_xml
from flowgrad.rules import RuleBook, settled

VOCABULARY = {
    "flow": (Measure("gap", "ratio", "Gap."), Measure("rate", "rate", "Rate.")),
    "training": (Measure("rise", "ratio", "Rise of the loss."),),
}
PROSE = {"premise": "p", "implies": "i", "action": "ACT", "expected_effect": "e"}


def rule(kind, condition, severity="medium", subject="flow", **more):
    return {"subject": subject, "type": kind, "condition": condition, "severity": severity, **PROSE, **more}


FIX = {"scale": {"optimizer.lr": 0.1}}
RULES = {
    "rate": rule("RATE_TOO_HIGH", "rate > 1", "high", fix=FIX),
    "gap": rule("OVERFITTING", "gap > 1", "critical", fix=FIX, plain={"torch": "x"}, follows=["RATE_TOO_HIGH"]),
    "rise": rule("DIVERGENCE", "rise > 1", "critical", "training", fix=FIX, follows=["RATE_TOO_HIGH"]),
}


def book(**changed):
    return RuleBook.from_mapping(RULES | changed, VOCABULARY, ledger=Ledger(()))


def found(rules, kind="flow", **scalars):
    return rules.evaluate(Measurements(kind, "net", scalars))


def test_what_another_finding_explains_prescribes_nothing():
    """Overfitting was asserted, with regularisation as its fix, beside a learning rate a hundred times too high."""
    rate, gap = found(book(), gap=2.0, rate=2.0)
    assert (rate.type, rate.severity, rate.follows) == ("RATE_TOO_HIGH", "high", "")
    assert (gap.type, gap.severity, gap.follows) == ("OVERFITTING", "low", "RATE_TOO_HIGH")
    assert (gap.fix, gap.plain) == (None, {})
    assert "RATE_TOO_HIGH" in gap.implies


def test_it_stands_by_itself_where_nothing_explains_it():
    (gap,) = found(book(), gap=2.0, rate=0.0)
    assert (gap.severity, gap.follows) == ("critical", "")
    assert gap.fix is not None


@pytest.mark.parametrize("severity", ["info", "low"])
def test_a_finding_that_whispers_explains_nothing(severity):
    (gap, _) = found(book(rate=rule("RATE_TOO_HIGH", "rate > 1", severity)), gap=2.0, rate=2.0)
    assert (gap.severity, gap.follows) == ("critical", "")


def test_a_question_that_others_rest_on_explains_at_any_severity():
    """Validation rows of ids that training never met: overfitting was asserted, with a fix, beside a low question."""
    (gap, rate) = found(book(rate=rule("RATE_TOO_HIGH", "rate > 1", "low", explains=True)), gap=2.0, rate=2.0)
    assert {gap.follows, rate.follows} == {"RATE_TOO_HIGH", ""}
    with pytest.raises(RuleError, match="explains: must be true or false, got str 'yes'"):
        book(rate=rule("RATE_TOO_HIGH", "rate > 1", explains="yes"))


def test_findings_of_several_trackers_are_told_together():
    rules = book()
    flow, training = joined([found(rules, gap=0.0, rate=2.0), found(rules, "training", rise=2.0)])
    assert [one.follows for one in (*flow, *training)] == ["", "RATE_TOO_HIGH"]
    assert training[0].fix is None


def test_the_order_of_trackers_does_not_matter_and_settling_twice_changes_nothing():
    rules = book()
    findings = (*found(rules, gap=2.0, rate=2.0), *found(rules, "training", rise=2.0))
    told = {tuple(sorted((f.type, f.severity, f.follows) for f in settled(order))) for order in permutations(findings)}
    assert len(told) == 1
    assert [f.follows for f in settled(settled(findings))] == [f.follows for f in settled(findings)]


@pytest.mark.parametrize(
    ("follows", "problem"),
    [
        ("RATE_TOO_HIGH", "must be a list of types"),
        ([], "must be a list of types"),
        (["rate too high"], "got 'rate too high' in it"),
        ([1], "got 1 in it"),
    ],
)
def test_what_cannot_be_followed_is_refused(follows, problem):
    with pytest.raises(RuleError, match=problem):
        book(gap=rule("OVERFITTING", "gap > 1", follows=follows))


def test_findings_that_follow_in_a_circle_are_refused():
    """Each of the two would have explained the other away."""
    with pytest.raises(RuleError, match="cannot follow in a circle"):
        book(rate=rule("RATE_TOO_HIGH", "rate > 1", follows=["OVERFITTING"]))


def test_shipped_rules_follow_types_that_exist():
    shipped = RuleBook.load()
    elsewhere = {"NOT_SHUFFLED", "STRONG_COLUMN", "TARGET_LEAK"}
    elsewhere |= {"VALIDATION_ROWS_SEEN", "VALIDATION_ROWS_TRAINED_EARLIER"}
    known = {name for one in shipped.values() for name in (one.type, one.symptom)} | elsewhere
    assert {kind for one in shipped.values() for kind in one.follows} <= known


def test_a_report_says_what_a_finding_follows_from():
    rules = RuleBook.from_mapping(
        {
            "high": rule("DIVERGENCE", "epochs > 1", "high", "training"),
            "low": rule("OVERFITTING", "epochs > 1", "critical", "training", follows=["DIVERGENCE"]),
        }
    )
    tracker = TrainingTracker(rules=rules)
    for loss in (1.0, 2.0):
        tracker.end_epoch(loss)
    report = tracker.to_report()
    assert [(f.type, f.follows) for f in report.findings] == [("DIVERGENCE", ""), ("OVERFITTING", "DIVERGENCE")]
    assert from_xml(to_xml(report)) == report
    assert b'follows="DIVERGENCE"' in to_xml(report)
    assert "Follows from" in to_text(report)
