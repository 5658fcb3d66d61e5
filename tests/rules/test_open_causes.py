"""Rules that name a symptom and its candidates where the cause cannot be told, and fixes in a library's own words."""

import math

import pytest

from flowgrad.errors import RuleError
from flowgrad.evidence.ledger import Ledger
from flowgrad.measurements import Judged, Measure, Measurements
from flowgrad.measures import training
from flowgrad.rules import RuleBook

VOCABULARY = {
    "flow": (
        Measure("rise", "ratio", "Rise of the loss."),
        Measure("decay", "rate", "Weight decay."),
        *(measure for measure in training.MEASURES if measure.on_evaluation),
    )
}
RULE = {
    "subject": "flow",
    "type": "DECAY_TOO_STRONG",
    "condition": "rise > 1",
    "requires": "decay > 0",
    "symptom": "LOSS_RISES",
    "candidates": {"RATE_TOO_HIGH": "Halve the rate.", "DECAY_TOO_STRONG": "Set the decay to 0."},
    "premise": "The loss rose {rise:.1f} times.",
    "implies": "Decay outweighs the gradient.",
    "action": "DECREASE_WEIGHT_DECAY",
    "expected_effect": "The loss falls.",
    "fix": {"scale": {"optimizer.weight_decay": 0.1}},
    "plain": {"torch": 'group["weight_decay"] *= 0.1  # it rose {rise:.1f} times'},
}


def book(**rule):
    return RuleBook.from_mapping({"mine": RULE | rule}, VOCABULARY, ledger=Ledger(()))


def found(rules, framework="torch", judged=None, **scalars):
    (finding,) = rules.evaluate(Measurements("flow", "net", scalars, judged=judged, framework=framework))
    return finding


def test_a_cause_is_claimed_where_its_preconditions_hold():
    finding = found(book(), rise=2.0, decay=0.01)
    assert (finding.type, finding.action, finding.candidates) == ("DECAY_TOO_STRONG", "DECREASE_WEIGHT_DECAY", ())
    assert finding.fix is not None
    assert finding.plain == {"torch": 'group["weight_decay"] *= 0.1  # it rose 2.0 times'}
    assert [one.name for one in finding.evidence] == ["rise", "decay"]


@pytest.mark.parametrize("decay", [0.0, math.nan])
def test_elsewhere_the_symptom_and_the_checks_that_would_tell_are_named(decay):
    """Weight decay was blamed in a run without any; where it is not known, it must not be blamed either."""
    finding = found(book(), rise=2.0, decay=decay)
    assert (finding.type, finding.action) == ("LOSS_RISES", "CHECK_CANDIDATES")
    assert [(one.cause, one.check) for one in finding.candidates] == list(RULE["candidates"].items())
    assert finding.fix is None
    assert finding.plain == {}
    assert (finding.confidence.basis, finding.confidence.value) == ("prior", 0.5)


def test_a_rule_with_candidates_alone_never_claims():
    rule = {key: value for key, value in RULE.items() if key not in ("requires", "symptom", "fix", "plain")}
    rules = RuleBook.from_mapping({"mine": rule | {"type": "LOSS_RISES"}}, VOCABULARY, ledger=Ledger(()))
    finding = found(rules, rise=2.0)
    assert (finding.type, finding.action) == ("LOSS_RISES", "DECREASE_WEIGHT_DECAY")
    assert len(finding.candidates) == 2


def test_a_precondition_is_part_of_what_a_trial_speaks_of():
    plain = {key: value for key, value in RULE.items() if key not in ("requires", "symptom", "candidates")}
    without = RuleBook.from_mapping({"mine": plain}, VOCABULARY, ledger=Ledger(()))
    assert book()["mine"].sha256 != without["mine"].sha256
    assert book()["mine"].sha256 == book(plain={"torch": "another"})["mine"].sha256


@pytest.mark.parametrize(
    ("framework", "told"), [("torch", {"torch"}), ("xgboost", {"any"}), ("", {"torch", "any"}), ("lightgbm", {"any"})]
)
def test_a_fix_is_told_in_the_words_of_the_library_that_trains(framework, told):
    finding = found(book(plain={"torch": "t", "any": "a"}), framework, rise=2.0, decay=1.0)
    assert set(finding.plain) == told


def test_a_finding_says_which_evaluation_it_rests_on():
    judged = Judged("ndcg@10", "higher", "valid", "best_iteration")
    rules = book(condition="val_rise > 1", premise="{judged} rose.")
    finding = found(rules, judged=judged, val_rise=2.0, decay=1.0)
    assert finding.judged == judged
    assert finding.premise == "ndcg@10 (higher is better) on valid rose."
    assert found(rules, val_rise=2.0, decay=1.0).premise == "the validated metric rose."
    assert found(book(), judged=judged, rise=2.0, decay=1.0).judged is None


def test_what_could_not_be_judged_is_told_with_the_figures_that_are_missing():
    rules = book()
    unknown = Measurements("flow", "net", {"rise": math.nan, "decay": 1.0})
    assert rules.unjudged(unknown) == {"mine": "rise is not known"}
    assert not rules.judges(unknown)
    assert rules.unjudged(Measurements("flow", "net", {"rise": 0.5})) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"requires": "nothing > 1"}, "requires: unknown name 'nothing'"),
        ({"requires": "decay"}, "requires: "),
        ({"symptom": "loss rises"}, "symptom: must be upper snake case"),
        ({"candidates": None}, "symptom and candidates are told; give both"),
        ({"symptom": None}, "symptom and candidates are told; give both"),
        ({"requires": None, "symptom": None}, "a rule with a fix claims its cause"),
        ({"requires": None, "candidates": None}, "symptom: it is told where `requires` does not hold"),
        ({"candidates": {"rate": "check"}}, "a cause must be upper snake case"),
        ({"candidates": {"RATE": ""}}, "candidates: RATE: must be text"),
        ({"candidates": ["RATE"]}, "candidates: must be a mapping of causes"),
        ({"plain": {"keras": "x"}}, "unknown framework 'keras'"),
        ({"plain": {"torch": 1}}, "plain: torch: must be text"),
        ({"plain": {"torch": "{nothing}"}}, "plain: unknown name 'nothing'"),
        ({"premise": "{judged:.1f}"}, "premise: unknown name 'judged'"),
    ],
)
def test_a_rule_that_cannot_be_told_is_refused(change, message):
    with pytest.raises(RuleError, match=r"rule 'mine': ") as refusal:
        book(**change)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ("boosting", {"xgboost", "lightgbm", "catboost"}),
        ("feature", {"any"}),
        ("saliency", {"torch"}),
        ("quantization", {"torch"}),
    ],
)
def test_every_fix_of_a_shipped_rule_is_told_in_the_words_of_the_library(subject, words):
    """Readers without a config were told to set model.min_child_weight."""
    told = {rule.id: set(rule.plain) for rule in RuleBook.load().values() if rule.subject == subject and rule.fix}
    assert told
    assert {rule: words - plain for rule, plain in told.items() if not words <= plain} == {}
