"""Figures on probabilities of clicks: cases known by hand, properties, and slow plain versions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from flowgrad.measures import clicks

PROBABILITIES = arrays(float, st.integers(2, 60), elements=st.floats(0.01, 0.99))


def drawn(n=4000, seed=0):
    random = np.random.default_rng(seed)
    odds = random.normal(-1, 1.5, n)
    return (random.random(n) < 1 / (1 + np.exp(-odds))).astype(float), odds


@settings(deadline=None)
@given(PROBABILITIES, st.randoms(use_true_random=False))
def test_auc_is_that_of_scikit_learn(scores, random):
    clicked = np.array([random.random() < 0.5 for _ in scores], dtype=float)
    if 0 < clicked.mean() < 1:
        assert clicks.roc_auc(clicked, scores) == pytest.approx(roc_auc_score(clicked, scores))
    else:
        assert math.isnan(clicks.roc_auc(clicked, scores))


@given(PROBABILITIES)
def test_the_calibration_error_is_a_share_and_0_of_the_truth(p):
    clicked = (np.arange(len(p)) % 2).astype(float)
    error = clicks.expected_calibration_error(clicked, p)
    assert 0 <= error <= 1
    assert clicks.expected_calibration_error(clicked, clicked) == 0
    # One bin knows the mean alone, and more bins never see less.
    assert error >= abs(clicked.mean() - p.mean()) - 1e-12


def test_the_calibration_error_by_hand():
    p = np.array([0.1, 0.3, 0.6, 0.8])
    clicked = np.array([0.0, 1.0, 0.0, 1.0])
    assert clicks.expected_calibration_error(clicked, p, bins=2) == pytest.approx((0.6 + 0.4) / 4)
    assert math.isnan(clicks.expected_calibration_error([0, 1], [0.5, np.nan]))


def test_probabilities_that_are_right_have_the_error_that_chance_gives():
    errors, chance = [], []
    for seed in range(60):
        clicked, odds = drawn(1500, seed)
        p = 1 / (1 + np.exp(-odds))
        errors.append(clicks.expected_calibration_error(clicked, p))
        chance.append(clicks.chance_calibration_error(p))
    assert np.mean(errors) == pytest.approx(np.mean(chance), rel=0.08)


@given(st.floats(0.02, 0.98), arrays(float, st.integers(1, 30), elements=st.floats(-6, 6)))
def test_the_level_makes_the_mean_the_rate(rate, odds):
    added = clicks.level(rate, odds)
    assert (1 / (1 + np.exp(-(odds + added)))).mean() == pytest.approx(rate, abs=1e-6)


@pytest.mark.parametrize(("shift", "stretch"), [(0, 1), (1.5, 1), (0, 3), (-1, 0.25), (2, 40)])
def test_recalibration_undoes_what_was_done_to_the_odds(shift, stretch):
    clicked, odds = drawn()
    found = clicks.recalibration(clicked, shift + stretch * odds)
    plain = LogisticRegression(C=np.inf, tol=1e-8).fit(odds[:, None], clicked)
    assert found.slope * stretch == pytest.approx(plain.coef_[0, 0], rel=1e-3)
    assert found.intercept + found.slope * shift == pytest.approx(plain.intercept_[0], abs=1e-3)
    assert abs(found.slope * stretch - 1) < 4 * found.slope_error * stretch


def test_clicks_that_the_odds_tell_apart_have_no_slope():
    assert math.isnan(clicks.recalibration([0, 0, 1, 1], [-2, -1, 1, 2]).slope)
    assert math.isnan(clicks.recalibration([0, 1, 0, 1], [1, 1, 1, 1]).slope)


def test_figures_tell_a_wrong_level_from_a_wrong_slope():
    clicked, odds = drawn()
    right = clicks.calibration_figures(clicked, odds, float(clicked.mean()), float(clicked.mean()))
    assert max(right["level_gain"], right["slope_gain"]) < 0.002
    assert right["auc"] == pytest.approx(roc_auc_score(clicked, odds))
    off = clicks.calibration_figures(clicked, odds + 1.2, 0.5, 0.5)
    assert off["level"] == pytest.approx(right["level"] - 1.2, abs=1e-6)
    assert off["level_gain"] > 0.1 > 0.002 > off["slope_gain"]
    sure = clicks.calibration_figures(clicked, -1 + 4 * (odds + 1), 0.5, 0.5)
    assert sure["calibration_slope"] == pytest.approx(0.25, rel=0.1)
    assert sure["slope_gain"] > 0.1


def test_a_column_that_is_not_used_moves_nothing():
    clicked, odds = drawn(500)
    same = clicks.column_figures(clicked, odds, odds.copy())
    assert same == {"prediction_shift": 0.0, "loss_rise": 0.0, "loss_rise_z": 0.0}
    other = clicks.column_figures(clicked, odds, np.random.default_rng(0).permutation(odds))
    assert other["prediction_shift"] == pytest.approx(math.sqrt(2), rel=0.15)
    assert other["loss_rise_z"] > 5


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), min_size=1, max_size=60))
def test_values_collide_where_another_of_the_same_row_is_more_frequent(pairs):
    ids, values = np.array(pairs).T
    own = sum(max(np.bincount(values[ids == row])) for row in set(ids.tolist()))
    assert clicks.collided_share(ids, values) == pytest.approx(1 - own / len(ids))
    assert clicks.collided_share(values, values) == 0


def test_use_of_a_table_by_hand():
    trained, held_out = np.repeat([1, 2, 3], [20, 4, 1]), np.array([1, 2, 0, 5])
    values = np.concatenate([np.repeat([0, 1], [15, 5]), np.repeat([2, 3, 4], [2, 2, 1])])
    found = clicks.table_figures(trained, held_out, 10, values, None)
    assert found["looked_up"] == pytest.approx(0.3)
    assert found["lookups_per_row"] == pytest.approx(25 / 3)
    assert found["values"] == 5
    assert found["collided_share"] == pytest.approx(7 / 25)
    assert found["seldom_share"] == pytest.approx(5 / 25)
    assert found["cold_share"] == pytest.approx(0.5)
    moved = np.zeros(10, dtype=bool)
    moved[1] = True
    assert clicks.table_figures(trained, held_out, 10, None, moved)["cold_share"] == pytest.approx(0.75)
