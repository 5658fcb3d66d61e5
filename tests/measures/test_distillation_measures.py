"""What the layers of a student say beside each other: by hand, and properties."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgrad.measures import distillation as measures

VALUES = st.lists(st.floats(0.01, 100), min_size=2, max_size=8).map(np.array)


def test_names_stand_once():
    names = [measure.name for measure in measures.MEASURES]
    assert len(names) == len(set(names))


@given(VALUES)
def test_a_layer_is_not_among_the_others(values):
    for place in range(len(values)):
        changed = values.copy()
        changed[place] = 1e6
        assert measures.medians_of_others(changed)[place] == measures.medians_of_others(values)[place]


def test_of_two_layers_each_is_measured_by_the_other():
    assert measures.over_others(np.array([1.0, 4.0])).tolist() == [0.25, 4.0]
    assert np.isnan(measures.over_others(np.array([1.0]))).all()
    assert np.isnan(measures.over_others(np.array([1.0, 0.0]))[0])


@given(
    st.lists(st.tuples(st.floats(0.01, 100), st.integers(1, 1000)), min_size=3, max_size=7),
    st.floats(0.001, 0.5),
    st.booleans(),
    st.data(),
)
def test_speed_ratio_is_at_most_the_factor_of_a_slow_layer_by_either_way(layers, factor, adam, data):
    """Whatever gradients and sizes: with Adam's equal steps and with SGD's proportional ones, healthy layers have a
    ratio of 1 or more, and a slow one at least its factor, which one of the two ratios gives exactly.
    """
    gradient, weights = (np.array(column, dtype=float) for column in zip(*layers, strict=True))
    update = np.sqrt(weights) if adam else gradient.copy()
    healthy, _ = measures.speed_ratios(update, gradient, weights)
    assert (healthy >= 1 - 1e-9).all()
    slow = data.draw(st.integers(0, len(layers) - 1))
    update[slow] *= factor
    assert measures.speed_ratios(update, gradient, weights)[0][slow] == pytest.approx(factor * healthy[slow])


def test_speed_without_gradients_is_by_weight():
    found, _ = measures.speed_ratios(np.array([1.0, 4.0]), np.full(2, math.nan), np.array([4.0, 4.0]))
    assert found.tolist() == [0.25, 4.0]


@pytest.mark.parametrize(("straight", "low", "high"), [(True, 1, 1), (False, 0.4, 0.6)])
def test_drift_of_a_straight_way_and_of_a_random_walk(straight, low, high):
    steps = np.random.default_rng(0).normal(size=(64, 500))
    if straight:
        steps[:] = steps[0]
    net = np.linalg.norm(steps.sum(axis=0))
    mean = np.linalg.norm(steps, axis=1).mean()
    found = float(measures.drift(np.array([net]), np.array([mean]), np.array([64.0]))[0])
    assert low - 1e-9 <= found <= high + 1e-9


def test_drift_of_what_does_not_move_is_not_known():
    assert np.isnan(measures.drift(np.zeros(2), np.array([0.0, 1.0]), np.full(2, 8.0))).all()


def test_snr_is_that_of_the_gradients():
    """Of a mean of squared length 9 and a covariance of trace 25, and of no mean."""
    gradients = 0.5 * np.random.default_rng(0).normal(size=(400, 8, 2, 100))
    gradients[:, :, 0, 0] += 3
    mean_square = np.square(gradients).sum(axis=3).mean(axis=1)
    found = measures.gradient_snr(mean_square, np.square(gradients.mean(axis=1)).sum(axis=2), 8)
    assert found == pytest.approx([9 / 25, 0], abs=0.02)


def test_snr_of_gradients_that_never_change_is_not_known():
    assert np.isnan(measures.gradient_snr(np.ones((2, 1)), np.ones((2, 1)), 8))[0]


def rows(**columns):
    return {name: np.full(3, math.nan) for name in measures.ROW_NAMES} | {
        "frozen": np.zeros(3),
        "left_out": np.zeros(3),
        **{name: np.array(values, dtype=float) for name, values in columns.items()},
    }


def test_extremes_are_known_for_every_measure_or_not_at_all():
    found = measures.extremes(rows())
    assert found["frozen_layers"] == found["left_out_layers"] == 0
    assert all(math.isnan(value) for name, value in found.items() if name not in ("frozen_layers", "left_out_layers"))


def test_a_frozen_layer_is_not_the_slowest():
    found = measures.extremes(rows(frozen=[1, 0, 0], speed_ratio=[0, 0.5, 2], lost=[0.1, math.nan, 0.7]))
    assert found["least_speed"] == 0.5
    assert found["frozen_layers"] == 1
    assert (found["most_lost"], found["median_lost"]) == pytest.approx((0.7, 0.4))
