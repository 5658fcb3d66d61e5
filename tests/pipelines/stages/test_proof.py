"""From observations to the significance table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from flowgrad.errors import StatisticsError
from flowgrad.statistics import OBSERVATION_COLUMNS, holm, rounds_from, significance
from pipelines.stages.compare import comparisons, round_comparison, validation

COLUMNS = [
    "experiment",
    "comparison",
    "metric",
    "test",
    "n",
    "baseline",
    "treated",
    "difference",
    "ci_low",
    "ci_high",
    "effect_size",
    "p",
    "p_adjusted",
    "wins",
    "gap_closed",
    "verdict",
]


def observations(**arms):
    rows = [("e", arm, seed, "mse", value, False) for arm, values in arms.items() for seed, value in enumerate(values)]
    return pd.DataFrame(rows, columns=OBSERVATION_COLUMNS)


@pytest.fixture
def arms():
    rng = np.random.default_rng(0)
    base = 2 + 0.1 * rng.normal(size=10)
    return {
        "baseline": base,
        "round1": base - 0.5 + 0.1 * rng.normal(size=10),
        "treated": base - 0.6 + 0.1 * rng.normal(size=10),
        "tuned": 1 + 0.01 * rng.normal(size=10),
        "aa": 2 + 0.1 * rng.normal(size=10),
    }


def test_columns_and_plan(arms):
    table = significance(observations(**arms), comparisons(2, 0), ["mse"], 0.05)
    assert list(table.columns[: len(COLUMNS)]) == COLUMNS
    assert table["comparison"].tolist() == [
        name
        for name in ("treated_vs_baseline", "round1_vs_baseline", "round2_vs_round1", "aa")
        for _ in ("paired_t", "wilcoxon")
    ]
    assert round_comparison(1, 1) == "treated_vs_baseline"
    assert comparisons(0, 0)[0].name == "aa"


def test_the_control_can_be_left_out_where_a_change_is_proven():
    for rounds in (1, 3):
        planned = comparisons(rounds, 1000, pruned=True)
        assert comparisons(rounds, 1000, pruned=True, control=False) == planned[:-1]
    assert comparisons(0, 1000, control=False) == comparisons(0, 1000), "there is nothing else to test"


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_what_was_left_out_is_compared_with_everything_that_was_prescribed(rounds):
    planned = comparisons(rounds, 1000, pruned=True)
    arms = {arm for one in planned for arm in (one.baseline, one.treated)}
    assert arms == {"baseline", "stacked", "treated", "aa", *(f"round{n}" for n in range(1, rounds))}
    names = [one.name for one in planned]
    assert names[0] == "treated_vs_baseline"
    assert names[-2:] == ["treated_vs_stacked", "aa"]
    assert names[1:-2] == [round_comparison(n, rounds, pruned=True) for n in range(1, rounds + 1)]
    assert planned[-3].treated == "stacked"
    assert rounds_from(arms) == planned[:-1]
    with pytest.raises(StatisticsError, match="'treated' is missing"):
        rounds_from(arms - {"treated"})


def test_figures_are_those_of_the_arms(arms):
    table = significance(observations(**arms), comparisons(2, 0), ["mse"], 0.05).set_index(["comparison", "test"])
    whole = table.loc[("treated_vs_baseline", "paired_t")]
    reference = stats.ttest_rel(arms["treated"], arms["baseline"])
    assert whole["p"] == pytest.approx(reference.pvalue)
    assert whole["difference"] == pytest.approx(np.mean(arms["treated"] - arms["baseline"]))
    gap = (arms["baseline"].mean() - arms["treated"].mean()) / (arms["baseline"].mean() - arms["tuned"].mean())
    assert whole["gap_closed"] == pytest.approx(gap)
    assert whole["verdict"] == "confirmed"
    family = table.xs("paired_t", level="test").drop("aa")
    assert family["p_adjusted"].tolist() == pytest.approx(holm(family["p"].tolist()))


def test_control_stands_alone(arms):
    table = significance(observations(**arms), comparisons(2, 0), ["mse"], 0.05).set_index(["comparison", "test"])
    control = table.loc[("aa", "paired_t")]
    assert control["p_adjusted"] == control["p"]
    assert np.isnan(control["gap_closed"])
    assert control["verdict"] == "inconclusive"


def test_worse_is_refuted(arms):
    table = significance(
        observations(**{**arms, "treated": arms["baseline"] + 1 + arms["tuned"]}), comparisons(1, 0), ["mse"], 0.05
    )
    assert table.loc[0, "verdict"] == "refuted"
    assert table.loc[0, "gap_closed"] < 0


def test_a_baseline_that_diverged_is_compared_by_sign(arms, caplog):
    """A t-test over NaN says nothing; ten finite runs against ten that diverged still say something."""
    table = significance(observations(**{**arms, "baseline": [np.nan] * 10}), comparisons(1, 0), ["mse"], 0.05)
    first = table.iloc[0]
    assert (first["test"], first["wins"], first["verdict"]) == ("sign", 10, "confirmed")
    assert first["p"] == pytest.approx(2 * 0.5**10)
    assert "not finite" in caplog.text


def test_validation_is_the_primary_test(arms):
    table = significance(observations(**arms), comparisons(2, 0), ["mse"], 0.05)
    proof = validation(table, "round1_vs_baseline", "mse", "abc")
    line = table[(table["comparison"] == "round1_vs_baseline") & (table["test"] == "paired_t")].iloc[0]
    assert (proof.test, proof.unit, proof.n, proof.family) == ("paired_t", "seed", 10, "rounds of this run")
    assert (proof.p, proof.p_adjusted, proof.verdict) == (line["p"], line["p_adjusted"], line["verdict"])
