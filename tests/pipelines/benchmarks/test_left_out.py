"""Thresholds that are chosen without a pair of model and data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from flowgrad.measurements import Measurements
from flowgrad.rules import RuleBook
from pipelines.benchmarks.faults.cases import FaultCase
from pipelines.benchmarks.faults.figures import Figure, figures, thresholds, with_values
from pipelines.benchmarks.faults.left_out import best_value, folds, left_out_table, threshold_table
from pipelines.benchmarks.faults.networks import Layers
from pipelines.benchmarks.faults.observation import DiagnosedRun, Kept

BOOK = RuleBook.load()
RULE = BOOK["values_share_rows"]
COLLIDED, RISE = thresholds(RULE)
PAIRS = [("A", "x"), ("A", "y"), ("B", "x"), ("B", "y")]


def measured(*rows, known_tables=2.0):
    """Measurements of columns, of each the share of lookups that collide and the z of what the column adds."""
    table = pd.DataFrame(rows, columns=["collided_share", "loss_rise_z"], dtype=float)
    return Measurements("clicks", "probabilities", {"known_tables": known_tables}, {"rows": table})


def test_every_number_of_every_rule_can_be_put_back():
    for rule in BOOK.values():
        own = thresholds(rule)
        assert [float(getattr(rule, one.clause).text[one.start : one.end]) for one in own] == [o.shipped for o in own]
        assert with_values(rule, {one: one.shipped for one in own}).sha256 == rule.sha256
        doubled = thresholds(with_values(rule, {one: 2 * one.shipped for one in own}))
        assert [one.shipped for one in doubled] == pytest.approx([2 * one.shipped for one in own], rel=1e-3)


@pytest.mark.parametrize(
    ("run", "collided", "rise"),
    [
        ([measured([0.4, 9], [0.7, 5])], Figure(below=0.7), Figure(below=9)),
        ([measured([0.4, 9], [0.7, 2])], Figure(below=0.4), Figure(below=9)),
        ([measured([0.1, 9]), measured([0.3, 4])], Figure(below=0.3), Figure(below=4)),
        ([measured([0.1, 2])], Figure(), Figure()),
        ([measured([0.4, 9], known_tables=0.0)], Figure(), Figure()),
        ([replace(measured([0.4, 9]), kind="flow")], Figure(), Figure()),
    ],
)
def test_a_verdict_turns_at_the_row_that_decides(run, collided, rise):
    assert figures(BOOK, [RULE.id], run) == {COLLIDED: collided, RISE: rise}


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 9)), min_size=1, max_size=6), st.floats(0.01, 0.99))
def test_a_figure_says_what_the_rule_would_say(rows, value):
    run = measured(*rows)
    turn = figures(BOOK, [RULE.id], [run])[COLLIDED]
    moved = with_values(RULE, {COLLIDED: value})
    value = thresholds(moved)[0].shipped
    book = RuleBook({RULE.id: moved})
    assert bool(book.evaluate(run)) == (value < turn.below or value > turn.above)


def test_a_threshold_comes_to_stand_in_the_middle_of_the_gap():
    turns = [Figure(below=0.1), Figure(below=0.2), Figure(below=0.6), Figure(below=0.9), Figure()]
    sick = np.array([False, False, True, True, False])
    assert best_value(turns, sick) == pytest.approx(0.4)
    assert best_value([Figure(above=one.below) for one in turns[:4]], ~sick[:4]) == pytest.approx(0.4)
    over_orders = [Figure(below=1e-4), Figure(below=1e-2), Figure(below=1.0)]
    assert best_value(over_orders, np.array([False, True, True])) == pytest.approx(1e-3)


def test_a_threshold_that_runs_do_not_bound_is_not_chosen():
    assert best_value([Figure(below=0.5), Figure(below=0.7)], np.array([True, True])) is None
    assert best_value([Figure(below=0.5), Figure(below=0.7)], np.array([True, False])) is None
    assert best_value([Figure(), Figure(below=np.inf)], np.array([False, True])) is None
    found_by_another_branch = [Figure(below=np.inf), Figure(below=0.1), Figure(below=0.2)]
    assert best_value(found_by_another_branch, np.array([True, False, False])) is None


def runs(share_of_sick, share_of_well):
    """A sick and a sound run of each pair, with the colliding shares of their one column."""
    cases, found = [], []
    for pair in PAIRS:
        config = OmegaConf.create(
            {"model": {"_target_": f"models.{pair[0]}"}, "dataset": {"_target_": f"data.load_{pair[1]}"},
             "evidence": {"prescribe_refuted": False}}
        )  # fmt: skip
        for kind, share in (("run", share_of_sick[pair]), ("control", share_of_well[pair])):
            rules = (RULE.id,) if kind == "run" else ()
            seen = measured([share, 9])
            kept = Kept((seen,), figures(BOOK, [RULE.id], [seen]), frozenset())
            cases.append(FaultCase(kind, kind, kind, "s", "", 1, config, (), (), rules))
            named = {(f.rule_id, f.subject): () for f in BOOK.evaluate(seen)}
            found.append(DiagnosedRun((), named, tuple(rule for rule, _ in named), (), 1, kept=kept))
    return cases, found


def test_a_pair_is_judged_by_thresholds_that_it_had_no_part_in():
    sick = dict(zip(PAIRS, [0.5, 0.6, 0.7, 0.8], strict=True))
    well = dict(zip(PAIRS, [0.1, 0.3, 0.15, 0.1], strict=True))
    cases, found = runs(sick, well)
    made = folds(cases, found)
    chosen = {(fold.way, fold.pair): fold.chosen.get(COLLIDED) for fold in made}
    assert chosen["model and data", ("A", "y")] == pytest.approx((0.15 + 0.7) / 2)  # by B on x alone
    assert chosen["pair", ("A", "y")] == pytest.approx((0.15 + 0.5) / 2)  # by all but itself
    table = threshold_table(made, found).set_index(["left_out", "comparison"])
    line = table.loc[("pair", "collided_share > 0.2")]
    assert (line["folds"], line["bounded"], line["shipped"]) == (4, 4, 0.2)
    assert line["low"] < line["median"] < line["high"]


def test_what_was_left_out_is_scored_by_the_thresholds_chosen_without_it(composed):
    """The shipped threshold calls one sound run sick; the ones chosen without it do not."""
    sick = dict.fromkeys(PAIRS, 0.9)
    well = {**dict.fromkeys(PAIRS, 0.15), ("A", "y"): 0.3}
    cases, found = runs(sick, well)
    config = composed("experiment=movielens_dlrm_tuned", "model.buckets=50")
    for case in cases:
        case.config.update({"model": {**config.model, "_target_": case.config.model._target_}})
    scores = left_out_table(folds(cases, found), cases, found, BOOK, Layers())
    alarms = scores[scores["kind"] == "control"].set_index(["thresholds", "left_out"])["found"]
    assert alarms["as shipped", "all pairs"] == 1
    assert alarms["without model and data", "all pairs"] == 0
    f1 = scores[scores["kind"] == "run"].set_index(["thresholds", "left_out"])["f1"]
    assert (f1 == 1).all()
