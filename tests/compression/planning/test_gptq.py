"""Rounding whose errors the weights still to come make up for."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgrad.compression.planning import gptq
from flowgrad.compression.planning.gptq import Compensation, is_small, output_error
from flowgrad.measures.quantization import quantize


def layer(seed, units, inputs, rows=60, zeros=0.2):
    """Weights, some of them 0, and second moments of inputs that are correlated."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, inputs)) @ random.normal(size=(inputs, inputs)) + random.normal(size=inputs)
    weights = random.normal(size=(units, inputs)).astype(np.float32) * (random.random((units, inputs)) >= zeros)
    return weights.astype(np.float32), x.T @ x / rows


def compensated(weights, moments, bits, axis=0):
    return Compensation(moments).rounded(weights, bits, axis)


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 70), st.integers(2, 8), st.sampled_from([0, None]))
def test_outputs_change_no_more_than_by_the_nearest(seed, units, inputs, bits, axis):
    weights, moments = layer(seed, units, inputs)
    found, nearest = compensated(weights, moments, bits, axis), quantize(weights, bits, axis)
    errors = [output_error(one.values() - weights, moments) for one in (found, nearest)]
    if axis is None:
        errors = [one.sum(keepdims=True) for one in errors]
    assert (errors[0] <= errors[1] * (1 + 1e-5) + 1e-12).all()
    most = 2 ** (bits - 1) - 1
    assert np.abs(found.codes).max() <= most
    assert not found.values()[weights == 0].any()
    assert found.scales.shape == nearest.scales.shape
    assert found.top == nearest.top
    assert (found.scales <= nearest.scales).all()


def test_it_is_close_to_the_best_there_is():
    """At 2 bits and 4 inputs all ternary weights can be tried, at the scales that are."""
    found, best, nearest = [], [], []
    for seed in range(30):
        weights, moments = layer(seed, 1, 4, zeros=0)
        found.append(output_error(compensated(weights, moments, 2).values() - weights, moments)[0])
        nearest.append(output_error(quantize(weights, 2).values() - weights, moments)[0])
        scales = np.abs(weights).max() * np.linspace(1, 0.3, 8)
        codes = np.array(list(itertools.product((-1, 0, 1), repeat=4)))
        best.append(min(output_error(codes * scale - weights, moments).min() for scale in scales))
    assert np.mean(found) < 0.4 * np.mean(nearest)
    assert np.mean(best) <= np.mean(found) < 2.5 * np.mean(best)


@pytest.mark.parametrize("bits", [4, 3, 2])
def test_a_large_layer_takes_the_scale_of_least_squares(monkeypatch, bits):
    weights, moments = layer(5, 20, 30)
    eight = compensated(weights, moments, bits)
    monkeypatch.setattr(gptq, "_MOST_WORK", 30**3 + 20 * 30 * 30)
    one, nearest = compensated(weights, moments, bits), quantize(weights, bits)
    scales = quantize(weights, bits, fitted=True)
    found = one.scales.astype(float) * one.top
    least = scales.scales.astype(float) * scales.top
    assert (np.isclose(found, least, rtol=2e-3) | (one.scales == nearest.scales)).all()
    errors = [output_error(way.values() - weights, moments).sum() for way in (eight, one, nearest)]
    assert errors[0] <= errors[1] * 1.2 <= errors[2]


def test_blocks_are_bookkeeping(monkeypatch):
    weights, moments = layer(3, 5, 150)
    whole = compensated(weights, moments, 3)
    monkeypatch.setattr(gptq, "_BLOCK", 1000)
    once = compensated(weights, moments, 3)
    assert (whole.codes == once.codes).mean() > 0.99  # sums in another order
    np.testing.assert_allclose(
        output_error(whole.values() - weights, moments), output_error(once.values() - weights, moments), rtol=0.02
    )


def test_inputs_that_do_not_vary_together_leave_nothing_to_make_up_for():
    weights, _ = layer(0, 4, 9, zeros=0)
    found = compensated(weights, np.eye(9), 4)
    scale = found.scales.astype(np.float32)[:, None] * np.float32(found.top)
    np.testing.assert_array_equal(found.codes, np.clip(np.rint(weights / scale), -7, 7))


def test_layers_that_it_is_not_for(monkeypatch):
    weights, moments = layer(0, 4, 9)
    assert compensated(weights, 0 * moments, 4) is None
    assert compensated(weights, moments * np.nan, 4) is None
    assert not compensated(0 * weights, moments, 4).codes.any()
    monkeypatch.setattr(gptq, "_MOST_WORK", 9**3 + 4 * 9 * 9 - 1)
    assert compensated(weights, moments, 4) is None
    assert not is_small(4, 9)
    with pytest.raises(ValueError, match="a unit has 9 weights"):
        compensated(weights, moments[:4, :4], 4)
    with pytest.raises(ValueError, match="axis=1: units lie along the first"):
        compensated(weights, moments, 4, 1)
    with pytest.raises(ValueError, match="bits=9"):
        compensated(weights, moments, 9)
