"""Confidence in a fix, against what came of it elsewhere."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgrad.evidence.chances import fitted
from pipelines.benchmarks.faults.confidence import WAYS, calibration_table, predictions


def table(*lines):
    """Table of trials; pairs `x` and `y` are of two sets of data, and `z` is of those of `y`."""
    made = pd.DataFrame(lines, columns=["rule", "pair", "confirmed"])
    return made.assign(data=made["pair"].replace("z", "y"))


def test_a_trial_is_predicted_by_other_pairs_alone():
    lines = [("a", "x", True), ("a", "x", False), ("a", "y", True), ("a", "y", True), ("b", "y", False)]
    found = predictions(table(*lines))
    assert found["tried"].tolist() == [2, 2, 2, 2, 0]
    assert found["jeffreys"].tolist() == [2.5 / 3, 2.5 / 3, 0.5, 0.5, 0.5]
    others = fitted({("a", "y"): (2, 2), ("b", "y"): (0, 1)})
    assert found["shipped"][0] == others.log_odds("a", "x").chance
    assert found["rule left out"][0] == fitted({("b", "y"): (0, 1)}).log_odds("a", "x").chance
    assert found["shipped"][4] == fitted({("a", "x"): (1, 2)}).log_odds("b", "y").chance


def test_data_left_out_leave_out_other_models_on_them():
    found = predictions(table(("a", "x", True), ("a", "y", True), ("a", "z", False)))
    assert found["shipped"][1] == fitted({("a", "x"): (1, 1), ("a", "y"): (0, 1)}).log_odds("a", "y").chance
    assert found["data left out"][1] == fitted({("a", "x"): (1, 1)}).log_odds("a", "y").chance


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.booleans()), min_size=1, max_size=12))
def test_a_prediction_knows_nothing_of_its_own_pair(lines):
    given_, other = table(*lines), table(*((r, p, c if p != "x" else not c) for r, p, c in lines))
    on_x, columns = given_["pair"] == "x", list(WAYS)
    pd.testing.assert_frame_equal(predictions(given_)[on_x][columns], predictions(other)[on_x][columns])


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.booleans()), min_size=1, max_size=12))
def test_a_rule_left_out_knows_nothing_of_its_own_trials(lines):
    given_, other = table(*lines), table(*((r, p, c if r != "a" else not c) for r, p, c in lines))
    on_a = given_["rule"] == "a"
    pd.testing.assert_series_equal(
        predictions(given_)[on_a]["rule left out"], predictions(other)[on_a]["rule left out"]
    )


def test_the_line_of_all_weighs_the_differences_of_the_ranges():
    predicted = pd.DataFrame({"faults": "all", "confirmed": [True, True, True, False], "rule left out": 0.5,
                              "jeffreys": 0.5, "shipped": [0.9, 0.9, 0.9, 0.3], "data left out": 0.75})  # fmt: skip
    found = calibration_table(predicted).set_index(["predicted_by", "range"])
    assert found.loc[("shipped", "0.90 to 0.90"), "difference"] == pytest.approx(-0.1)
    assert found.loc[("shipped", "0.30 to 0.30"), "difference"] == pytest.approx(0.3)
    assert found.loc[("shipped", "all"), "difference"] == pytest.approx((3 * 0.1 + 0.3) / 4)
    assert found.loc[("data left out", "all"), "difference"] == pytest.approx(0)
    assert found.loc[("data left out", "all"), "log_loss"] == pytest.approx(-(3 * np.log(0.75) + np.log(0.25)) / 4)


def test_by_chance_is_the_difference_of_confidences_that_are_right():
    random = np.random.default_rng(0)
    given_ = random.uniform(0.05, 0.95, 300)
    drawn = [
        pd.DataFrame({"faults": "all", "confirmed": random.random(300) < given_} | dict.fromkeys(WAYS, given_))
        for _ in range(20)
    ]
    found = pd.concat([calibration_table(one) for one in drawn])
    pooled = found[(found["predicted_by"] == "shipped") & (found["range"] == "all")]
    assert pooled["difference"].mean() == pytest.approx(pooled["by_chance"].mean(), rel=0.15)


def test_a_table_without_rules_is_refused(command):
    code, _, err = command(
        "experiment=confidence", "+job.repairs.faults_embedding=docs/results/faults_embedding_repairs.csv"
    )
    assert code == 2
    assert "job.repairs.faults_embedding" in err
