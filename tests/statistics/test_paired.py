import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from flowgrad.errors import StatisticsError
from flowgrad.statistics import adjust, gap_closed, holm, paired_t, sign_test, verdict, wilcoxon

TESTS = [paired_t, wilcoxon, sign_test]

# Student (1908), The Probable Error of a Mean: extra hours of sleep under two drugs, ten patients.
SLEEP_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SLEEP_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def arms(seed, n=10, shift=0.5):
    generator = np.random.default_rng(seed)
    common = generator.normal(size=n)
    return common + 0.5 * generator.normal(size=n), common + shift + 0.5 * generator.normal(size=n)


# --- paired t --------------------------------------------------------------------------------------------------------


def test_students_sleep():
    result = paired_t(SLEEP_2, SLEEP_1, metric="hours", higher_is_better=True)
    assert result.statistic == pytest.approx(-4.0621, abs=5e-5)
    assert result.p == pytest.approx(0.00283, abs=5e-6)
    assert (result.n, result.df) == (10, 9)
    assert result.difference == pytest.approx(-1.58)
    assert (result.ci_low, result.ci_high) == pytest.approx((-2.4599, -0.7001), abs=5e-5)
    assert result.effect_size == pytest.approx(-4.0621 / math.sqrt(10), abs=5e-5)
    assert result.wins == 0
    assert result.verdict == "refuted"


def test_two_pairs_by_hand():
    """Differences 1 and 3: mean 2, standard error 1, t = 2 on one degree of freedom, p = 1 - 2 atan(2) / pi."""
    result = paired_t([0, 0], [1, 3], metric="m", higher_is_better=True)
    assert (result.statistic, result.df) == (pytest.approx(2), 1)
    assert result.p == pytest.approx(1 - 2 * math.atan(2) / math.pi)
    assert result.effect_size == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [2, 5, 30])
def test_paired_t_agrees_with_scipy(seed, n):
    before, after = arms(seed, n)
    result = paired_t(before, after, metric="m", higher_is_better=True, alpha=0.1)
    expected = stats.ttest_rel(after, before)
    interval = expected.confidence_interval(0.9)
    assert (result.statistic, result.p, result.df) == pytest.approx((expected.statistic, expected.pvalue, expected.df))
    assert (result.ci_low, result.ci_high) == pytest.approx((interval.low, interval.high))


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.floats(0.01, 0.5))
def test_the_interval_holds_zero_where_the_test_does_not_reject(seed, n, alpha):
    before, after = arms(seed, n, shift=0.3)
    result = paired_t(before, after, metric="m", higher_is_better=True, alpha=alpha)
    assert (result.ci_low <= 0 <= result.ci_high) == (result.p >= alpha)
    assert (result.verdict == "inconclusive") == (result.p >= alpha)
    assert result.ci_low <= result.difference <= result.ci_high
    assert result.difference == pytest.approx(result.treated - result.baseline)


@given(st.integers(0, 2**32 - 1))
def test_swapping_the_arms_turns_every_sign(seed):
    before, after = arms(seed)
    for test in TESTS:
        one = test(before, after, metric="m", higher_is_better=True)
        other = test(after, before, metric="m", higher_is_better=True)
        assert other.p == pytest.approx(one.p)
        assert other.effect_size == pytest.approx(-one.effect_size)
        assert one.wins + other.wins == 10
        assert {one.verdict, other.verdict} in ({"inconclusive"}, {"confirmed", "refuted"})


def test_pairing_counts():
    """The same values in another order are another experiment."""
    before, after = np.arange(10.0), np.arange(10.0) + np.linspace(0.4, 0.6, 10)
    assert paired_t(before, after, metric="m", higher_is_better=True).p < 1e-6
    assert paired_t(before[::-1], after, metric="m", higher_is_better=True).p > 0.5


def test_interval_covers_the_true_difference_as_often_as_it_says():
    """1,000 experiments of 8 seeds; the bounds are those of the binomial at one in a million."""
    covered = 0
    for seed in range(1000):
        before, after = arms([11, seed], n=8)
        result = paired_t(before, after, metric="m", higher_is_better=True)
        covered += result.ci_low <= 0.5 <= result.ci_high
    low, high = stats.binom.interval(1 - 1e-6, 1000, 0.95)
    assert low <= covered <= high


# --- false alarms ----------------------------------------------------------------------------------------------------


def false_alarms(test, draws=2000, n=8, alpha=0.05):
    found = 0
    for draw in range(draws):
        before, after = arms([3, draw], n=n, shift=0.0)
        found += test(before, after, metric="m", higher_is_better=True, alpha=alpha).verdict != "inconclusive"
    return found


def test_paired_t_raises_false_alarms_as_often_as_it_says():
    """2,000 experiments without an effect; the seeds' own effects, shared by the arms, do not matter."""
    low, high = stats.binom.interval(1 - 1e-6, 2000, 0.05)
    assert low <= false_alarms(paired_t) <= high


@pytest.mark.parametrize("test", [wilcoxon, sign_test])
def test_exact_tests_raise_no_more_false_alarms_than_they_say(test):
    """They are discrete, so they stay below the level: 4 and 8 of the 256 sign patterns reject at n = 8."""
    reach = {wilcoxon: 10 / 256, sign_test: 2 / 256}[test]
    low, high = stats.binom.interval(1 - 1e-6, 2000, reach)
    assert low <= false_alarms(test) <= high


# --- wilcoxon --------------------------------------------------------------------------------------------------------


def test_wilcoxon_by_hand():
    """Differences 1, 2, 3, 4, 5, 6 all up: two of 64 sign patterns are as extreme."""
    result = wilcoxon([0] * 6, [1, 2, 3, 4, 5, 6], metric="m", higher_is_better=True)
    assert result.p == pytest.approx(2 / 64)
    assert (result.effect_size, result.statistic, result.wins) == (1, 0, 6)
    assert result.verdict == "confirmed"
    assert math.isnan(result.ci_low)
    assert math.isnan(result.df)


def test_five_pairs_cannot_reach_five_percent():
    result = wilcoxon([0] * 5, [1, 2, 3, 4, 5], metric="m", higher_is_better=True)
    assert result.p == pytest.approx(2 / 32)
    assert result.verdict == "inconclusive"


def test_rank_biserial_by_hand():
    """Ranks 1 (down), 2 and 3 (up): (2 + 3 - 1) / 6."""
    result = wilcoxon([0, 0, 0], [-1, 2, 3], metric="m", higher_is_better=True)
    assert result.effect_size == pytest.approx(4 / 6)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [3, 8, 20])
def test_wilcoxon_agrees_with_scipy(seed, n):
    before, after = arms(seed, n)
    result = wilcoxon(before, after, metric="m", higher_is_better=False)
    expected = stats.wilcoxon(after, before, method="exact")
    assert (result.statistic, result.p) == pytest.approx((expected.statistic, expected.pvalue))


def test_wilcoxon_drops_pairs_that_tie():
    result = wilcoxon([0, 0, 0, 0, 0, 0, 5], [1, 2, 3, 4, 5, 6, 5], metric="m", higher_is_better=True)
    assert result.p == pytest.approx(2 / 64)
    assert result.n == 7


def test_wilcoxon_takes_a_constant_difference():
    result = wilcoxon([0.0] * 8, [1.0] * 8, metric="m", higher_is_better=True)
    assert result.p < 0.05
    assert result.verdict == "confirmed"


# --- sign test -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ups", range(9))
def test_sign_test_agrees_with_the_binomial(ups):
    after = [1.0] * ups + [-1.0] * (8 - ups)
    result = sign_test([0.0] * 8, after, metric="m", higher_is_better=True)
    assert result.p == pytest.approx(stats.binomtest(ups, 8).pvalue)
    assert result.effect_size == pytest.approx((2 * ups - 8) / 8)
    assert result.wins == ups


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("higher", [True, False])
def test_a_diverged_seed_is_worse_than_any_other(bad, higher):
    """Whatever the direction of the metric, and whichever infinity; a tie of two does not count."""
    before = [bad] * 7 + [1.0]
    after = [1.0] * 6 + [bad, 1.0]
    result = sign_test(before, after, metric="m", higher_is_better=higher)
    assert result.wins == 6
    assert result.p == pytest.approx(2 / 64)
    assert result.verdict == "confirmed"
    assert sign_test(after, before, metric="m", higher_is_better=higher).verdict == "refuted"


# --- verdicts --------------------------------------------------------------------------------------------------------

BETTER = [0.1, 0.2, 0.15, 0.12, 0.18, 0.11, 0.14, 0.16]


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize(
    ("direction", "higher", "said"),
    [(1, True, "confirmed"), (-1, True, "refuted"), (1, False, "refuted"), (-1, False, "confirmed")],
)
def test_verdicts_follow_the_metrics_direction(test, direction, higher, said):
    result = test([0.0] * 8, [direction * value for value in BETTER], metric="m", higher_is_better=higher)
    assert result.verdict == said
    assert result.wins == (8 if said == "confirmed" else 0)
    assert verdict(result, alpha=1e-9) == "inconclusive"


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("higher", [True, False])
def test_identical_arms_are_inconclusive(test, higher):
    result = test([0.3, 0.1, 0.2], [0.3, 0.1, 0.2], metric="m", higher_is_better=higher)
    assert (result.p, result.difference, result.effect_size, result.wins) == (1, 0, 0, 0)
    assert result.verdict == "inconclusive"


def test_verdict_needs_less_than_alpha():
    result = wilcoxon([0] * 6, [1, 2, 3, 4, 5, 6], metric="m", higher_is_better=True)
    assert verdict(result, alpha=result.p) == "inconclusive"
    assert verdict(result, alpha=result.p + 1e-9) == "confirmed"


# --- what cannot be tested -------------------------------------------------------------------------------------------


def test_a_constant_difference_has_no_t():
    with pytest.raises(StatisticsError, match=r"ndcg: every seed differs by 0\.1; .*Do the seeds reach the model\?"):
        paired_t([0.1, 0.2, 0.3], [0.2, 0.3, 0.4], metric="ndcg", higher_is_better=True)


@pytest.mark.parametrize("level", [1.0, 1e3, 1e6])
def test_a_constant_difference_is_seen_through_rounding(level):
    """Differences of numbers near a million agree to ten digits only."""
    before = level + np.array([0.137, 0.291, 0.553, 0.718])
    with pytest.raises(StatisticsError, match="without variance between seeds"):
        paired_t(before, before + 0.001, metric="m", higher_is_better=True)


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("count", [0, 1])
def test_one_seed_is_no_experiment(test, count):
    with pytest.raises(StatisticsError, match=rf"m: {count} pair\(s\) of seeds; a paired test needs at least 2"):
        test([1.0] * count, [2.0] * count, metric="m", higher_is_better=True)


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize(("before", "after"), [([1, 2, 3], [1, 2]), ([[1, 2]], [[1, 2]])])
def test_arms_that_are_not_paired(test, before, after):
    with pytest.raises(StatisticsError, match="m: the arms are not paired"):
        test(before, after, metric="m", higher_is_better=True)


@pytest.mark.parametrize("test", [paired_t, wilcoxon])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("arm", ["baseline", "treated"])
def test_values_that_are_not_finite_are_named(test, bad, arm):
    good, broken = [1.0, 2.0, 4.0], [1.0, 5.0, bad]
    first, second = (broken, good) if arm == "baseline" else (good, broken)
    with pytest.raises(StatisticsError, match=f"m: the {arm} arm's value {bad} at pair 2 is not finite"):
        test(first, second, metric="m", higher_is_better=True)


# --- families and gaps -----------------------------------------------------------------------------------------------


def test_adjusting_a_family_takes_back_what_one_test_alone_said():
    results = [paired_t(*arms(seed, 6, 1.0), metric=f"m{seed}", higher_is_better=True) for seed in range(6)]
    adjusted = adjust(results)
    assert [result.p_adjusted for result in adjusted] == pytest.approx(holm([result.p for result in results]))
    assert [result.metric for result in adjusted] == [result.metric for result in results]
    assert [result.p for result in adjusted] == [result.p for result in results]
    confirmed = sum(result.verdict == "confirmed" for result in results)
    assert 0 < sum(result.verdict == "confirmed" for result in adjusted) < confirmed
    assert adjust([]) == []


def test_adjusting_keeps_the_level_asked_for():
    results = [wilcoxon([0] * 6, [1, 2, 3, 4, 5, 6], metric="m", higher_is_better=True)] * 2
    assert [result.verdict for result in adjust(results)] == ["inconclusive"] * 2
    assert [result.verdict for result in adjust(results, alpha=0.1)] == ["confirmed"] * 2


@pytest.mark.parametrize(
    ("baseline", "treated", "reference", "share"),
    [(1.0, 0.9, 0.8, 0.5), (1.0, 0.8, 0.8, 1), (1.0, 0.7, 0.8, 1.5), (1.0, 1.1, 0.8, -0.5), (0.1, 0.15, 0.2, 0.5)],
)
def test_gap_closed(baseline, treated, reference, share):
    assert gap_closed(baseline, treated, reference) == pytest.approx(share)


def test_no_gap_to_close():
    assert math.isnan(gap_closed(1.0, 0.9, 1.0))
    assert math.isnan(gap_closed(1.0, 0.9, math.nan))
