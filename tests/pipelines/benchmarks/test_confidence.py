"""Confidence in a fix, against what came of it elsewhere."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.benchmarks.faults.confidence import calibration_table, predictions


def table(*lines):
    return pd.DataFrame(lines, columns=["rule", "pair", "confirmed"])


def test_a_trial_is_predicted_by_other_pairs_alone():
    found = predictions(table(("a", "x", True), ("a", "x", False), ("a", "y", True), ("b", "y", False)))
    assert found["tried"].tolist() == [1, 1, 2, 0]
    assert found["own"].tolist() == [0.75, 0.75, 0.5, 0.5]
    assert found["others"].tolist() == [0.25, 0.25, 0.5, 0.5]
    assert found["own and others"].tolist() == [(1 + 0.25) / 2, (1 + 0.25) / 2, (1 + 0.5) / 3, 0.5]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.booleans()), min_size=1, max_size=12))
def test_a_prediction_knows_nothing_of_its_own_pair(lines):
    given_, other = table(*lines), table(*((r, p, c if p != "x" else not c) for r, p, c in lines))
    columns = ["own", "own and others", "others"]
    on_x = given_["pair"] == "x"
    pd.testing.assert_frame_equal(predictions(given_)[on_x][columns], predictions(other)[on_x][columns])


def test_the_line_of_all_weighs_the_differences_of_the_ranges():
    predicted = pd.DataFrame({"faults": "all", "confirmed": [True, True, True, False], "others": 0.5,
                              "own": [0.9, 0.9, 0.9, 0.3], "own and others": 0.75})  # fmt: skip
    found = calibration_table(predicted).set_index(["predicted_by", "range"])
    assert found.loc[("own", "0.90 to 0.90"), "difference"] == pytest.approx(-0.1)
    assert found.loc[("own", "0.30 to 0.30"), "difference"] == pytest.approx(0.3)
    assert found.loc[("own", "all"), "difference"] == pytest.approx((3 * 0.1 + 0.3) / 4)
    assert found.loc[("own and others", "all"), "difference"] == pytest.approx(0)


def test_a_table_without_rules_is_refused(command):
    code, _, err = command("experiment=confidence", "+job.repairs.tables=docs/results/faults_embedding_repairs.csv")
    assert code == 2
    assert "job.repairs.tables" in err
