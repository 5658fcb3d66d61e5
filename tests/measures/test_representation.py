"""How alike two layers are: by hand, against slow plain versions, and properties."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group
from sklearn.linear_model import Ridge

from flowgrad.measures import representation as rep

SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed, n, *units):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(n, count)) * generator.uniform(0.1, 3, count) + 1 for count in units]


def slow_cka(x, y):
    """By covariances of units, as in the paper's eq. 5, instead of by products of examples."""
    x, y = x - x.mean(0), y - y.mean(0)
    return np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


def slow_hsic(x, y):
    """Song et al. 2012, eq. 5, term by term."""
    k, m = x @ x.T, y @ y.T
    n = len(k)
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    one = np.ones(n)
    whole = np.trace(k @ m) + one @ k @ one * (one @ m @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * one @ k @ m @ one
    return whole / (n * (n - 3))


def slow_ridge_r2(x, y, penalties):
    """Every example left out in turn, by scikit-learn."""
    n = len(x)
    unit = np.linalg.svd(x - x.mean(0), compute_uv=False)
    unit = (unit[unit > unit[0] * 1e-10] ** 2).mean()
    mean_error = sum(np.square(y[i] - np.delete(y, i, 0).mean(0)).sum() for i in range(n))
    best = mean_error
    for penalty in penalties:
        error = 0.0
        for i in range(n):
            # The penalty and the means of the closed form are those of all examples but for the left-out one's row.
            fitted = Ridge(penalty * unit, solver="svd").fit(np.delete(x, i, 0), np.delete(y, i, 0))
            error += np.square(y[i] - fitted.predict(x[i : i + 1])[0]).sum()
        best = min(best, error)
    return 1 - best / mean_error


@given(SEEDS, st.integers(3, 12), st.integers(1, 6), st.integers(1, 6))
def test_cka_is_that_of_the_plain_formula(seed, n, p, q):
    x, y = drawn(seed, n, p, q)
    assert rep.linear_cka(x, y) == pytest.approx(slow_cka(x, y))


@given(SEEDS, st.integers(4, 12), st.integers(1, 6), st.integers(1, 6))
def test_debiased_cka_is_that_of_the_plain_formula(seed, n, p, q):
    x, y = drawn(seed, n, p, q)
    own = slow_hsic(x, x) * slow_hsic(y, y)
    assert rep.debiased_cka(x, y) == pytest.approx(slow_hsic(x, y) / math.sqrt(own), abs=1e-8)


@given(SEEDS, st.floats(0.01, 100), st.floats(-10, 10))
@settings(max_examples=30)
def test_cka_knows_neither_turn_nor_scale_nor_shift(seed, scale, shift):
    x, y = drawn(seed, 10, 4, 3)
    turned = scale * x @ ortho_group.rvs(4, random_state=seed) + shift
    for cka in (rep.linear_cka, rep.debiased_cka):
        assert cka(turned, y) == pytest.approx(cka(x, y), abs=1e-7)
        assert cka(x, y) == pytest.approx(cka(y, x))
        assert cka(x, turned) == pytest.approx(1)
    assert 0 <= rep.linear_cka(x, y) <= 1 + 1e-12


def test_wide_layers_of_chance_are_alike_only_before_the_bias_is_out():
    found = [drawn(seed, 40, 400, 400) for seed in range(20)]
    assert np.mean([rep.linear_cka(*pair) for pair in found]) > 0.8
    assert abs(np.mean([rep.debiased_cka(*pair) for pair in found])) < 0.02


@pytest.mark.parametrize("cka", [rep.linear_cka, rep.debiased_cka])
def test_cka_of_a_constant_layer_is_not_known(cka):
    x, y = drawn(0, 8, 3, 1)
    assert math.isnan(cka(np.zeros_like(x), y))
    assert math.isnan(rep.debiased_cka(x[:3], y[:3]))


@given(SEEDS, st.integers(4, 9), st.integers(1, 12), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_ridge_r2_is_that_of_leaving_out_one_by_one(seed, n, p, q):
    x, y = drawn(seed, n, p, q)
    assert rep.ridge_r2(x, y, (0.1, 1.0)) == pytest.approx(slow_ridge_r2(x, y, (0.1, 1.0)), abs=1e-8)


@given(SEEDS, st.integers(3, 30), st.integers(1, 40), st.integers(1, 5))
@settings(max_examples=40)
def test_ridge_r2_is_a_share(seed, n, p, q):
    x, y = drawn(seed, n, p, q)
    assert 0 <= rep.ridge_r2(x, y) <= 1


def test_more_units_than_examples_do_not_explain_chance():
    found = [rep.ridge_r2(*drawn(seed, 60, 300, 5)) for seed in range(10)]
    assert np.mean(found) < 0.05


def test_ridge_r2_of_a_linear_map_is_whole_and_lossy_maps_lose():
    x, _ = drawn(1, 200, 6, 1)
    assert rep.ridge_r2(x @ ortho_group.rvs(6, random_state=0), x) > 0.9999
    half = rep.ridge_r2(x[:, :3], x)
    kept = x[:, :3].var(0).sum() / x.var(0).sum()
    assert half == pytest.approx(kept, abs=0.06)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_ridge_r2_knows_no_scale(scale):
    x, y = drawn(3, 40, 5, 4)
    assert rep.ridge_r2(x * scale, y) == pytest.approx(rep.ridge_r2(x, y))
    assert rep.ridge_r2(x, y * scale) == pytest.approx(rep.ridge_r2(x, y))


def test_constants_are_neither_explained_nor_explain():
    x, y = drawn(0, 20, 3, 2)
    assert rep.ridge_r2(np.ones_like(x), y) == 0
    assert math.isnan(rep.ridge_r2(x, np.ones_like(y)))
    assert math.isnan(rep.ridge_r2(x[:2], y[:2]))
    assert math.isnan(rep.variance_share(np.ones((5, 2)), 1))


@given(SEEDS, st.integers(2, 20), st.integers(1, 10))
def test_variance_share_grows_with_the_width_to_all(seed, n, p):
    (x,) = drawn(seed, n, p)
    shares = [rep.variance_share(x, width) for width in range(p + 1)]
    assert shares[0] == 0
    assert shares[-1] == pytest.approx(1)
    assert np.all(np.diff(shares) >= -1e-12)


def test_no_map_of_so_few_units_explains_more_than_their_share():
    x, _ = drawn(5, 400, 8, 1)
    narrow = x @ np.random.default_rng(0).normal(size=(8, 2))
    assert rep.ridge_r2(narrow, x) <= rep.variance_share(x, 2)


@given(SEEDS, st.integers(1, 10), st.integers(2, 5), st.floats(0.5, 8))
def test_logit_kl(seed, n, classes, temperature):
    teacher, student = drawn(seed, n, classes, classes)
    t, s = (np.exp(z / temperature) / np.exp(z / temperature).sum(1, keepdims=True) for z in (teacher, student))
    plain = (t * np.log(t / s)).sum(1).mean()
    assert rep.logit_kl(teacher, student, temperature) == pytest.approx(plain, abs=1e-9)
    assert rep.logit_kl(teacher, teacher + 3, temperature) == pytest.approx(0, abs=1e-9)


def test_logit_kl_refuses():
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 4\)"):
        rep.logit_kl(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="temperature=0"):
        rep.logit_kl(np.zeros((2, 3)), np.zeros((2, 3)), 0)


def test_noise_share_is_that_of_the_noise():
    generator = np.random.default_rng(0)
    signal = generator.normal(size=(4000, 3))
    a, b = (signal + 0.5 * generator.normal(size=signal.shape) for _ in range(2))
    assert rep.noise_share(a, b) == pytest.approx(0.25 / 1.25, abs=0.01)
    assert rep.noise_share(a, a) == 0
    assert rep.noise_share(np.ones((3, 2)), np.ones((3, 2))) == 0
    assert math.isnan(rep.noise_share(a, b[:5]))
