"""How many pairs a verdict needs: the same number wherever one is given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from flowgrad.errors import StatisticsError
from flowgrad.statistics import LEAST_PAIRS, Comparison, arms_test, significance, tost, user_significance
from flowgrad.statistics.compared import compare

PLANNED = [Comparison("treated_vs_baseline", "baseline", "treated", "change")]
BEFORE, AFTER = [1.0, 1.1, 1.3, 1.2], [0.5, 0.6001, 0.8003, 0.7002]


def observations(n):
    lines = [
        ("e", arm, seed, "mse", values[seed], False)
        for arm, values in (("baseline", BEFORE), ("treated", AFTER))
        for seed in range(n)
    ]
    return pd.DataFrame(lines, columns=["experiment", "arm", "seed", "metric", "value", "higher_is_better"])


@pytest.mark.parametrize(("n", "verdict"), [(LEAST_PAIRS - 1, "inconclusive"), (LEAST_PAIRS, "confirmed")])
def test_two_pairs_give_no_verdict_however_far_apart_the_arms_are(n, verdict):
    """`seeds.test=[1,2]` confirmed by two pairs what `flowgrad compare` refused to compare."""
    line = significance(observations(n), PLANNED, ["mse"]).iloc[0]
    found = arms_test(BEFORE[:n], AFTER[:n], metric="mse", higher_is_better=False)
    assert line["verdict"] == found.verdict == verdict
    assert line["difference"] == pytest.approx(-0.5, abs=1e-3)
    assert ("2 pairs are too few" in line["reason"]) == np.isnan(line["p"]) == np.isnan(found.p) == (n < LEAST_PAIRS)


@pytest.mark.parametrize("overlap", [None, 0.5])
def test_splits_need_as_many(overlap):
    assert arms_test(BEFORE[:2], AFTER[:2], metric="mse", higher_is_better=False, overlap=overlap).objection is not None


def test_two_pairs_show_no_equivalence_and_say_nothing_of_new_users():
    assert tost([1, 2], [1, 2], metric="mse", higher_is_better=False, margin=0.1).verdict == "inconclusive"
    users = np.random.default_rng(0).normal(size=(2, 30))
    table = user_significance(
        {"baseline": users, "treated": users - 1 + 0.01 * users[::-1]}, PLANNED, experiment="e", metric="mse",
        higher_is_better=False,
    )  # fmt: skip
    assert set(table["verdict"]) == {"inconclusive"}


def test_compare_refuses_fewer():
    with pytest.raises(StatisticsError, match=f"needs {LEAST_PAIRS} at least"):
        compare(observations(2), baseline="baseline")


def test_one_pair_is_refused_everywhere():
    with pytest.raises(StatisticsError, match="at least 2"):
        significance(observations(1), PLANNED, ["mse"])
    with pytest.raises(StatisticsError, match="at least 2"):
        arms_test(BEFORE[:1], AFTER[:1], metric="mse", higher_is_better=False)
