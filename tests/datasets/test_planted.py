"""What is planted is there, at the strength asked for; null tables have nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from datasets.null_tables import NULLS, make_null, permute
from datasets.planted import (
    LEAST_OWN,
    MOST_ALIKE,
    SHAPES,
    Interaction,
    own_part,
    plant,
    real_features,
    standardised,
    synthetic_features,
)
from datasets.small_tables import load_small_table
from flowgrad.errors import FlowGradError


def rss(y, columns):
    design = np.column_stack([np.ones(len(y)), columns])
    return float(((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2).sum())


def curves(features):
    """Lines and steps of every column: more than any main effect that is put in, but for sin."""
    parts = []
    for name in features:
        z = standardised(features[name].to_numpy())
        parts += [z, np.sin(2 * z), np.tanh(z), z**2, z > 0.5]
    return np.column_stack(parts).astype(float)


def bins(values, count=30):
    """One column a bin, all but the first."""
    return pd.get_dummies(pd.qcut(values, count, duplicates="drop"), drop_first=True).to_numpy(dtype=float)


def real(name="digits", rows=1500, columns=12, seed=0):
    return real_features(load_small_table(name).features, rows, columns, seed)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("columns", ["made up", "real"])
def test_the_true_term_explains_what_was_asked(columns, shape):
    features = synthetic_features(3000, 8, 1) if columns == "made up" else real()
    table = plant(features, [shape], 0.2, 1.0, seed=1)
    (interaction,) = table.truth
    pair = [bins(features[name].to_numpy()) for name in (interaction.first, interaction.second)]
    base = np.column_stack([curves(features), *pair])
    larger = np.column_stack([base, interaction.term(features)])
    assert 1 - rss(table.target, larger) / rss(table.target, base) == pytest.approx(0.2, abs=0.04)


def test_several_terms_each_have_their_strength():
    features = synthetic_features(4000, 15, 2)
    table = plant(features, list(SHAPES), 0.1, 1.0, seed=2)
    assert [one.shape for one in table.truth] == list(SHAPES)
    assert len({one.pair for one in table.truth}) == len(SHAPES)
    terms = np.column_stack([one.term(features) for one in table.truth])
    base = curves(features)
    whole = rss(table.target, np.column_stack([base, terms]))
    for place in range(len(SHAPES)):
        without = rss(table.target, np.column_stack([base, np.delete(terms, place, axis=1)]))
        assert 1 - whole / without == pytest.approx(0.1, abs=0.04)


@pytest.mark.parametrize("shape", SHAPES)
def test_own_part_is_what_no_column_says(shape):
    features = synthetic_features(2000, 5, 3, correlation=0.4)
    interaction = Interaction("x0", "x3", shape)
    own = own_part(interaction, features)
    assert abs(own.mean()) < 1e-9
    for name in features:
        column = features[name].to_numpy()
        assert abs(np.corrcoef(own, column)[0, 1]) < 1e-6
        assert abs(np.corrcoef(own, column > np.median(column))[0, 1]) < 1e-6


def test_a_sum_has_no_part_of_its_own(monkeypatch):
    monkeypatch.setitem(SHAPES, "steps", lambda a, b: (a > np.median(a)) * 2.0 + (b > np.median(b)))
    own = own_part(Interaction("x0", "x1", "steps"), synthetic_features(500, 4, 0))
    assert np.abs(own).max() < 1e-9
    with pytest.raises(FlowGradError, match="no 1 pairs of columns that could interact by 'steps'"):
        plant(synthetic_features(500, 4, 0), ["steps"], 0.1, 1.0, 0)


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "diabetes"])
def test_every_planted_pair_has_something_of_its_own(name):
    features = real(name, rows=500, columns=8)
    for interaction in plant(features, ["product"] * 4, 0.05, 1.0, 0).truth:
        term = interaction.term(features)
        assert own_part(interaction, features).var() >= LEAST_OWN * term.var()


@pytest.mark.parametrize("kind", NULLS)
@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_null_targets_have_no_products(kind, correlation):
    """F of all products together beside true main effects, over independent tables: uniform p but for unequal noise."""
    p = []
    for seed in range(20):
        table = make_null(synthetic_features(800, 5, seed, correlation), kind, seed)
        base = curves(table.features)
        z = standardised(table.features["x0"].to_numpy())
        product = z * standardised(table.features["x4"].to_numpy())
        smaller, larger = rss(table.target, base), rss(table.target, np.column_stack([base, product]))
        df = len(z) - base.shape[1] - 2
        p.append(stats.f.sf((smaller - larger) / (larger / df), 1, df))
    assert table.truth == ()
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_uneven_noise_is_uneven():
    table = make_null(synthetic_features(4000, 6, 0), "uneven_noise", 0)
    rest = (
        table.target
        - np.column_stack([np.ones(4000), table.features])
        @ np.linalg.lstsq(np.column_stack([np.ones(4000), table.features]), table.target, rcond=None)[0]
    )
    high = (table.features["x0"] + table.features["x1"]).to_numpy() > 0
    assert rest[high].std() > 1.5 * rest[~high].std()


def test_a_permuted_target_has_the_same_values_and_says_nothing():
    features, target = real(), np.arange(1500.0)
    table = permute(features, target, 5)
    assert sorted(table.target) == target.tolist()
    assert abs(np.corrcoef(table.target, target)[0, 1]) < 0.1
    assert set(make_null(features, "binary", 0).target) == {0.0, 1.0}


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_seed_decides_all(seed):
    first, second = (plant(synthetic_features(200, 4, seed), ["product", "sign_xor"], 0.1, 1.0, seed) for _ in range(2))
    pd.testing.assert_frame_equal(first.features, second.features)
    assert np.array_equal(first.target, second.target)
    assert first.truth == second.truth
    assert not np.array_equal(first.features, synthetic_features(200, 4, seed + 1))


def test_made_up_columns():
    features = synthetic_features(5000, 9, 0, correlation=0.6)
    assert features.shape == (5000, 9)
    assert features.mean().abs().max() < 1e-9
    assert features.var(ddof=0).to_numpy() == pytest.approx(1)
    assert features.corr(method="spearman").to_numpy()[np.triu_indices(9, 1)] == pytest.approx(0.58, abs=0.05)


def test_real_columns_differ_and_keep_their_rows():
    table = load_small_table("breast_cancer").features
    table.iloc[3, 0] = np.nan
    features = real_features(table, 300, 26, 4)
    assert len(features) == 300
    assert 3 not in features.index
    pd.testing.assert_frame_equal(features, table.loc[features.index, features.columns])
    r = features.corr().abs().to_numpy()[np.triu_indices(features.shape[1], 1)]
    assert r.max() <= MOST_ALIKE
    assert real_features(table, 300, 5, 4).shape == (300, 5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: synthetic_features(1, 5, 0), "rows=1"),
        (lambda: synthetic_features(10, 5, 0, correlation=1.0), "correlation=1.0"),
        (lambda: plant(synthetic_features(100, 3, 0), ["prodct"], 0.1, 1.0, 0), "'prodct' is unknown; use product"),
        (lambda: plant(synthetic_features(100, 3, 0), ["product"], 1.0, 1.0, 0), "strength=1.0"),
        (lambda: plant(synthetic_features(500, 2, 0), ["product"] * 2, 0.1, 1.0, 0), "no 2 pairs"),
        (lambda: plant(synthetic_features(60, 6, 0), ["product"], 0.1, 1.0, 0), "60 rows are too few"),
        (lambda: make_null(synthetic_features(10, 3, 0), "none", 0), "'none' is unknown; use linear"),
        (lambda: real_features(pd.DataFrame({"a": [1.0, 2, 3], "b": [2.0, 4, 6]}), 3, 2, 0), "fewer than 2 columns"),
    ],
)
def test_errors_name_the_value(make, message):
    with pytest.raises(FlowGradError, match=message):
        make()
