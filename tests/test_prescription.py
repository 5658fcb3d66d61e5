import shlex
from dataclasses import replace

import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from flowgrad.errors import RuleError
from flowgrad.evidence.confidence import posterior
from flowgrad.prescription import INEFFECTIVE, has_path, prescribe
from flowgrad.rules import Finding, Fix, RuleBook

CONFIG = OmegaConf.create(
    {
        "optimizer": {"lr": 0.05, "weight_decay": 0.0, "betas": [0.9, 0.999], "name": "adam"},
        "training": {"epochs": 20, "early_stopping": False, "patience": None},
        "loss": {"logq": 0.0},
    }
)


def finding(rule="r", severity="high", confirmed=0, trials=0, measured=None, **fix):
    return Finding(
        rule_id=rule,
        type=rule.upper(),
        severity=severity,
        subject="item_emb",
        premise="p",
        implies="i",
        action="ACT",
        expected_effect="e",
        confidence=posterior(confirmed, trials),
        fix=Fix(**fix) if fix else None,
        measured=measured or {},
    )


# --- one fix ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fix", "overrides", "was"),
    [
        # the ways to write a value
        ({"set": {"training.early_stopping": True}}, ["training.early_stopping=true"], [False]),
        ({"set": {"loss.logq": 1.0}}, ["loss.logq=1.0"], [0.0]),
        ({"set": {"training.patience": 3}}, ["training.patience=3"], [None]),
        ({"set": {"training.epochs": None}}, ["training.epochs=null"], [20]),
        ({"set": {"optimizer.betas": [0.8, 0.9]}}, ["optimizer.betas=[0.8,0.9]"], [[0.9, 0.999]]),
        ({"set": {"optimizer.name": "1e3"}}, ["optimizer.name='1e3'"], ["adam"]),
        # scaling rounds to what a person would have written
        ({"scale": {"optimizer.lr": 0.1}}, ["optimizer.lr=0.005"], [0.05]),
        ({"scale": {"optimizer.lr": 3}}, ["optimizer.lr=0.15"], [0.05]),
        # an integer stays one, and a positive one stays positive
        ({"scale": {"training.epochs": 2.5}}, ["training.epochs=50"], [20]),
        ({"scale": {"training.epochs": 0.24}}, ["training.epochs=5"], [20]),
        ({"scale": {"training.epochs": 0.001}}, ["training.epochs=1"], [20]),
        # measured values are floats; a count goes to an integer as one
        ({"copy": {"training.epochs": "best"}, "measured": {"best": 7.0}}, ["training.epochs=7"], [20]),
        ({"copy": {"training.epochs": "best"}, "measured": {"best": 7.5}}, ["training.epochs=7.5"], [20]),
        ({"copy": {"optimizer.lr": "best"}, "measured": {"best": 1 / 3}}, ["optimizer.lr=0.333333333333"], [0.05]),
        # all in one, in the order set, scale, copy
        (
            {
                "copy": {"loss.logq": "best"},
                "measured": {"best": 0.5},
                "scale": {"optimizer.lr": 2},
                "set": {"training.epochs": 9},
            },
            ["training.epochs=9", "optimizer.lr=0.1", "loss.logq=0.5"],
            [20, 0.05, 0.0],
        ),
    ],
)
def test_what_a_fix_becomes(fix, overrides, was):
    prescription = prescribe([finding(**fix)], CONFIG)
    assert list(prescription.overrides) == overrides
    assert list(prescription.was.values()) == was
    assert [f"{o.path}={o.value}" for o in prescription.by_rule["r"]] == overrides
    assert prescription.rules == ("r",)
    assert prescription


@pytest.mark.parametrize(
    "fix",
    [
        {"set": {"training.epochs": 20}},
        {"set": {"training.epochs": 20.0}},
        {"set": {"training.patience": None}},
        {"set": {"optimizer.betas": [0.9, 0.999]}},
        {"scale": {"optimizer.lr": 1}},
        {"scale": {"optimizer.weight_decay": 0.01}},
        {"copy": {"training.epochs": "best"}, "measured": {"best": 20.0}},
        {"copy": {"training.epochs": "best"}, "measured": {"best": float("nan")}},
        {"copy": {"loss.logq": "best"}, "measured": {"best": float("inf")}},
        {},
    ],
)
def test_a_fix_that_changes_nothing_is_none(fix):
    """A measured value that is not known used to be prescribed: `training.epochs=nan`."""
    prescription = prescribe([finding(**fix)], CONFIG)
    assert not prescription
    assert prescription.rules == prescription.overrides == ()
    assert prescription.shell == ""


def test_a_fix_keeps_only_the_paths_that_change():
    fix = {"training.early_stopping": True, "training.epochs": 20}
    assert prescribe([finding(set=fix)], CONFIG).overrides == ("training.early_stopping=true",)


@pytest.mark.parametrize(("old", "factor", "new"), [(0, 0.01, None), (-10, 0.5, -5), (3, 0, 1)])
def test_scaling_integers_at_the_edge(old, factor, new):
    """A weight decay of 0, scaled by 0.01, used to become 1."""
    overrides = prescribe([finding(scale={"x": factor})], OmegaConf.create({"x": old})).overrides
    assert overrides == (() if new is None else (f"x={new}",))


def test_interpolations_are_scaled_by_their_value():
    config = OmegaConf.create({"base": 0.5, "lr": "${base}"})
    prescription = prescribe([finding(scale={"lr": 0.1})], config)
    assert prescription.overrides == ("lr=0.05",)
    assert prescription.was == {"lr": 0.5}


@pytest.mark.parametrize("path", ["optimizer.momentum", "sampler.size", "optimizer.lr.x", "optimizer.betas.0", "none"])
@pytest.mark.parametrize("part", ["set", "scale", "copy"])
def test_a_path_that_the_config_lacks(part, path):
    value = {"set": 1, "scale": 2.0, "copy": "best"}[part]
    with pytest.raises(RuleError, match=rf"rule 'r': its fix names '{path}', which the config lacks"):
        prescribe([finding(measured={"best": 1.0}, **{part: {path: value}})], CONFIG)


@pytest.mark.parametrize("path", ["optimizer.name", "training.early_stopping", "training.patience", "optimizer.betas"])
def test_only_numbers_can_be_scaled(path):
    with pytest.raises(RuleError, match=rf"rule 'r': its fix scales '{path}', which is .* and no number"):
        prescribe([finding(scale={path: 0.1})], CONFIG)


def test_has_path():
    assert has_path(CONFIG, "optimizer")
    assert has_path(CONFIG, "optimizer.lr")
    assert has_path(CONFIG, "training.patience"), "a value may be null"
    assert not has_path(CONFIG, "optimizer.momentum")
    assert not has_path(CONFIG, "")


def test_the_config_is_left_as_it_was():
    before = OmegaConf.to_yaml(CONFIG)
    prescribe([finding(scale={"optimizer.lr": 0.1})], CONFIG)
    assert OmegaConf.to_yaml(CONFIG) == before


# --- several findings ------------------------------------------------------------------------------------------------


def test_the_most_severe_are_treated_first():
    low = finding("low", "low", set={"training.epochs": 50})
    high = finding("high", "high", scale={"optimizer.lr": 0.1})
    also = finding("also", "high", set={"loss.logq": 1.0})
    for order in ([low, high, also], [high, also, low], [also, low, high]):
        prescription = prescribe(order, CONFIG)
        assert set(prescription.rules) == {"high", "also"}
        assert sorted(prescription.overrides) == ["loss.logq=1.0", "optimizer.lr=0.005"]
        assert prescription.overruled == {"low": "waits for the next round: high findings are treated first"}


@pytest.mark.parametrize("idle", [{}, {"set": {"training.epochs": 20}}])
def test_a_severe_finding_without_an_effective_fix_holds_nobody_up(idle):
    prescription = prescribe([finding("a", "critical", **idle), finding("b", "low", set={"loss.logq": 1.0})], CONFIG)
    assert prescription.rules == ("b",)
    # A fix that would set what is set speaks against its cause, and the report says so.
    assert prescription.overruled == ({"a": INEFFECTIVE} if idle else {})


def test_the_surer_finding_wins_a_path_and_the_other_waits_whole():
    sure = finding("sure", confirmed=9, trials=10, scale={"optimizer.lr": 0.1})
    unsure = finding("unsure", confirmed=1, trials=10, set={"optimizer.lr": 0.5, "loss.logq": 1.0})
    for order in ([sure, unsure], [unsure, sure]):
        prescription = prescribe(order, CONFIG)
        assert prescription.overrides == ("optimizer.lr=0.005",)
        assert prescription.overruled == {"unsure": "optimizer.lr=0.005 of sure has at least its confidence"}


def test_the_earlier_finding_wins_a_tie():
    first, second = (finding(name, scale={"optimizer.lr": f}) for name, f in (("first", 0.1), ("second", 10)))
    assert prescribe([first, second], CONFIG).rules == ("first",)
    assert prescribe([second, first], CONFIG).rules == ("second",)


def test_findings_that_agree_share_a_path():
    first, second = finding("first", scale={"optimizer.lr": 0.1}), finding("second", set={"optimizer.lr": 0.005})
    prescription = prescribe([first, second], CONFIG)
    assert prescription.overrides == ("optimizer.lr=0.005",)
    assert prescription.rules == ("first", "second")
    assert prescription.by_rule["first"] == prescription.by_rule["second"]


def test_one_rule_on_two_subjects_acts_once():
    both = [finding("r", scale={"optimizer.lr": 0.1})] * 2
    assert prescribe(both, CONFIG).overrides == ("optimizer.lr=0.005",)


def test_no_findings():
    assert not prescribe([], CONFIG)


def test_every_shipped_fix_can_be_read_by_hydra():
    config = OmegaConf.create({})
    for rule in RuleBook.load().values():
        for path in rule.fix.paths if rule.fix else ():
            OmegaConf.update(config, path, {"item_emb": []} if path in rule.fix.rows else 0.123)
    parser = OverridesParser.create()
    for rule in RuleBook.load().values():
        if rule.fix:
            fix = {"set": rule.fix.set, "scale": rule.fix.scale, "copy": rule.fix.copy, "rows": rule.fix.rows}
            measured = dict.fromkeys(rule.fix.copy.values(), 1.0)
            named = replace(finding(measured=measured, **fix), subject="item_emb", rows=pd.DataFrame(index=[3, 1]))
            overrides = prescribe([named], config).overrides
            paths = [f"{path}.item_emb" if path in rule.fix.rows else path for path in rule.fix.paths]
            assert [o.key_or_group for o in parser.parse_overrides(list(overrides))] == paths


def test_rows_are_listed_by_subject_and_added_to_those_listed_before():
    config = OmegaConf.create({"quarantine": {"user_emb": [], "item_emb": [7]}})
    both = [
        replace(finding("r", rows=("quarantine",)), subject=subject, rows=pd.DataFrame(index=[9, 2]))
        for subject in ("user_emb", "item_emb")
    ]
    prescription = prescribe(both, config)
    assert prescription.overrides == ("quarantine.user_emb=[2,9]", "quarantine.item_emb=[2,7,9]")
    assert prescription.was == {"quarantine.user_emb": [], "quarantine.item_emb": [7]}
    assert [override.path for override in prescription.by_rule["r"]] == list(prescription.was)
    treated = OmegaConf.create({"quarantine": {"user_emb": [2, 9], "item_emb": [2, 7, 9]}})
    assert not prescribe(both, treated)


def test_rows_of_a_subject_that_the_config_does_not_list_are_refused():
    named = replace(finding("r", rows=("quarantine",)), subject="word_emb", rows=pd.DataFrame(index=[1]))
    with pytest.raises(RuleError, match=r"rule 'r': its fix lists rows in 'quarantine.word_emb', which the config"):
        prescribe([named], OmegaConf.create({"quarantine": {"item_emb": []}}))


# --- into a shell and back -------------------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False),
    st.text(st.characters(min_codepoint=32, exclude_characters="$", exclude_categories=["Cs", "Cc", "Zl", "Zp"])),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=4), st.dictionaries(st.sampled_from("abc"), SCALARS, max_size=3))


@given(VALUES)
def test_values_survive_the_shell_and_hydra(value):
    config = OmegaConf.create({"a": {"x": "a value of its own"}})
    prescription = prescribe([finding(set={"a.x": value})], config)
    words = shlex.split(prescription.shell)
    assert words == list(prescription.overrides)
    (override,) = OverridesParser.create().parse_overrides(words)
    assert override.key_or_group == "a.x"
    assert override.value() == value
    assert type(override.value()) is type(value)


@pytest.mark.parametrize(
    "value", ["", "a b", "it's", '"', "$HOME", "`id`", "a;b", "x=y", "back\\slash", "\\'", "ü", "null"]
)
def test_text_that_a_shell_would_read_otherwise(value):
    prescription = prescribe([finding(set={"optimizer.name": value})], CONFIG)
    (override,) = OverridesParser.create().parse_overrides(shlex.split(prescription.shell))
    assert override.value() == value


def test_a_refuted_fix_waits_to_be_asked_for():
    refuted = replace(finding("bad", scale={"optimizer.lr": 0.1}), confidence=posterior(1, 4, 3))
    config = OmegaConf.create({"optimizer": {"lr": 0.05}})
    left_out = prescribe([refuted], config)
    assert not left_out
    assert left_out.overruled["bad"] == "refuted: worse in 3 of 4 validated runs, better in 1"
    assert prescribe([refuted], config, refuted=True).overrides == ("optimizer.lr=0.005",)
