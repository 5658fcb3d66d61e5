import copy
import math
import pickle
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml

import flowgrad
from flowgrad.errors import RuleError
from flowgrad.evidence.confidence import posterior
from flowgrad.evidence.ledger import Ledger, Trial
from flowgrad.measurements import Measure, Measurements
from flowgrad.rules import Evidence, Fix, RuleBook
from flowgrad.rules.entries import read_entries
from flowgrad.rules.rulebook import SHIPPED

VOCABULARY = {
    "embedding": (
        Measure("gini", "share", "Inequality."),
        Measure("median_velocity", "norm", "Speed."),
        Measure("exposures", "count", "Lookups.", per_row=True),
        Measure("coherence", "cosine", "Direction.", per_row=True),
    ),
    "training": (Measure("loss_last", "loss", "Loss."), Measure("gini", "share", "Same name, other subject.")),
}

ZOMBIE = {
    "subject": "embedding",
    "type": "ZOMBIE_EMBEDDINGS",
    "severity": "high",
    "condition": "zombie_share > 0.25",
    "rows": "exposures >= 10 and coherence < 0",
    "share": "zombie_share",
    "premise": "{zombie_share:.1%} of rows at {median_velocity:.3g}.",
    "implies": "Too fast.",
    "action": "DECREASE_LEARNING_RATE",
    "expected_effect": "Rows settle.",
    "risk": "Slower.",
    "fix": {"scale": {"optimizer.lr": 0.1}},
    "reference": "a note",
}
PLAIN = {
    "subject": "embedding",
    "type": "UNEQUAL",
    "condition": "gini > 0.7",
    "premise": "Gini {gini:.2f}.",
    "implies": "x",
    "action": "LOOK",
    "expected_effect": "y",
}


def seen(rows=None, kind="embedding", **scalars):
    table = pd.DataFrame(
        {
            "coherence": [-0.5, -0.1, 0.5, math.nan, -0.9, -0.2],
            "exposures": [20.0, 50.0, 30.0, 40.0, 5.0, 20.0],
            "title": list("abcdef"),
        },
        index=pd.Index([12, 3, 7, 1, 9, 5], name="id"),
    )
    tables = {"rows": table if rows is None else rows}
    return Measurements(kind, "item_emb", {"gini": 0.8, "median_velocity": 0.21, **scalars}, tables)


def book(vocabulary=VOCABULARY, **rules):
    return RuleBook.from_mapping(rules, vocabulary)


def write(path, **rules):
    path.write_text("# @package rules\n" + yaml.safe_dump(rules, sort_keys=False), encoding="utf-8")
    return path


def without(rule, key):
    return {name: value for name, value in rule.items() if name != key}


# --- what is refused -------------------------------------------------------------------------------------------------

WRONG_RULES = [
    # key changed, its value, and what the message must hold
    ("conditon", "gini > 1", "unknown key 'conditon'; did you mean 'condition'?"),
    ("id", "mine", "unknown key 'id'"),
    ("source", "mine", "unknown key 'source'"),
    (7, "x", "unknown key 7"),
    ("condition", True, "condition: must be text, got bool True; put it in quotes"),
    ("condition", 0.5, "condition: must be text, got float 0.5"),
    ("condition", None, "condition: must be text, got NoneType None"),
    ("condition", ["gini > 1"], "condition: must be text, got list"),
    ("condition", " ", "condition: must not be empty"),
    ("condition", "gini >", "condition: does not parse at column 7"),
    ("condition", "gini > 1 and gin < 2", "condition: unknown name 'gin' at column 14; did you mean 'gini'?"),
    ("condition", "coherence > 0", "column 1; known: gini, median_velocity ('coherence' is measured per row"),
    ("condition", "loss_last > 0", "('loss_last' is no measure of 'embedding', and a share of that name is defined by"),
    ("condition", "abs(gini) > 0", "condition: 'abs(gini)' at column 1 is not allowed"),
    ("condition", "gini", "condition: 'gini' at column 1 is a number"),
    ("premise", 3, "premise: must be text, got int 3"),
    ("premise", "", "premise: must not be empty"),
    ("premise", "{gin}", "premise: unknown name 'gin' in field '{gin}'; did you mean 'gini'?"),
    ("premise", "{exposures}", "'exposures' is measured per row"),
    ("premise", "{gini.real}", "premise: field '{gini.real}' is no plain name"),
    ("premise", "{gini.__class__.__init__.__globals__}", "is no plain name"),
    ("premise", "{gini[0]}", "premise: field '{gini[0]}' is no plain name"),
    ("premise", "{}", "premise: field '{}' is no plain name"),
    ("premise", "{0}", "premise: field '{0}' is no plain name"),
    ("premise", "{gini!r}", "premise: field '{gini!r}' uses the conversion '!r'"),
    ("premise", "{gini:{gini}}", "premise: field '{gini:{gini}}' has a nested or oversized format spec"),
    ("premise", "{gini:999999999}", "nested or oversized"),
    ("premise", "{gini:.999999999f}", "nested or oversized"),
    ("premise", "{gini:d}", "premise: field '{gini:d}' has a format spec that does not fit a number"),
    ("premise", "{gini:.2q}", "does not fit a number"),
    ("premise", "{gini", "premise: is no format string"),
    ("premise", "100 %}", "premise: is no format string"),
    ("subject", "embeding", "subject: nothing measures 'embeding'; known: embedding, training"),
    ("severity", "urgent", "severity: must be one of info, low, medium, high, critical, got 'urgent'"),
    ("severity", 3, "severity: must be text, got int 3"),
    ("type", "Zombie", "type: must be upper snake case such as DECREASE_LEARNING_RATE, got 'Zombie'"),
    ("type", "A__B", "type: must be upper snake case"),
    ("action", "look", "action: must be upper snake case"),
    ("implies", "", "implies: must not be empty"),
    ("reference", 2007, "reference: must be text, got int 2007"),
    ("rows", "gini", "rows: 'gini' at column 1 is a number"),
    ("rows", "exposure > 1", "rows: unknown name 'exposure' at column 1; did you mean 'exposures'?"),
    ("rows", 5, "rows: must be text, got int 5"),
    ("share", "tail_share", "share: 'tail_share' is the share of rows that satisfy 'rows', which is missing"),
    ("fix", "optimizer.lr=1", "fix: must be a mapping of set, scale, copy or rows, got str 'optimizer.lr=1'"),
    ("fix", {}, "fix: changes nothing"),
    ("fix", {"set": {}}, "fix: changes nothing"),
    ("fix", {"sacle": {"a": 1}}, "fix: unknown key 'sacle'; did you mean 'scale'?"),
    ("fix", {"set": ["a"]}, "fix: set must be a mapping of config path to value"),
    ("fix", {"set": {"a..b": 1}}, "fix: set: 'a..b' is no dotted config path"),
    ("fix", {"set": {3: 1}}, "fix: set: 3 is no dotted config path"),
    ("fix", {"set": {"a": {1, 2}}}, "fix: set 'a': must be a config value"),
    ("fix", {"scale": {"a": "0.1"}}, "fix: scale 'a': must be a finite factor such as 0.1, got '0.1'"),
    ("fix", {"scale": {"a": True}}, "fix: scale 'a': must be a finite factor"),
    ("fix", {"scale": {"a": math.inf}}, "fix: scale 'a': must be a finite factor"),
    ("fix", {"scale": {"a": 10**400}}, "fix: scale 'a': must be a finite factor"),
    ("fix", {"scale": {"a": math.nan}}, "fix: scale 'a': must be a finite factor"),
    ("fix", {"copy": {"a": 1}}, "fix: copy 'a': must be a measured name, got 1"),
    ("fix", {"copy": {"a": "gin"}}, "fix: copy 'a': unknown name 'gin'; did you mean 'gini'?"),
    ("fix", {"copy": {"a": "exposures"}}, "'exposures' is measured per row"),
    ("fix", {"rows": ["a.b"]}, "fix: rows: lists the rows that satisfy 'rows', which is missing"),
    ("premises", {}, "premises: must be a mapping of conditions to text, got"),
    ("premises", {"gini > 1": ""}, "premises: gini > 1: must be text"),
    ("premises", {"gin > 1": "x"}, "premises: unknown name 'gin' at column 1; did you mean 'gini'?"),
    ("premises", {"gini > 1": "{gin:.2f}"}, "premises: unknown name 'gin' in field '{gin:.2f}'"),
    ("premises", {"gini": "x"}, "premises: 'gini' at column 1 is a number"),
    ("share_weight", "exposures", "share_weight: there is no share to weigh"),
    ("fix", {"set": {"a.b": 1}, "scale": {"a.b": 2}}, "fix: scale: the path 'a.b' stands twice in this fix"),
]


@pytest.mark.parametrize(("key", "value", "message"), WRONG_RULES, ids=lambda value: repr(value)[:30])
def test_a_wrong_value_is_refused_alike_from_yaml_and_from_a_mapping(tmp_path, key, value, message):
    rule = PLAIN | {key: value}
    with pytest.raises(RuleError) as refusal:
        RuleBook.from_mapping({"mine": rule}, VOCABULARY, {"mine": "command line"})
    assert str(refusal.value).startswith("command line: rule 'mine': ")
    assert message in str(refusal.value)

    path = write(tmp_path / "rules.yaml", fine=PLAIN, mine=rule)
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if text == "mine:")
    line += list(rule).index(key) + 1
    with pytest.raises(RuleError) as refusal:
        RuleBook.load(path, vocabulary=VOCABULARY)
    assert str(refusal.value).startswith(f"{path}:{line}: rule 'mine': ")
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("key", ["subject", "type", "condition", "premise", "implies", "action", "expected_effect"])
def test_required_keys(key):
    with pytest.raises(RuleError, match=f"^config: rule 'mine': lacks the required key {key}$"):
        book(mine=without(PLAIN, key))


@pytest.mark.parametrize("key", ["rows", "share", "fix", "risk", "severity", "reference"])
def test_null_is_the_same_as_left_out(key):
    zombie = ZOMBIE if key != "rows" else without(ZOMBIE, "share")
    other = zombie | {"condition": "gini > 1", "premise": "x"}
    nulled, left_out = book(a=other | {key: None}), book(a=without(other, key))
    assert nulled == left_out


@pytest.mark.parametrize(
    ("share", "message"),
    [
        ("gini", "share: 'gini' is already a measure of 'embedding'"),
        ("exposures", "share: 'exposures' is already a measure of 'embedding'"),
        ("zombie_share", "share: 'zombie_share' is already defined by rule 'zombie'"),
        ("tail share", "share: must be an identifier such as zombie_share, got 'tail share'"),
        ("and", "share: must be an identifier"),
        ("", "share: must be an identifier"),
        (3, "share: must be text, got int 3"),
    ],
)
def test_share_names(share, message):
    with pytest.raises(RuleError, match=r"^config: rule 'mine': ") as refusal:
        book(zombie=ZOMBIE, mine=PLAIN | {"rows": "exposures > 1", "share": share})
    assert message in str(refusal.value)


def test_a_share_cannot_stand_in_rows():
    with pytest.raises(RuleError, match=r"rows: unknown name 'zombie_share'.*is a share: it cannot stand in 'rows'"):
        book(zombie=ZOMBIE, mine=PLAIN | {"rows": "zombie_share > 0.5"})


@pytest.mark.parametrize("rule_id", ["two words", "1st", "a-b", "", True, 3, None])
def test_ids_are_identifiers(rule_id):
    with pytest.raises(RuleError, match="the id must be an identifier"):
        RuleBook.from_mapping({rule_id: PLAIN}, VOCABULARY)


@pytest.mark.parametrize("content", [None, "gini > 1", ["x"], 3])
def test_a_rule_is_a_mapping(content):
    with pytest.raises(RuleError, match=r"^config: rule 'mine': must be a mapping of keys to values, got"):
        book(mine=content)


ONE = "a:\n  subject: embedding\n  type: T\n  condition: gini > 1\n  premise: p\n  implies: i\n  action: A\n"

BROKEN_FILES = [
    ("", ": is empty; expected a mapping of rule id to rule"),
    ("# nothing\n", ": is empty"),
    ("- a\n", ": holds a list; expected a mapping"),
    ("gini > 1\n", ": holds plain text; expected a mapping"),
    ("a: {b: 1\n\nc: ]", ":3: is not YAML"),
    ("a: 1\n--- \nb: 2\n", ":2: is not YAML: expected a single document in the stream, but found another document"),
    ("a: x\n\tb: 1", ":2: is not YAML"),
    ("a: \x00", ": is not YAML"),
    ("a: [" * 3000, ": is not YAML: nested too deeply"),
    ("? [a]\n: {}\n", ":1: a list cannot be a rule's id"),
    ("on: {}\n", ":1: rule True: the id must be an identifier"),
    ("\na: {}\nb: {}\na: {}\n", ":4: rule 'a': is written twice in this file, first on line 2"),
    (ONE + "  premise: p\n", ":8: rule 'a': key 'premise' is written twice"),
    (ONE + "  fix:\n    scale:\n      x.y: 1\n      x.y: 2\n", ":11: rule 'a': key 'x.y' is written twice"),
    (ONE + "  risk: !!python/object/apply:os.system ['true']\n", ":1: rule 'a': could not determine a constructor"),
    (ONE, ":1: rule 'a': lacks the required key expected_effect"),
    ("a: &x {b: *x}\n", ":1: rule 'a': found unconstructable recursive node"),
    ("a: 3\n", ":1: rule 'a': must be a mapping"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN_FILES, ids=range(len(BROKEN_FILES)))
def test_broken_files(tmp_path, text, message):
    path = tmp_path / "broken.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RuleError) as refusal:
        RuleBook.load(path, vocabulary=VOCABULARY)
    assert str(refusal.value).startswith(f"{path}{message}")
    assert "\n" not in str(refusal.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(RuleError, match=r"none\.yaml: cannot be read: No such file"):
        RuleBook.load(tmp_path / "none.yaml")
    with pytest.raises(RuleError, match=r"the folder holds no \*\.yaml file"):
        RuleBook.load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: {implies: \xe9}")
    with pytest.raises(RuleError, match=r"latin\.yaml: is not YAML"):
        RuleBook.load(tmp_path)


# --- what is read ----------------------------------------------------------------------------------------------------


def test_yaml_and_mapping_give_the_same_rule(tmp_path):
    path = write(tmp_path / "a.yaml", zombie=ZOMBIE)
    rule = RuleBook.load(str(path), vocabulary=VOCABULARY)["zombie"]
    assert rule.source == f"{path}:2"
    other = RuleBook.from_mapping({"zombie": ZOMBIE}, VOCABULARY, {"zombie": f"{path}:2"})["zombie"]
    assert rule == other
    assert rule.fix == Fix(scale={"optimizer.lr": 0.1})
    assert rule.condition.text == ZOMBIE["condition"]
    assert rule.rows is not None
    assert rule.rows.names == ("exposures", "coherence")


def test_numbers_are_read_as_hydra_reads_them(tmp_path):
    """YAML 1.1 takes 1e-3 for text and 2020-01-01 for a date; OmegaConf takes them for a number and for text."""
    path = write(tmp_path / "a.yaml", a=PLAIN)
    path.write_text(path.read_text() + "  fix: {scale: {optimizer.lr: 1e-3}, set: {a: 1e5, b: 2020-01-01}}\n")
    fix = RuleBook.load(path, vocabulary=VOCABULARY)["a"].fix
    assert fix == Fix(scale={"optimizer.lr": 1e-3}, set={"a": 1e5, "b": "2020-01-01"})
    assert fix.paths == ("a", "b", "optimizer.lr")


def test_anchors_and_merges_work(tmp_path):
    path = write(tmp_path / "a.yaml", one=PLAIN)
    path.write_text(path.read_text().replace("one:", "one: &one") + "two:\n  <<: *one\n  condition: gini > 2\n")
    loaded = RuleBook.load(path, vocabulary=VOCABULARY)
    assert [rule.condition.text for rule in loaded.values()] == ["gini > 0.7", "gini > 2"]
    assert loaded["two"].premise == loaded["one"].premise


def test_folded_text_loses_its_line_end_and_a_folded_condition_its_breaks(tmp_path):
    path = write(tmp_path / "a.yaml", a=without(without(PLAIN, "condition"), "implies"))
    path.write_text(
        path.read_text() + "  implies: >\n    one\n    two\n  condition: |\n    gini > 1\n      and gini < 2\n"
    )
    rule = RuleBook.load(path, vocabulary=VOCABULARY)["a"]
    assert rule.implies == "one two"
    assert rule.condition.holds({"gini": 1.5})


def test_a_later_file_replaces_and_adds_by_id_and_folders_go_by_name(tmp_path):
    (tmp_path / "own").mkdir()
    write(tmp_path / "own" / "b.yaml", two=PLAIN | {"type": "LATER"}, three=PLAIN)
    write(tmp_path / "own" / "a.yaml", one=PLAIN, two=PLAIN)
    loaded = RuleBook.load(tmp_path / "own", vocabulary=VOCABULARY)
    assert list(loaded) == ["one", "two", "three"]
    assert loaded["two"].type == "LATER"
    last = write(tmp_path / "last.yaml", one=PLAIN | {"type": "LAST"})
    both = RuleBook.load(tmp_path / "own", last, vocabulary=VOCABULARY)
    assert len(both) == 3
    assert both["one"].type == "LAST"
    assert both["one"].source == f"{last}:2"


def test_a_replaced_rule_frees_its_share(tmp_path):
    first = write(tmp_path / "1.yaml", zombie=ZOMBIE)
    second = write(tmp_path / "2.yaml", zombie=PLAIN, other=ZOMBIE)
    assert RuleBook.load(first, second, vocabulary=VOCABULARY)["other"].share == "zombie_share"


def test_a_removed_rule_takes_its_share_along():
    """`~rules.zombie` on the command line must not leave a rule that silently never fires."""
    user = PLAIN | {"condition": "zombie_share > 0.5"}
    assert set(book(user=user, zombie=ZOMBIE)) == {"user", "zombie"}
    with pytest.raises(RuleError, match=r"rule 'user': condition: .*a share of that name is defined by no rule"):
        book(user=user)
    with pytest.raises(RuleError, match="defined by no rule"):
        book(user=user | {"subject": "training"}, zombie=ZOMBIE)


def test_no_rules_are_a_book_too(tmp_path):
    (tmp_path / "a.yaml").write_text("{}")
    assert len(RuleBook.load(tmp_path, vocabulary=VOCABULARY)) == 0
    assert book().evaluate(seen()) == ()


def test_a_book_is_a_mapping_that_travels():
    both = book(zombie=ZOMBIE, plain=PLAIN)
    assert "zombie" in both
    assert both.get("nothing") is None
    assert [rule.id for rule in both.values()] == ["zombie", "plain"]
    for twin in (pickle.loads(pickle.dumps(both)), copy.deepcopy(both)):
        assert twin == both
        assert len(twin.evaluate(seen())) == 2


def test_check_fix_paths():
    config = {"optimizer.lr", "training.epochs"}
    rules = {"zombie": ZOMBIE, "mine": PLAIN | {"fix": {"set": {"training.epochs": 1, "optimizer.lrr": 1}}}}
    both = RuleBook.from_mapping(rules, VOCABULARY, {"mine": "conf/rules/mine.yaml:12"})
    both.check_fix_paths((config | {"optimizer.lrr"}).__contains__)
    message = r"^conf/rules/mine.yaml:12: rule 'mine': fix: the config has no 'optimizer.lrr'"
    with pytest.raises(RuleError, match=message + r"; did you mean 'optimizer.lr'\?$"):
        both.check_fix_paths(config.__contains__, sorted(config))
    with pytest.raises(RuleError, match=message + "$"):
        both.check_fix_paths(config.__contains__)


# --- what is found ---------------------------------------------------------------------------------------------------


def test_shares_count_among_the_known_rows():
    # Row 1 has no coherence; of the other five, 12, 3 and 5 satisfy the condition.
    assert book(zombie=ZOMBIE, plain=PLAIN).shares(seen()) == {"zombie_share": 3 / 5}


def test_a_row_counts_only_if_every_name_in_rows_is_known():
    either = ZOMBIE | {"rows": "exposures > 30 or coherence < 0"}
    assert book(zombie=either).shares(seen()) == {"zombie_share": 4 / 5}
    # ... but a row whose known values decide the condition is named.
    assert list(book(zombie=either).select("zombie", seen()).index) == [3, 1, 5, 12, 9]


@pytest.mark.parametrize(
    "rows",
    [
        pd.DataFrame({"exposures": [1.0, 2.0], "coherence": [math.nan, math.nan]}),
        pd.DataFrame({"exposures": [1.0, 2.0]}),
        pd.DataFrame({"exposures": [], "coherence": []}),
        pd.DataFrame(),
    ],
)
def test_a_share_without_known_rows_is_unknown(rows):
    zombie = book(zombie=ZOMBIE | {"condition": "not zombie_share < 0.25"})
    assert math.isnan(zombie.shares(seen(rows))["zombie_share"])
    assert zombie.evaluate(seen(rows)) == ()
    assert len(zombie.select("zombie", seen(rows))) == 0


def test_measurements_without_a_row_table():
    bare = Measurements("embedding", "item_emb", {"gini": 0.8})
    both = book(zombie=ZOMBIE | {"condition": "gini > 0.5"}, plain=PLAIN)
    assert math.isnan(both.shares(bare)["zombie_share"])
    found = both.evaluate(bare)
    assert [finding.rows for finding in found] == [None, None]
    assert found[0].premise == "nan% of rows at nan."
    assert both.select("zombie", bare).empty


def test_rows_may_compare_with_scalars_and_name_scalars_alone():
    fast = ZOMBIE | {"rows": "exposures / 100 > median_velocity"}
    assert list(book(zombie=fast).select("zombie", seen()).index) == [3, 1, 7]
    assert book(zombie=ZOMBIE | {"rows": "gini > 0.5"}).shares(seen()) == {"zombie_share": 1.0}
    assert book(zombie=ZOMBIE | {"rows": "gini > 0.9"}).shares(seen()) == {"zombie_share": 0.0}
    assert math.isnan(book(zombie=ZOMBIE | {"rows": "gini > 0.5"}).shares(seen(gini=math.nan))["zombie_share"])


def test_select_keeps_all_columns_most_exposed_first_then_by_id():
    measured = seen()
    before = measured.tables["rows"].copy()
    named = book(zombie=ZOMBIE).select("zombie", measured)
    assert list(named.index) == [3, 5, 12]
    assert list(named["title"]) == ["b", "f", "a"]
    pd.testing.assert_frame_equal(measured.tables["rows"], before)


def test_select_without_exposures_keeps_the_order():
    vocabulary = {"layer": (Measure("dead", "share", "Dead.", per_row=True),)}
    rule = PLAIN | {"subject": "layer", "condition": "True", "premise": "x", "rows": "dead > 0.5"}
    table = pd.DataFrame({"dead": [0.9, 0.1, 0.8]}, index=["z", "y", "a"])
    measured = Measurements("layer", "mlp", {}, {"rows": table})
    assert list(book(vocabulary, mine=rule).select("mine", measured).index) == ["z", "a"]


def test_select_refuses_what_it_cannot_answer():
    both = book(zombie=ZOMBIE, plain=PLAIN)
    assert both.select("plain", seen()).empty
    assert list(both.select("plain", seen()).columns) == ["coherence", "exposures", "title"]
    with pytest.raises(RuleError, match=r"no rule 'zombi'; did you mean 'zombie'\?"):
        both.select("zombi", seen())
    with pytest.raises(RuleError, match="rule 'zombie' reads 'embedding' measurements, got 'training'"):
        both.select("zombie", seen(kind="training"))


def test_a_finding_holds_all_that_a_report_needs():
    fix = {"scale": {"optimizer.lr": 0.1}, "copy": {"loss.sigma": "zombie_share"}}
    (finding,) = replace(book(zombie=ZOMBIE | {"fix": fix}), ledger=Ledger()).evaluate(seen())
    assert (finding.rule_id, finding.type, finding.severity) == ("zombie", "ZOMBIE_EMBEDDINGS", "high")
    assert finding.subject == "item_emb"
    assert finding.premise == "60.0% of rows at 0.21."
    assert finding.evidence == (Evidence("zombie_share", 0.6, 0.25),)
    assert finding.confidence == posterior()
    assert finding.rows is not None
    assert list(finding.rows.index) == [3, 5, 12]
    assert finding.measured == {"gini": 0.8, "median_velocity": 0.21, "zombie_share": 0.6}
    assert finding.fix == Fix(**fix)
    assert (finding.risk, finding.implies, finding.expected_effect) == ("Slower.", "Too fast.", "Rows settle.")


def test_evidence_lists_every_name_in_the_condition():
    rule = PLAIN | {"condition": "gini > 0.7 or median_velocity > gini or zombie_share > 1"}
    findings = book(zombie=ZOMBIE, mine=rule).evaluate(seen())
    assert findings[1].evidence == (
        Evidence("gini", 0.8, 0.7),
        Evidence("median_velocity", 0.21, None),
        Evidence("zombie_share", 0.6, 1.0),
    )


def test_evidence_of_a_value_nobody_measured_is_left_out():
    bare = Measurements("embedding", "e", {"gini": 0.8})
    (finding,) = book(mine=PLAIN | {"condition": "gini > 0.7 or median_velocity > 1"}).evaluate(bare)
    assert [one.name for one in finding.evidence] == ["gini"]


def test_confidence_comes_from_the_evidence_given():
    both = book(zombie=ZOMBIE | {"fix": {"set": {"loss.l2": 0.1}}}, plain=PLAIN)
    known = both["zombie"].sha256
    trials = [
        Trial(rule, sha256, "e", "treated_vs_baseline", "mse", 10, 0.01, verdict, str(number))
        for number, (rule, sha256, verdict) in enumerate(
            [
                ("zombie", known, "confirmed"),
                ("zombie", known, "refuted"),
                ("zombie", known, "inconclusive"),
                ("zombie", "another fix", "confirmed"),
                ("elsewhere", known, "confirmed"),
            ]
        )
    ]
    ledger = Ledger(tuple(trials))
    findings = replace(both, ledger=ledger).evaluate(seen())
    # A rule without a fix has nothing that could be confirmed.
    assert [finding.confidence for finding in findings] == [ledger.confidence("zombie", known), posterior()]
    assert (findings[0].confidence.confirmed, findings[0].confidence.trials, findings[0].confidence.refuted) == (
        1,
        3,
        1,
    )


def test_findings_go_by_severity_then_by_the_book():
    severities = {"a": "low", "b": "critical", "c": None, "d": "info", "e": "critical", "f": "high"}
    rules = {name: PLAIN | {"severity": severity} for name, severity in severities.items()}
    assert [finding.rule_id for finding in book(**rules).evaluate(seen())] == ["b", "e", "f", "c", "a", "d"]


def test_only_rules_on_this_kind_of_subject_are_asked():
    rules = book(plain=PLAIN, loss=PLAIN | {"subject": "training", "condition": "gini > 0.7"})
    assert [finding.rule_id for finding in rules.evaluate(seen())] == ["plain"]
    assert [finding.rule_id for finding in rules.evaluate(seen(kind="training"))] == ["loss"]
    assert rules.evaluate(seen(kind="boosting")) == ()


@pytest.mark.parametrize("condition", ["gini > 0.7", "not gini > 0.7", "gini != 0.7", "gini == gini"])
def test_a_rule_on_an_unknown_value_never_fires(condition):
    assert book(mine=PLAIN | {"condition": condition}).evaluate(seen(gini=math.nan)) == ()


def test_integer_and_numpy_scalars_are_fine():
    (finding,) = book(mine=PLAIN | {"condition": "gini >= 1"}).evaluate(seen(gini=np.int64(1)))
    assert finding.premise == "Gini 1.00."
    assert all(type(value) is float for value in finding.measured.values())


def test_the_branch_that_fired_has_its_own_premise():
    """A condition of two branches showed a figure of one of them, whichever had fired."""
    premises = {"gini > 2": "Far above: {gini:.1f}.", "gini > 1.5": "Above: {gini:.1f}."}
    rules = book(mine=PLAIN | {"premise": "Gini {gini:.1f}.", "premises": premises})
    told = [rules.evaluate(seen(gini=value))[0].premise for value in (1.0, 1.8, 3.0)]
    assert told == ["Gini 1.0.", "Above: 1.8.", "Far above: 3.0."]
    assert rules["mine"].sha256 == book(mine=PLAIN)["mine"].sha256


def test_no_shipped_rule_replaces_another():
    """Three files had a rule `impossible_loss`; the last one read replaced the others, which never fired."""
    each = [list(read_entries(path)) for path in sorted(SHIPPED.glob("*.yaml"))]
    written = [rule_id for ids in each for rule_id in ids]
    assert sorted(set(written)) == sorted(written)
    assert len(RuleBook.load()) == len(written)


@pytest.mark.parametrize("value", ["!!timestamp soon", "!!bool maybe", "!!int ''", "!!float ''"])
def test_a_tag_that_does_not_fit_its_value(tmp_path, value):
    """It ended in an AttributeError, a KeyError or an IndexError of PyYAML."""
    (tmp_path / "mine.yaml").write_text(f"mine:\n  type: {value}\n")
    with pytest.raises(RuleError) as error:
        RuleBook.load(tmp_path / "mine.yaml")
    assert "mine.yaml:1" in str(error.value)
    assert "\n" not in str(error.value)


def test_names_that_are_known_fill_no_screen(tmp_path):
    rule = RuleBook.load().rules["stagnant_layers"]
    (tmp_path / "mine.yaml").write_text(f"mine:\n  type: MINE\n  subject: {rule.subject}\n  condition: 'xyzzy > 1'\n")
    with pytest.raises(RuleError) as error:
        RuleBook.load(tmp_path / "mine.yaml")
    assert len(str(error.value)) < 1700


def test_what_rules_ask_for_of_this_library_is_there():
    """A rule sent its readers to `QuantizationAnalyzer.mixed_precision_plan`, of a class that has another name."""
    told = "\n".join(str(text) for rule in RuleBook.load().rules.values() for text in rule.plain.values())
    names = set(re.findall(r"\b([A-Z]\w+(?:Advisor|Analyzer|Tracker))\.(\w+)", told))
    assert ("SaliencyAnalyzer", "pruning_plan") in names
    assert [
        f"{owner}.{name}" for owner, name in sorted(names) if not hasattr(getattr(flowgrad, owner, None), name)
    ] == []
