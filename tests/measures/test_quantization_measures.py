"""Rounding, sizes, and bits shared out."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flowgrad.measures import quantization

WEIGHTS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=3, max_side=6),
    elements=st.floats(-100, 100, width=32, allow_subnormal=False),
)
BITS = st.integers(2, 8)


@given(WEIGHTS, BITS, st.sampled_from([None, 0, 1]))
def test_rounding_is_to_the_nearest(weights, bits, axis):
    """No weight is off by more than half its channel's step, but for the half-precision of the scale itself."""
    error = quantization.quantization_error(weights, bits, axis)
    most = 2 ** (bits - 1) - 1
    others = None if axis is None else tuple(k for k in range(weights.ndim) if k != axis)
    largest = np.abs(weights).max(axis=others, keepdims=True)
    tiny = np.abs(weights).max() * 2.0**-14  # a channel with a scale below that share of the largest is lost
    assert (np.abs(error) <= largest * (0.5 / most + 2e-3) + tiny).all()


@given(WEIGHTS, BITS, st.sampled_from([None, 0, 1]))
def test_fitted_scales_are_no_worse_than_those_of_the_largest_weight(weights, bits, axis):
    most = 2 ** (bits - 1) - 1
    others = tuple(k for k in range(weights.ndim) if k != axis) if axis is not None else None
    largest = np.abs(weights).max(axis=others, keepdims=True)
    step = np.where(largest > 0, largest / most, 1)
    plain = np.square(np.rint(weights / step) * step - weights).sum(axis=others)
    fitted = np.square(quantization.quantization_error(weights, bits, axis, fitted=True)).sum(axis=others)
    tiny = np.square(2e-3 * np.abs(weights).max()) * weights.size
    assert (np.sqrt(fitted) <= np.sqrt(plain) + np.sqrt(tiny)).all()


def test_at_2_bits_a_fitted_scale_keeps_most_of_normal_weights():
    """The best ternary approximation of normal weights leaves .19 of their variance (Max 1960, three levels)."""
    weights = np.random.default_rng(0).normal(size=(1, 20_000))
    assert np.square(quantization.quantization_error(weights, 2, fitted=True)).mean() == pytest.approx(0.19, abs=0.02)


@given(WEIGHTS, BITS, st.sampled_from([None, 0, 1]), st.booleans())
def test_rounding_twice_is_rounding_once(weights, bits, axis, fitted):
    """What a packed file rests on: it rounds weights that were rounded before."""
    once = quantization.quantize(weights, bits, axis, fitted=fitted)
    twice = quantization.quantize(once.values(), bits, axis, fitted=fitted)
    np.testing.assert_array_equal(once.codes, twice.codes)
    np.testing.assert_array_equal(once.values(), twice.values())


def test_channels_of_very_different_sizes_repeat():
    """A scale in the range where half-precision numbers lose digits came out another when it was stored again."""
    for power in range(0, 30):
        weights = np.array([[100.0, 3.0], [100.0 * 0.7 * 2.0**-power, 3e-9]], dtype=np.float32)
        for bits in (2, 4, 8):
            once = quantization.quantize(weights, bits)
            np.testing.assert_array_equal(once.values(), quantization.quantize(once.values(), bits).values())


@given(WEIGHTS, BITS)
def test_zero_and_sign_stay(weights, bits):
    values = quantization.quantize(weights, bits).values()
    assert (values[weights == 0] == 0).all()
    assert (values * weights >= 0).all()
    np.testing.assert_array_equal(quantization.quantize(-weights, bits).values(), -values)


def test_a_single_weight_a_channel_is_nearly_exact():
    weights = np.array([[3.0], [-0.7], [0.0]])
    assert np.abs(quantization.quantization_error(weights, 2)).max() < 1e-3


@pytest.mark.parametrize("bits", [1, 9, 0])
def test_bits_that_cannot_be(bits):
    with pytest.raises(ValueError, match=rf"bits={bits}: must lie between 2 and 8"):
        quantization.quantize([[1.0]], bits)


def test_storage_by_hand():
    assert quantization.storage_bytes(10, 3, 2) == 4 + 4 + 4
    assert quantization.storage_bytes(10, 32, 2) == 40


@given(st.integers(1, 4), st.integers(2, 3), st.data())
def test_sharing_out_is_near_the_best_that_fits(layers, levels, data):
    """Beside every allocation there is: it fits, and one more step of one layer would do at least as well."""
    rises = np.sort(data.draw(hnp.arrays(np.float64, (layers, levels), elements=st.floats(0, 10))), axis=1)
    steps = data.draw(hnp.arrays(np.float64, (layers, levels), elements=st.floats(1, 5)))
    sizes = np.cumsum(steps[:, ::-1], axis=1)[:, ::-1]
    least, most = sizes[:, -1].sum(), sizes[:, 0].sum()
    budget = least + data.draw(st.floats(0, 1)) * (most - least) + 1e-9
    path = quantization.share_out(rises, sizes, budget)
    rows = np.arange(layers)

    def rise(level):
        return rises[rows, level].sum()

    assert sizes[rows, path[-1]].sum() <= budget
    every = [np.array(level) for level in itertools.product(range(levels), repeat=layers)]
    best = min(rise(level) for level in every if sizes[rows, level].sum() <= budget)
    largest_step = max(rises[:, -1] - rises[:, 0])
    assert best - 1e-9 <= rise(path[-1]) <= best + largest_step + 1e-9


def test_sharing_out_finds_the_layer_that_matters():
    rises, sizes = [[0, 1, 9], [0, 0.1, 0.2]], [[8, 4, 2], [8, 4, 2]]
    path = quantization.share_out(rises, sizes, 10)
    assert path[0].tolist() == [0, 0]
    assert path[-1].tolist() == [0, 2]


def test_a_budget_below_the_cheapest_ends_at_the_cheapest():
    assert quantization.share_out([[0, 1]], [[8, 4]], 1)[-1].tolist() == [1]
