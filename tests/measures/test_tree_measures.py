"""What rounds, splits and columns say, as pure functions: by hand, against scikit-learn, and properties."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import f_oneway, ks_2samp, linregress
from sklearn.metrics import r2_score

from flowgrad.measures import trees

LOSSES = st.lists(st.floats(0.01, 100), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("values", "higher", "expected"),
    [
        ([3.0, 2.0, 2.5], False, {"best": 2.0, "last": 2.5, "excess": 0.25, "best_round": 2}),
        ([0.5, 0.8, 0.6], True, {"best": 0.8, "last": 0.6, "excess": 0.25, "best_round": 2}),
        ([-2.0, -4.0, -3.0], False, {"best": -4.0, "last": -3.0, "excess": 0.25, "best_round": 2}),
        ([2.0, math.nan, 3.0], False, {"best": 2.0, "last": 3.0, "nonfinite": 1, "best_round": 1}),
        ([1.0], False, {"best": 1.0, "last": 1.0, "excess": 0.0, "best_round": 1}),
    ],
)
def test_course_by_hand(values, higher, expected):
    found = trees.course(values, higher)
    assert {name: found[name] for name in expected} == pytest.approx(expected)


@given(LOSSES)
def test_a_loss_and_its_negative_as_a_score_have_one_course(losses):
    low = trees.course(losses, higher_is_better=False)
    high = trees.course([-loss for loss in losses], higher_is_better=True)
    for name in ("excess", "best_round", "late_gain"):
        assert low[name] == pytest.approx(high[name], nan_ok=True)
    assert low["excess"] >= 0


@given(LOSSES)
def test_what_is_lost_is_a_share_that_knows_no_scale(losses):
    """A logarithmic loss of .084 that ended at .086, after a fall from .66, was taken for overfitting: by 3 %."""
    lost = trees.lost(np.array(losses))
    assert 0 <= lost <= 1
    assert trees.lost(3 * np.array(losses) + 2) == pytest.approx(lost, abs=1e-9)
    assert (lost == 0) == (losses[-1] == min(losses))
    assert trees.lost(np.array([0.66, 0.084, 0.086])) < 0.01
    assert trees.lost(np.array([1.0, 2.0])) == 1


@given(LOSSES)
def test_late_gain_is_a_share(losses):
    found = trees.course(losses, higher_is_better=False)["late_gain"]
    assert math.isnan(found) or 0 <= found <= 1


def test_what_comes_after_the_round_that_is_kept_is_not_judged():
    values = [3.0, 2.0, 1.0, 1.5, 2.5]
    kept, whole = (trees.course(values, False, kept) for kept in (3, None))
    assert (kept["last"], kept["excess"], kept["lost"], kept["drift"]) == (1.0, 0, 0, 0)
    assert whole["excess"] == 1.5
    assert kept["late_gain"] == whole["late_gain"]  # the course of the training stays what it was


def test_squared_errors_count_by_their_roots():
    squared = trees.course([9.0, 4.0, 9.0], False, squared=True)
    assert squared["excess"] == pytest.approx(trees.course([3.0, 2.0, 3.0], False)["excess"])
    assert trees.gap(1.0, 4.0, False, squared=True) == trees.gap(1.0, 2.0, False)


@given(st.integers(0, 200), st.integers(5, 300))
def test_a_walk_at_random_is_not_steady(seed, rounds):
    steps = np.random.default_rng(seed).normal(size=rounds)
    assert abs(trees.steadiness(np.cumsum(steps))) < 25
    assert trees.steadiness(np.cumsum(steps)) == pytest.approx(-trees.steadiness(-np.cumsum(steps)))


def test_steadiness_of_walks_and_of_rises():
    rng = np.random.default_rng(0)
    walks = [trees.steadiness(np.cumsum(rng.normal(size=120))) for _ in range(400)]
    rises = [trees.steadiness(np.cumsum(1 + rng.normal(size=120))) for _ in range(50)]
    assert np.mean(np.abs(walks) > 3) < 0.03
    assert min(rises) > 3
    assert math.isnan(trees.steadiness(np.arange(4.0)))
    assert trees.steadiness(np.ones(50)) == 0
    assert trees.steadiness(np.arange(50.0)) == trees.MOST


def test_a_rise_that_levels_off_is_steady_and_a_walk_from_its_lowest_is_mostly_not():
    rng = np.random.default_rng(1)
    levelling = [1 - 0.7 ** np.arange(150) + 0.005 * rng.normal(size=150) for _ in range(20)]
    assert min(trees.drift(curve - curve[0]) for curve in levelling) > 2
    walks = [np.cumsum(rng.normal(size=150)) for _ in range(400)]
    assert np.mean([trees.drift(walk[walk.argmin() :]) > 3 for walk in walks]) < 0.2


@given(st.integers(0, 100), st.integers(5, 60), st.integers(5, 60))
def test_distance_of_parts_is_that_of_scipy_beyond_chance(seed, n, m):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=n).round(1), rng.normal(1, size=m).round(1)
    expected = max(ks_2samp(x, y).statistic - 1.95 * math.sqrt(1 / n + 1 / m), 0)
    assert trees.part_distance(np.r_[x, np.nan], y) == pytest.approx(expected)
    assert math.isnan(trees.part_distance([np.nan], y))


def test_no_round_has_no_course():
    found = trees.course([], higher_is_better=False)
    assert found.pop("nonfinite") == 0
    assert all(map(math.isnan, found.values()))


def test_a_fit_alone_agrees_with_means_of_bins():
    """Fewer values than bins: each has its own mean, as a group-by gives it."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 10, 2000).astype(float), rng.normal(size=2000)
    y += (x - 4.5) ** 2  # no line fits
    means = np.array([y[x == value].mean() for value in range(10)])
    new_x, new_y = rng.integers(0, 10, 200).astype(float), rng.normal(size=200)
    expected = r2_score(y, means[x.astype(int)]), r2_score(new_y, means[new_x.astype(int)])
    assert trees.alone(x, y, new_x, new_y)[:2] == pytest.approx(expected)
    assert trees.alone_by_value(x, y, new_x, new_y)[:2] == pytest.approx(expected)


@given(st.integers(0, 100), st.floats(-50, 50), st.floats(0.01, 100), st.sampled_from([-1, 1]))
def test_a_fit_alone_does_not_depend_on_the_unit(seed, shift, scale, sign):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=80), rng.normal(size=80)
    first = trees.alone(x[:60], y[:60], x[60:], y[60:])
    other = shift + scale * x
    assert trees.alone(other[:60], y[:60], other[60:], y[60:]) == pytest.approx(first, rel=1e-6, abs=1e-9)
    turned = trees.alone(x[:60], sign * y[:60], x[60:], sign * y[60:])
    assert turned == pytest.approx(first, rel=1e-6, abs=1e-9)
    assert first[0] >= -1e-12  # means fit at least as well as the mean


def test_a_line_is_taken_where_it_fits_better_than_means_of_bins():
    """Sixteen bins of a column that is the target itself explain .996 of it: a leak among strong columns was missed."""
    x = np.linspace(0, 1, 400)
    assert trees.alone(x, 3 * x + 1, x, 3 * x + 1)[:2] == pytest.approx((1, 1))
    beyond = np.array([2.0, 0.0])  # counts as the nearest that was fitted to
    assert trees.alone(x, x, beyond, np.array([1.0, 0.0])).val_r2 == pytest.approx(1)


def test_a_rare_flag_has_a_mean_of_its_own():
    """Quantiles gave a flag that is seldom set one bin, and it seemed to tell nothing."""
    x = np.zeros(1000)
    x[:10] = 1
    assert trees.alone(x, x, x, x)[:2] == pytest.approx((1, 1))


@given(st.integers(0, 1000))
def test_a_column_of_no_use_is_not_told_from_chance(seed):
    rng = np.random.default_rng(seed)
    fits = [trees.alone(*rng.normal(size=(2, 100)), *rng.normal(size=(2, 50))) for _ in range(20)]
    assert min(fit.p for fit in fits) > 1e-5
    assert np.mean([fit.p for fit in fits]) > 0.2
    assert max(fit.shift_z for fit in fits) < 5


def test_p_of_a_fit_is_that_of_a_one_way_anova():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, 200).astype(float), rng.normal(size=200)
    expected = f_oneway(*(y[x == value] for value in range(4))).pvalue
    assert trees.alone(x, y, x, y).p == pytest.approx(expected)
    assert trees.alone_by_value(x, y, x, y).p == pytest.approx(expected)
    assert trees.linear_p(x, y) == pytest.approx(linregress(x, y).pvalue)
    assert math.isnan(trees.linear_p(np.ones(9), y[:9]))


@given(st.floats(0.001, 0.5), st.integers(5, 300))
def test_late_trees_gain_less_the_faster_a_booster_learns(rate, rounds):
    """Of squared errors that fall by (1 - rate) a round, as the formula has it."""
    number = np.arange(1, rounds + 1)
    gain = (1 - rate) ** (2 * number)
    part = int(rounds * trees.LATE)
    expected = (1 - rate) ** (2 * (rounds - part))
    assert trees.late_tree_gain(gain, number, rounds) == pytest.approx(expected)
    assert math.isnan(trees.late_tree_gain(gain[:4], number[:4], 4))


def test_missing_values_are_a_value():
    x = np.array([np.nan, np.nan, 1.0, 1.0])
    y = np.array([5.0, 5.0, 1.0, 1.0])
    assert trees.alone(x, y, x, y)[:2] == (1.0, 1.0)
    nothing = np.full(4, np.nan)
    assert trees.alone(nothing, y, nothing, y)[:2] == (0.0, 0.0)


def test_no_rows_are_an_error():
    with pytest.raises(ValueError, match="no row to fit to"):
        trees.alone([], [], [1.0], [1.0])


@given(st.integers(0, 50))
def test_twins_are_the_largest_correlations_with_earlier_columns(seed):
    X = np.random.default_rng(seed).normal(size=(30, 5))
    correlation = np.abs(np.corrcoef(X.T))
    found = trees.twins(X)
    assert math.isnan(found[0])
    for place in range(1, 5):
        assert found[place] == pytest.approx(correlation[place, :place].max())


def test_a_constant_column_has_no_twin():
    X = np.c_[np.arange(5.0), np.full(5, 3.3), 2 * np.arange(5.0), np.full(5, np.nan)]
    with np.errstate(all="raise"):
        found = trees.twins(X)
    assert np.isnan(found[[0, 1, 3]]).all()
    assert found[2] == pytest.approx(1)


@pytest.mark.parametrize(("rows", "held_out", "signal"), [(200, 60, 0.0), (200, 60, 0.6), (5000, 1000, 0.3)])
def test_a_column_that_carries_over_is_seldom_thought_to_shift(rows, held_out, signal):
    """Both parts from one source: the standard score is centred, and scores above 4 do not occur."""
    rng, scores = np.random.default_rng(0), []
    for _ in range(300):
        x = rng.normal(size=rows + held_out)
        y = signal * x + rng.normal(size=rows + held_out)
        scores.append(trees.alone(x[:rows], y[:rows], x[rows:], y[rows:]).shift_z)
    assert abs(np.mean(scores)) < 0.5
    assert max(scores) < 4


def test_a_column_that_does_not_carry_over_is_told_even_on_few_rows():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 260))
    x[:200] = y[:200] + 0.3 * rng.normal(size=200)
    assert trees.alone(x[:200], y[:200], x[200:], y[200:]).shift_z > 4
