"""Partial F of all pairs at once, against statsmodels pair by pair, and what ranks them."""

import time
import tracemalloc
from itertools import combinations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgrad.features.screening import interactions
from flowgrad.features.screening.additive import AdditiveModel, Curves, hinges
from flowgrad.features.screening.candidates import rank
from flowgrad.features.screening.interactions import partial_f
from flowgrad.features.screening.susie import inclusion


def table(seed, rows, columns, correlation=0.3):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, columns)) + correlation * rng.normal(size=(rows, 1))
    X[:, -1] = np.exp(X[:, -1])
    return 3 + 10 * X, X[:, 0] * X[:, 1] + np.sin(X[:, 2]) + rng.normal(size=rows)


def plain(model):
    """F, p and VIF of every pair by statsmodels, the terms written out."""
    curves = model.curves
    z = curves.standardise(model.X)
    base = curves.terms(z)
    smaller = sm.OLS(model.y, base).fit()
    found = {}
    for i, j in combinations(range(z.shape[1]), 2):
        product = z[:, i] * z[:, j]
        f, p, _ = sm.OLS(model.y, np.column_stack([base, product])).fit().compare_f_test(smaller)
        found[i, j] = f, p, 1 / (1 - sm.OLS(product, sm.add_constant(z)).fit().rsquared)
    return found


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(60, 200), columns=st.integers(3, 6))
@settings(max_examples=20, deadline=None)
def test_partial_f_is_that_of_nested_models(seed, rows, columns):
    model = AdditiveModel(*table(seed, rows, columns))
    expected = {pair: values for pair, values in plain(model).items() if values[2] <= interactions.MOST_VIF}
    found = partial_f(model, 100)
    assert found.complete
    assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == set(expected)
    for place, pair in enumerate(zip(found.first.tolist(), found.second.tolist(), strict=True)):
        got = found.f[place], found.p[place], found.vif[place]
        assert got == pytest.approx(expected[pair], rel=1e-6, abs=1e-9)
    assert (np.diff(found.f) <= 0).all()


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
@settings(max_examples=20, deadline=None)
def test_units_do_not_matter(seed, scale, shift):
    X, y = table(seed, 120, 4)
    plain_, scaled = partial_f(AdditiveModel(X, y), 6), partial_f(AdditiveModel(shift + scale * X, 5 - 2 * y), 6)
    np.testing.assert_array_equal(plain_.first, scaled.first)
    np.testing.assert_allclose(plain_.f, scaled.f, rtol=1e-5)


@pytest.mark.parametrize("rows", [150, interactions.BUDGET * 5])
def test_chunks_and_budget_change_nothing(monkeypatch, rows):
    """The leading pairs are the same where rows come in pieces, and few denominators are found exactly."""
    X, y = table(1, rows, 8, correlation=0.8)
    whole = partial_f(AdditiveModel(X, y), 5)
    monkeypatch.setattr("flowgrad.features.screening.additive.CHUNK", 47)
    monkeypatch.setattr(interactions, "BUDGET", 10)
    pieces = partial_f(AdditiveModel(X, y), 5)
    assert (whole.complete, pieces.complete) == (True, False)
    assert (pieces.first[0], pieces.second[0]) == (whole.first[0], whole.second[0])
    np.testing.assert_allclose(pieces.f[0], whole.f[0], rtol=1e-8)


def test_a_product_that_the_columns_say_is_left_out():
    """Far from 0 a product is centred first; near-binary columns that exclude each other have one that is a sum."""
    rng = np.random.default_rng(0)
    kind = rng.integers(3, size=400)
    X = np.column_stack([kind == 0, kind == 1, rng.normal(size=400), 1000 + rng.normal(size=400)]).astype(float)
    found = partial_f(AdditiveModel(X, rng.normal(size=400)), 10)
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert (0, 1) not in pairs
    assert (2, 3) in pairs
    assert (found.vif >= 1 - 1e-9).all()


def test_curves_by_hand():
    X = np.array([[-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
    curves = Curves(X, straight=[1])
    assert hinges(*X.shape) == 0
    np.testing.assert_array_equal(curves.terms(X), [[1, -1, 1, 0], [1, 1, 1, 0], [1, -1, -1, 0], [1, 1, -1, 0]])


def test_the_additive_model_is_ols():
    X, y = table(3, 300, 4)
    model = AdditiveModel(X, y)
    design = model.curves.terms(model.curves.standardise(X))
    fit = sm.OLS(y, design).fit()
    assert model.rank == design.shape[1] == 1 + 4 * 5
    assert model.rss == pytest.approx(fit.ssr)
    np.testing.assert_allclose(np.concatenate([left for _, _, left in model.chunks()]), fit.resid, atol=1e-9)


def test_a_column_that_stands_twice_counts_once():
    X, y = table(3, 300, 4)
    once, twice = AdditiveModel(X, y), AdditiveModel(np.column_stack([X, 2 * X[:, :1] - 7]), y)
    assert twice.rank == once.rank
    assert twice.rss == pytest.approx(once.rss)


# --- which of them acts ----------------------------------------------------------------------------------------------


def test_the_true_term_is_told_from_those_like_it():
    """b is a noisy copy of a; z is one of both. What acts is a * c, and no F of b * c can hide that."""
    rng = np.random.default_rng(0)
    a, c, d, e = rng.normal(size=(4, 2000))
    b = a + 0.4 * rng.normal(size=2000)
    X, y = np.column_stack([b, a, c, d, e]), a * c + 0.2 * d * e + rng.normal(size=2000)
    model = AdditiveModel(X, y)
    pool = partial_f(model, 10)
    ranked = rank(model, lambda _, z: z[:, pool.first] * z[:, pool.second], 4)
    by_f = list(zip(pool.first.tolist(), pool.second.tolist(), strict=True))
    assert by_f[:2] == [(1, 2), (0, 2)]  # the copy has the second largest F,
    assert [by_f[place] for place in ranked.place[:2]] == [(1, 2), (3, 4)]  # and nothing to say
    assert ranked.inclusion[1] > 0.9 > 0.1 > ranked.inclusion[2]
    # Beside the first, the second has the F of a model of both.
    z = model.curves.standardise(X)
    base = model.curves.terms(z)
    one = sm.OLS(y, np.column_stack([base, z[:, 1] * z[:, 2]])).fit()
    both = sm.OLS(y, np.column_stack([base, z[:, 1] * z[:, 2], z[:, 3] * z[:, 4]])).fit()
    f, p, _ = both.compare_f_test(one)
    assert (ranked.f[1], ranked.p[1]) == pytest.approx((f, p), rel=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(0.1, 10))
@settings(max_examples=25, deadline=None)
def test_inclusion_is_a_probability_without_units(seed, terms, scale):
    rng = np.random.default_rng(seed)
    V = rng.normal(size=(200, terms)) + rng.normal(size=(200, 1))
    y = V[:, 0] * rng.integers(0, 2) + rng.normal(size=200)
    found = inclusion(V.T @ V, V.T @ y, y @ y, 200)
    assert ((found >= 0) & (found <= 1)).all()
    scaled = V * scale
    again = inclusion(scaled.T @ scaled, scaled.T @ (3 * y), 9 * (y @ y), 200)
    np.testing.assert_allclose(again, found, atol=1e-6)


def test_twins_share_and_groups_add_up():
    rng = np.random.default_rng(0)
    V = rng.normal(size=(300, 3))
    V[:, 1] = V[:, 0]
    y = 0.5 * V[:, 0] + rng.normal(size=300)
    apart = inclusion(V.T @ V, V.T @ y, y @ y, 300)
    assert apart[0] == pytest.approx(apart[1])
    assert apart[:2] == pytest.approx(0.5, abs=0.05)
    together = inclusion(V.T @ V, V.T @ y, y @ y, 300, np.array([0, 0, 1]))
    assert together[0] == together[1] == pytest.approx(1, abs=0.01)


def test_in_noise_nothing_is_probable():
    rng = np.random.default_rng(0)
    V, y = rng.normal(size=(500, 50)), rng.normal(size=500)
    assert inclusion(V.T @ V, V.T @ y, y @ y, 500).max() < 0.5


def test_cost_grows_with_columns_squared_and_not_with_pairs_times_rows():
    """Of 100 columns and 20,000 rows, all products would take 800 MB."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 100))
    y = X[:, 3] * X[:, 70] + 3 * rng.normal(size=20_000)
    tracemalloc.start()
    begin = time.process_time()
    found = partial_f(AdditiveModel(X, y), 20)
    seconds, (_, peak) = time.process_time() - begin, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found.first[0], found.second[0]) == (3, 70)
    assert peak < 200e6
    assert seconds < 20
