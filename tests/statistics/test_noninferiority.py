"""Tests against a margin: beside SciPy's one-sided t-test, at their level, and of what cannot be tested."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from flowgrad.errors import StatisticsError
from flowgrad.statistics import EQUIVALENT, OBSERVATION_COLUMNS, Comparison, holm, margin_table

WHOLE = Comparison("small_vs_dense", "dense", "small", "whole")
HALF = Comparison("half_vs_dense", "dense", "half", "whole")


def observed(better=False, **arms):
    lines = [
        ("e", arm, seed, "loss", value, better) for arm, values in arms.items() for seed, value in enumerate(values)
    ]
    return pd.DataFrame(lines, columns=list(OBSERVATION_COLUMNS))


def drawn(seed=0, n=10):
    rng = np.random.default_rng(seed)
    dense = 2 + rng.normal(size=n)
    return rng, dense


def test_beside_scipy():
    rng, dense = drawn()
    small, half = dense + 0.01 * rng.normal(size=10), dense + 0.03 + 0.01 * rng.normal(size=10)
    table = margin_table(observed(dense=dense, small=small, half=half), [WHOLE, HALF], ["loss"], 0.02)
    margin = 0.02 * dense.mean()
    p = [stats.ttest_1samp(one - dense, margin, alternative="less").pvalue for one in (small, half)]
    assert table["p"].tolist() == pytest.approx(p)
    assert table["p_adjusted"].tolist() == pytest.approx(list(holm(p)))
    assert table["margin"].tolist() == pytest.approx([margin, margin])
    low, high = stats.t.interval(0.9, 9, (small - dense).mean(), stats.sem(small - dense))
    assert table.loc[0, ["ci_low", "ci_high"]].tolist() == pytest.approx([low, high])
    assert table.loc[0, "effect_size"] == pytest.approx((small - dense).mean() / (small - dense).std(ddof=1))


@pytest.mark.parametrize("better", [False, True])
def test_verdicts(better):
    rng, dense = drawn()
    sign = -1 if better else 1
    noise = 0.001 * rng.normal(size=10)
    changes = {"no worse": noise, "worse": noise + sign * 0.5, "inconclusive": sign * 0.04 + 5 * rng.normal(size=10)}
    for verdict, change in changes.items():
        table = margin_table(observed(better, dense=dense, small=dense + change), [WHOLE], ["loss"], 0.02)
        assert table["verdict"].tolist() == [verdict]
    gained = observed(better, dense=dense, small=dense + noise - sign * 0.5)
    assert margin_table(gained, [WHOLE], ["loss"], 0.02)["verdict"].tolist() == ["no worse"]
    assert margin_table(gained, [WHOLE], ["loss"], 0.02, test=EQUIVALENT)["verdict"].tolist() == ["inconclusive"]
    assert margin_table(gained, [WHOLE], ["loss"], 0.02)["wins"].tolist() == [10]


def test_the_same_is_equivalent():
    _, dense = drawn()
    table = margin_table(observed(dense=dense, small=dense), [WHOLE], ["loss"], 0.02, test=EQUIVALENT)
    assert (table.loc[0, "verdict"], table.loc[0, "p"]) == ("equivalent", 0)


def test_the_margin_is_a_share_of_the_reference():
    _, dense = drawn()
    seen = observed(dense=dense, small=dense, half=3 * dense)
    table = margin_table(seen, [WHOLE], ["loss"], 0.1, reference="half")
    assert table.loc[0, "margin"] == pytest.approx(0.3 * dense.mean())
    with pytest.raises(StatisticsError, match="margin"):
        margin_table(seen, [WHOLE], ["loss"], 0)


@pytest.mark.parametrize("values", [[np.inf] * 10, "all by the same"], ids=["infinite", "constant"])
def test_what_cannot_be_tested_shows_nothing(values):
    _, dense = drawn()
    small = dense + 0.5 if isinstance(values, str) else values
    table = margin_table(observed(dense=dense, small=small), [WHOLE], ["loss"], 0.02)
    assert (table.loc[0, "verdict"], table.loc[0, "p"]) == ("inconclusive", 1)


def test_no_more_false_claims_than_its_level():
    rng, _ = drawn()
    claimed = 0
    for _ in range(400):
        dense = 2 + 0.1 * rng.normal(size=8)
        change = rng.normal(size=8) * 0.1 + 0.02 * dense.mean()  # worse by the margin: what must not pass
        table = margin_table(observed(dense=dense, small=dense + change), [WHOLE], ["loss"], 0.02)
        claimed += table.loc[0, "verdict"] == "no worse"
    assert stats.binomtest(int(claimed), 400, 0.05).proportion_ci(0.99).low <= 0.05
