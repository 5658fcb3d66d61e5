"""Pairs, equivalence, resampling, rows, power: against references, by hand, at the edges."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.weightstats import ttost_paired

from flowgrad.errors import StatisticsError
from flowgrad.statistics import (
    OBSERVATION_COLUMNS,
    Comparison,
    benjamini_hochberg,
    bootstrap_interval,
    corrected_t,
    crossed_t,
    detectable_effect,
    pair,
    paired_t,
    seeds_needed,
    significance,
    tost,
    variance_ratio,
)

UP = {"metric": "m", "higher_is_better": True}


def arms(seed, n=10, shift=0.5):
    generator = np.random.default_rng(seed)
    common = generator.normal(size=n)
    return common + 0.5 * generator.normal(size=n), common + shift + 0.5 * generator.normal(size=n)


# --- pairs -----------------------------------------------------------------------------------------------------------


def observations(*lines):
    return pd.DataFrame(lines, columns=["arm", "seed", "metric", "value"])


FULL = [("a", 2, "m", 1.0), ("a", 1, "m", 2.0), ("b", 1, "m", 3.0), ("b", 2, "m", 4.0), ("b", 2, "other", 9.0)]


def test_pairs_are_found_whatever_the_order():
    pairs = pair(observations(*FULL), "a", "b", "m")
    assert (pairs.units.tolist(), pairs.baseline.tolist(), pairs.treated.tolist()) == ([1, 2], [2, 1], [3, 4])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (FULL[1:], "m: seed 2 stands in arm 'b' only; pairs need every seed in both"),
        ([*FULL, FULL[0]], "m: seed 2 stands twice in arm 'a'"),
        (FULL[2:], "m: there is no observation of arm 'a'"),
    ],
)
def test_observations_that_do_not_pair_are_refused(lines, message):
    with pytest.raises(StatisticsError, match=message):
        pair(observations(*lines), "a", "b", "m")


def test_a_missing_column_is_named():
    with pytest.raises(StatisticsError, match="no column 'seed'; they have arm, metric, value"):
        pair(observations(*FULL).drop(columns="seed"), "a", "b", "m")


# --- equivalence -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("higher", [True, False])
def test_tost_is_that_of_statsmodels(seed, higher):
    before, after = arms(seed)
    result = tost(before, after, metric="m", higher_is_better=higher, margin=1.2)
    p, (_, low, _), (_, high, _) = ttost_paired(after, before, -1.2, 1.2)
    assert result.p == pytest.approx(p)
    assert (result.p_worse, result.p_better) == pytest.approx((low, high) if higher else (high, low))
    t = paired_t(before, after, metric="m", higher_is_better=higher, alpha=0.1)
    assert (result.ci_low, result.ci_high) == pytest.approx((t.ci_low, t.ci_high))
    assert (result.verdict == "equivalent") == (result.ci_low > -1.2 and result.ci_high < 1.2)


def test_better_by_far_is_no_worse_and_not_equivalent():
    before, after = arms(0, shift=3)
    assert tost(before, after, **UP, margin=1).verdict == "no worse"
    assert tost(after, before, **UP, margin=1).verdict == "inconclusive"


def test_identical_arms_are_equivalent_and_a_constant_difference_is_refused():
    assert tost([1, 2, 3], [1, 2, 3], **UP, margin=0.1).verdict == "equivalent"
    with pytest.raises(StatisticsError, match="every seed differs by 1"):
        tost([1, 2], [2, 3], **UP, margin=0.1)


@pytest.mark.parametrize("margin", [0, -1, math.nan, math.inf])
def test_a_margin_must_be_a_positive_number(margin):
    with pytest.raises(StatisticsError, match="margin"):
        tost([1, 2], [1, 3], **UP, margin=margin)


# --- resampling ------------------------------------------------------------------------------------------------------


def test_the_bootstrap_is_near_the_t_interval_of_many_normal_pairs():
    before, after = arms(1, n=200)
    t = paired_t(before, after, **UP)
    found = bootstrap_interval(before, after, metric="m")
    assert found == pytest.approx((t.ci_low, t.ci_high), abs=0.01)
    assert found == bootstrap_interval(before, after, metric="m"), "the same draws each time"


def test_the_bootstrap_is_too_narrow_with_few_pairs():
    """Which is why no run prints it: at ten pairs it errs about twice as often as it says."""
    rng = np.random.default_rng(0)
    differences = rng.normal(size=(400, 10))
    found = [bootstrap_interval(np.zeros(10), row, metric="m", resamples=999) for row in differences]
    assert 0.07 < np.mean([not low <= 0 <= high for low, high in found]) < 0.14


def test_a_constant_difference_has_an_interval_of_no_width():
    assert bootstrap_interval([1, 2], [2, 3], metric="m") == (1, 1)


def test_corrected_t_by_hand():
    """Differences 1, 2, 3 with a tenth to test on: t = 2 / sqrt((1/3 + 1/9) * 1) = 3."""
    result = corrected_t([0, 0, 0], [1, 2, 3], **UP, overlap=0.1)
    assert (result.statistic, result.df, result.difference) == pytest.approx((3, 2, 2))
    assert result.p == pytest.approx(2 * stats.t.sf(3, 2))
    assert (result.ci_low + result.ci_high) / 2 == pytest.approx(2)
    assert result.ci_high - 2 == pytest.approx(stats.t.ppf(0.975, 2) * 2 / 3)


@given(st.integers(0, 99), st.floats(0.01, 0.99))
def test_the_correction_only_ever_makes_it_more_careful(seed, share):
    before, after = arms(seed)
    assert corrected_t(before, after, **UP, overlap=share).p >= paired_t(before, after, **UP).p


def test_identical_and_constant_splits():
    assert corrected_t([1, 2], [1, 2], **UP, overlap=0.5).p == 1
    with pytest.raises(StatisticsError, match="every split differs by 1"):
        corrected_t([1, 2], [2, 3], **UP, overlap=0.5)
    with pytest.raises(StatisticsError, match="overlap=1 must"):
        corrected_t([1, 2], [2, 4], **UP, overlap=1)


def overlapd_training_data_need_the_correction():
    """Splits of one sample under a true null: what a plain t-test makes of them, and what the corrected one does."""
    rng = np.random.default_rng(0)
    rejected = {"plain": 0, "corrected": 0}
    for _ in range(300):
        sample = rng.normal(size=60)  # difference of two learners on each example
        tested = [sample[rng.permutation(60)[:20]].mean() for _ in range(15)]
        rejected["plain"] += paired_t(np.zeros(15), tested, **UP).p < 0.05
        rejected["corrected"] += corrected_t(np.zeros(15), tested, **UP, overlap=1 / 3).p < 0.05
    assert rejected["plain"] > 0.3 * 300
    assert rejected["corrected"] < 0.09 * 300


# --- rows and seeds --------------------------------------------------------------------------------------------------


def test_variance_ratio_by_hand():
    """Seed means 1 and 3, variance 2; within each seed variance 2 over 2 rows, so 1 each: V = 2."""
    found = variance_ratio([[0, 2], [2, 4]])
    assert found.v == pytest.approx(2)
    assert found.false_alarm_rate == pytest.approx(2 * stats.norm.sf(1.959964 / math.sqrt(2)))
    assert not found.valid


def test_variance_ratio_foretells_how_often_a_test_over_rows_errs():
    rng = np.random.default_rng(0)

    def differences(seeds):
        return rng.normal(size=(seeds, 400)) + 0.15 * rng.normal(size=(seeds, 1))

    foretold = variance_ratio(differences(200)).false_alarm_rate
    rejected = np.mean([stats.ttest_1samp(row, 0).pvalue < 0.05 for row in differences(1000)])
    assert rejected == pytest.approx(foretold, abs=0.07)
    assert rejected > 0.4


@pytest.mark.parametrize("seed", range(3))
def test_the_crossed_model_agrees_with_an_analysis_of_variance(seed):
    rng = np.random.default_rng(seed)
    table = 0.3 + rng.normal(size=(6, 1)) + rng.normal(size=(1, 9)) + rng.normal(size=(6, 9))
    long = pd.DataFrame(table).melt(ignore_index=False, var_name="user", value_name="y").reset_index(names="seed")
    squares = anova_lm(ols("y ~ C(seed) + C(user)", long).fit())
    ms = (squares["sum_sq"] / squares["df"]).to_numpy()
    result = crossed_t(table)
    assert result.difference == pytest.approx(table.mean())
    assert result.residual_variance == pytest.approx(ms[2])
    assert result.seed_variance == pytest.approx(max(0, (ms[0] - ms[2]) / 9))
    assert result.user_variance == pytest.approx(max(0, (ms[1] - ms[2]) / 6))
    error = math.sqrt((ms[0] + ms[1] - ms[2]) / 54)
    assert result.statistic == pytest.approx(table.mean() / error)


def test_the_crossed_model_keeps_its_level_where_the_others_do_not():
    rng = np.random.default_rng(1)
    crossed = over_seeds = 0
    for _ in range(400):
        table = 0.2 * rng.normal(size=(8, 1)) + 0.5 * rng.normal(size=(1, 30)) + rng.normal(size=(8, 30))
        crossed += crossed_t(table).p < 0.05
        over_seeds += stats.ttest_1samp(table.mean(axis=1), 0).pvalue < 0.05
    assert crossed < 0.08 * 400
    assert over_seeds > 0.1 * 400, "which takes the users for all there are"


@pytest.mark.parametrize("function", [variance_ratio, crossed_t])
@pytest.mark.parametrize(
    ("table", "message"),
    [([[1, 2]], r"shape \(1, 2\)"), ([1, 2], "shape"), ([[1, 2], [3, math.nan]], "seed number 1 at row 1 is nan")],
)
def test_tables_that_say_nothing_are_refused(function, table, message):
    with pytest.raises(StatisticsError, match=message):
        function(table)


def test_no_variance_is_refused():
    with pytest.raises(StatisticsError, match="do not vary between rows"):
        variance_ratio([[1, 1], [2, 2]])
    with pytest.raises(StatisticsError, match="every seed and user differs by 1"):
        crossed_t([[1, 1], [1, 1]])


# --- power -----------------------------------------------------------------------------------------------------------


def test_cohens_table():
    """Cohen 1988, table 2.4.1 for d_z: two-sided .05, power .80 (one sample of differences)."""
    assert [seeds_needed(d) for d in (0.5, 0.8, 1.0, -1.0)] == [34, 15, 10, 10]


@given(st.floats(0.3, 4), st.floats(0.3, 0.95))
def test_seeds_and_detectable_effect_are_each_others_inverse(effect, power):
    n = seeds_needed(effect, power=power)
    assert detectable_effect(n, power=power) <= effect * (1 + 1e-6)
    assert n == 2 or detectable_effect(n - 1, power=power) > effect * (1 - 1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: seeds_needed(0), "effect_size=0"),
        (lambda: seeds_needed(math.nan), "effect_size=nan"),
        (lambda: seeds_needed(1e-4), "more than 10000 seeds"),
        (lambda: seeds_needed(1, power=1), "power=1"),
        (lambda: seeds_needed(1, alpha=0), "alpha=0"),
        (lambda: detectable_effect(1), r"n=1 pair\(s\)"),
    ],
)
def test_what_cannot_be_planned_is_refused(call, message):
    with pytest.raises(StatisticsError, match=message):
        call()


# --- several comparisons ---------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_benjamini_hochberg_is_that_of_scipy(p):
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p), abs=1e-12)


def test_splits_that_share_rows_are_tested_by_the_corrected_t_alone():
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=12), rng.normal(0.5, size=12)
    lines = [("e", arm, seed, "mse", v, False) for arm, vs in (("baseline", before), ("treated", after))
             for seed, v in enumerate(vs)]  # fmt: skip
    observations = pd.DataFrame(lines, columns=list(OBSERVATION_COLUMNS))
    planned = [Comparison("treated_vs_baseline", "baseline", "treated", "family")]
    (line,) = significance(observations, planned, ["mse"], overlap=0.8).to_dict("records")
    expected = corrected_t(before, after, metric="mse", higher_is_better=False, overlap=0.8)
    assert (line["test"], line["unit"], line["p"]) == ("corrected_t", "split", expected.p)
    plain = significance(observations, planned, ["mse"]).set_index("test")
    assert line["detectable"] == pytest.approx(plain.loc["paired_t", "detectable"] * np.sqrt(1 + 12 * 4))


def test_subsamples_of_the_same_rows_vary_as_the_jackknife_says():
    """Means of 80 % of 200 numbers each: the corrected interval covers the mean that the numbers were drawn from."""
    rng, covered = np.random.default_rng(0), 0
    for _ in range(300):
        rows = rng.normal(size=200)
        means = [rng.choice(rows, 160, replace=False).mean() for _ in range(12)]
        result = corrected_t(np.zeros(12), means, metric="m", higher_is_better=True, overlap=0.8)
        covered += result.ci_low < 0 < result.ci_high
    low, high = stats.binom.interval(0.999, 300, 0.95)
    assert low <= covered <= high
