"""What a network's training says, as pure functions: by hand, against slow plain versions, and properties."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flowgrad.measures import flow

LOSSES = st.lists(st.floats(0.01, 100), min_size=1, max_size=120)
NORMS = hnp.arrays(float, st.tuples(st.integers(1, 12), st.integers(1, 5)), elements=st.floats(0, 1e6))


def trend(losses, first=None):
    losses = np.asarray(losses, dtype=float)
    first = losses[0] if first is None else first
    return flow.loss_trend(np.ones(len(losses)), losses, np.zeros(len(losses)), first)


def test_no_name_stands_twice():
    names = [measure.name for measure in flow.MEASURES]
    assert len(names) == len(set(names)) == len({*flow.ROW_MEASURES, *names})


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=60, unique=True).map(sorted))
def test_parts_of_the_run_are_never_empty_and_at_their_ends(steps):
    early, recent = flow.early(steps), flow.recent(steps)
    assert early[0]
    assert recent[-1]
    assert (np.diff(early.astype(int)) <= 0).all()
    assert (np.diff(recent.astype(int)) >= 0).all()
    assert recent.sum() >= min(8, len(steps))


@given(NORMS)
def test_means_leave_out_what_is_not_finite(norms):
    holed = norms.copy()
    holed[0] = np.inf
    with_nan = np.vstack([norms, np.full(norms.shape[1], np.nan)])
    assert flow.mean_of(with_nan) == pytest.approx(norms.mean(axis=0))
    expected = holed[1:].mean(axis=0) if len(holed) > 1 else np.full(norms.shape[1], np.nan)
    assert flow.mean_of(holed) == pytest.approx(expected, nan_ok=True)
    assert np.isnan(flow.mean_of(norms[:0])).all()


@given(NORMS)
def test_whole_norm_is_that_of_all_entries(norms):
    assert flow.whole_norm(norms) == pytest.approx([math.hypot(*row) for row in norms])


def test_whole_norm_of_nothing_is_unknown_and_of_infinity_infinite():
    found = flow.whole_norm(np.array([[np.nan, np.nan], [np.inf, 1.0], [np.nan, 2.0]]))
    assert np.isnan(found[0])
    assert found[1:].tolist() == [np.inf, 2.0]
    assert flow.spike(found) == (np.inf, np.inf)


@pytest.mark.parametrize(
    ("rms", "expected"),
    [
        ([1.0, 10.0, 100.0, 1000.0], (-3, math.log10(1000 / 55), math.log10(55))),
        ([100.0, 1.0], (2, math.log10(100 / 50.5), math.log10(50.5))),
        ([1.0, math.nan, 1.0], (0, 0, 0)),
        ([0.0, 1.0, 1.0], (-math.inf, 0, math.inf)),
        ([1.0], (math.nan,) * 3),
        ([], (math.nan,) * 3),
    ],
)
def test_depth_profile_by_hand(rms, expected):
    assert flow.depth_profile(np.array(rms)) == pytest.approx(expected, nan_ok=True)


@given(st.integers(2, 30), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_signal_to_noise_equals_its_definition(looks, entries, seed):
    """Against the gradients themselves: squared mean less its bias, over the variance, entry by entry."""
    gradients = np.random.default_rng(seed).normal(0.7, 1.0, size=(looks, entries))
    noise = gradients.var(axis=0, ddof=1).sum()
    signal = sum(g.mean() ** 2 for g in gradients.T) - noise / looks
    found = flow.signal_to_noise([(gradients**2).sum(axis=1).mean()], [(gradients.mean(axis=0) ** 2).sum()], [looks])
    assert found[0] == pytest.approx(max(signal, 0) / noise, abs=1e-9)


def test_signal_to_noise_is_without_bias_for_few_looks():
    """Four looks of pure noise seem to have signal by chance alone; on average they must not."""
    gradients = np.random.default_rng(0).normal(size=(4000, 4, 64))
    square, mean = (gradients**2).sum(axis=2).mean(axis=1), (gradients.mean(axis=1) ** 2).sum(axis=1)
    found = flow.signal_to_noise(square, mean, np.full(4000, 4))
    assert np.median(found) < 0.01
    naive = mean / (square - mean)
    assert np.median(naive) > 0.25


@pytest.mark.parametrize(
    ("square", "mean", "looks", "expected"), [(4, 4, 1, math.nan), (0, 0, 5, math.nan), (1, 0, 5, 0), (1, 1, 5, 1e12)]
)
def test_signal_to_noise_at_its_ends(square, mean, looks, expected):
    assert flow.signal_to_noise([square], [mean], [looks])[0] == pytest.approx(expected, nan_ok=True)


@given(st.floats(-0.05, 0.05), st.lists(st.integers(1, 500), min_size=3, max_size=20, unique=True).map(sorted))
def test_acceleration_of_a_line_is_its_relative_slope(slope, steps):
    times = np.array(steps, dtype=float)
    speed = 1 + slope * (times - times.mean()) / 500
    found = flow.acceleration(steps, np.column_stack([speed, np.zeros(len(steps)), np.full(len(steps), np.nan)]))
    assert found[0] == pytest.approx(slope / 500, abs=1e-12)
    assert np.isnan(found[1:]).all()


@given(LOSSES, st.integers(1, 30))
def test_windows_put_together_keep_count_mean_and_scatter(losses, bins):
    values = np.array(losses)
    n, mean, square = flow.rebin(np.ones(len(values)), values, np.zeros(len(values)), bins)
    parts = np.split(values, np.cumsum(n).astype(int)[:-1])
    assert len(n) == min(bins, len(values))
    assert mean == pytest.approx([part.mean() for part in parts])
    assert square == pytest.approx([((part - part.mean()) ** 2).sum() for part in parts], abs=1e-8)


def test_a_loss_that_falls_by_hand():
    found = trend(np.linspace(2.0, 1.0, 200))
    assert found["loss_first"] == 2
    assert found["loss_last"] == found["loss_best"] == pytest.approx(1.0226, abs=1e-3)
    assert found["loss_fall"] == pytest.approx(0.4887, abs=1e-3)
    assert found["loss_late_fall"] == pytest.approx(3 * 0.05025 / 1.098, rel=0.01)
    assert found["loss_ups"] == found["loss_rise"] == 0
    assert found["loss_oscillation"] == pytest.approx(0, abs=1e-9)


def test_a_wave_oscillates_and_a_line_does_not():
    wave = 1 + 0.3 * np.sin(np.arange(400) * 2 * np.pi / 80)
    assert trend(wave)["loss_oscillation"] > 0.15
    assert trend(np.linspace(3, 1, 400))["loss_oscillation"] < 1e-9
    # Two values that take turns: nothing moves from one twentieth to the next, all of it lies within them.
    turns = trend(np.tile([0.5, 1.5], 200))
    assert turns["loss_oscillation"] == pytest.approx(0, abs=1e-9)
    assert turns["loss_scatter"] == pytest.approx(0.5, rel=0.05)


@given(LOSSES, st.floats(0.1, 10))
def test_the_unit_of_the_loss_does_not_matter(losses, factor):
    one, other = trend(losses), trend(np.array(losses) * factor)
    for name in ("fall", "late_fall", "late_share", "rise", "peak_ratio", "ups", "oscillation", "scatter"):
        assert other[f"loss_{name}"] == pytest.approx(one[f"loss_{name}"], abs=1e-6, nan_ok=True)


def test_no_loss_is_no_error():
    assert all(math.isnan(value) for value in trend([], first=math.nan).values())
    assert trend([1.0])["loss_fall"] == 0


def test_inputs_by_hand():
    found = flow.input_figures(10, [0.0, 6.0, 5.0, 1.0], [1.0, 2.0, 0.0, 0.5])
    assert found == {
        "input_shift": 3.0,
        "input_scale_ratio": 4.0,
        "input_deviation": 1.0,
        "input_constant_share": 0.25,
        "input_size": pytest.approx(math.sqrt((1 + 40 + 25 + 1.25) / 4)),
        "input_size_max": pytest.approx(math.sqrt(40)),
        "input_nonfinite_share": 0.0,
    }
    constant = flow.input_figures(10, [1.0], [0.0], nonfinite=5)
    assert constant["input_constant_share"] == 1
    assert constant["input_nonfinite_share"] == 0.5
    assert math.isnan(constant["input_shift"])


def test_the_late_share_of_a_fall_by_hand():
    """A straight line falls by three twentieths from the middle of the first of the last four to that of the last, of
    nineteen and a half in all; a curve that has come to rest, by nothing.
    """
    assert trend(np.linspace(2.0, 1.0, 2000))["loss_late_share"] == pytest.approx(3 / 19.5, rel=0.01)
    assert trend(np.exp(-np.linspace(0, 60, 2000)))["loss_late_share"] < 1e-12
