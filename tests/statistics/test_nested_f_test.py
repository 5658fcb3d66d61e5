"""Many tests against one smaller model, each the same as one in statsmodels."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.outliers_influence import variance_inflation_factor

from flowgrad.errors import StatisticsError
from flowgrad.statistics import nested_f
from flowgrad.statistics.nested_f_test import SmallerModel


def data(seed, rows=80, columns=3, added=2):
    rng = np.random.default_rng(seed)
    X = 5 + 3 * rng.normal(size=(rows, columns))
    V = X[:, :added] * X[:, [-1]] + rng.normal(size=(rows, added))
    y = X.sum(axis=1) + 0.1 * V[:, 0] + rng.normal(size=rows) * (1 + np.abs(X[:, 0]))
    return X, V, y


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(12, 100), added=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_it_is_nested_f(seed, rows, added):
    X, V, y = data(seed, rows, added=added)
    found = SmallerModel(X, y).test(V).nested
    frame = pd.DataFrame(np.column_stack([X, V, y]), columns=[*"abc", *"uvw"[:added], "y"])
    expected = nested_f(frame, "y", list("abc"), list("uvw"[:added]))
    for name in ("n", "df_diff", "df_resid", "verdict"):
        assert getattr(found, name) == getattr(expected, name)
    for name in ("f", "p", "r2_adjusted_smaller", "r2_adjusted_larger", "partial_eta2", "cohen_f2"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-6, abs=1e-9)


@given(seed=st.integers(0, 2**32 - 1), added=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_robust_and_single_figures_are_those_of_statsmodels(seed, added):
    X, V, y = data(seed, added=added)
    found = SmallerModel(X, y).test(V)
    design = np.column_stack([np.ones(len(y)), X, V])
    plain = sm.OLS(y, design).fit()
    robust = plain.get_robustcov_results("HC3")
    joint = robust.f_test(np.eye(added, design.shape[1], k=4))
    assert found.p_robust == pytest.approx(float(joint.pvalue), rel=1e-5)
    assert found.p == max(found.nested.p, found.p_robust)
    for place, column in enumerate(found.each, start=4):
        assert column.f == pytest.approx(plain.tvalues[place] ** 2, rel=1e-6)
        assert column.p == pytest.approx(max(plain.pvalues[place], robust.pvalues[place]), rel=1e-5)
        assert column.vif == pytest.approx(variance_inflation_factor(design, place), rel=1e-6)
        df = plain.df_resid
        assert column.partial_eta2 == pytest.approx(column.f / (column.f + df), rel=1e-6)


def test_what_the_smaller_model_says_already():
    X, V, y = data(0)
    model = SmallerModel(np.column_stack([X, X[:, 0] - X[:, 1], np.full(len(y), 7.0)]), y)
    V = np.column_stack([X[:, 2] * 2, V, V[:, 0] + X[:, 0], np.ones(len(y))])
    assert model.independent(V).tolist() == [False, True, True, False, False]
    assert model.test(V[:, 1:3]).nested.f == pytest.approx(SmallerModel(X, y).test(V[:, 1:3]).nested.f)
    with pytest.raises(StatisticsError, match="added column 0 is a combination of the smaller model"):
        model.test(V)
    with pytest.raises(StatisticsError, match=r"no column is added \(df_diff = 0\)"):
        model.test(V[:, :0])


def test_too_few_rows_and_targets_without_a_rest():
    X, V, y = data(0, rows=5)
    with pytest.raises(StatisticsError, match="5 rows are too few for a model of 4 terms and another"):
        SmallerModel(X, y)
    with pytest.raises(StatisticsError, match="6 rows are too few for a model of 6 terms"):
        SmallerModel(data(0, rows=6)[0], data(0, rows=6)[2]).test(data(0, rows=6)[1])
    X, V, y = data(0)
    with pytest.raises(StatisticsError, match="the target is 2 in every row"):
        SmallerModel(X, np.full(len(y), 2.0))
    with pytest.raises(StatisticsError, match="explains the target without a rest; is it in a column"):
        SmallerModel(X, 3 * X[:, 1] - 1)
    with pytest.raises(StatisticsError, match="the larger model explains the target without a rest"):
        SmallerModel(X, V[:, 0]).test(V[:, :1])


def test_unequal_variance_rejects_too_often_without_hc3():
    """Of noise whose variance moves with the columns of the product, F rejects a true null in more than .15 of tables
    at a level of .05, and the larger of both p-values does not.
    """
    rng = np.random.default_rng(0)
    plain, both = [], []
    for _ in range(300):
        X = rng.normal(size=(200, 2))
        y = X.sum(axis=1) + np.abs(X[:, 0] * X[:, 1]) * rng.normal(size=200)
        found = SmallerModel(X, y).test(X[:, :1] * X[:, 1:])
        plain.append(found.nested.p < 0.05)
        both.append(found.p < 0.05)
    assert np.mean(plain) > 0.15
    assert np.mean(both) < 0.08


@given(seed=st.integers(0, 2**32 - 1), added=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_with_groups_it_is_the_jackknife_over_them(seed, added):
    X, V, y = data(seed, added=added)
    group = np.random.default_rng(seed).integers(12, size=len(y)) * 7
    found = SmallerModel(X, y, group).test(V)
    design = np.column_stack([sm.add_constant(X), V])
    b = np.linalg.lstsq(design, y, rcond=None)[0][4:]
    without = [np.linalg.lstsq(design[group != g], y[group != g], rcond=None)[0][4:] for g in np.unique(group)]
    moved = np.array(without) - b
    covariance, groups = moved.T @ moved, len(moved)
    wald = b @ np.linalg.solve(covariance, b) * (groups - added) / (groups - 1)
    assert found.p_robust == pytest.approx(stats.f.sf(wald / added, added, groups - added), rel=1e-5, abs=1e-12)
    for place, column in enumerate(found.each):
        robust = stats.f.sf(b[place] ** 2 / covariance[place, place], 1, groups - 1)
        assert column.p >= robust * (1 - 1e-5)
    assert found.nested == SmallerModel(X, y).test(V).nested == SmallerModel(X, y, group).nested(V)


def test_rows_alike_reject_too_often_without_groups():
    """Of 30 groups with a value of their own in a column and in the noise, F and HC3 reject a true null in more than
    .3 of tables at a level of .05; over groups, in no more than chance has it.
    """
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(30), 10)
    alone, grouped = [], []
    for _ in range(150):
        X = rng.normal(size=(300, 2))
        column = rng.normal(size=30)[group][:, None]
        y = X.sum(axis=1) + rng.normal(size=30)[group] + rng.normal(size=300)
        alone.append(SmallerModel(X, y).test(column).p < 0.05)
        grouped.append(SmallerModel(X, y, group).test(column).p < 0.05)
    assert np.mean(alone) > 0.3
    assert np.mean(grouped) < 0.1


def grouped(seed, groups, kind, effect=0.0, rows=10):
    """Six columns, half of whose variance lies between groups or is slow in time, and a target that is alike too."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), rows)
    if kind == "users":
        level = rng.normal(size=(groups, 7))[group]
    else:
        walk = np.cumsum(rng.normal(size=(groups, rows + 8, 7)), axis=1)
        level = ((walk[:, 8:] - walk[:, :-8]) / 8**0.5).reshape(-1, 7)
    table = level + rng.normal(size=(len(group), 7))
    X, y = table[:, :6], table[:, 6]
    products = np.column_stack([X[:, i] * X[:, j] for i, j in list(combinations(range(6), 2))[:8]])
    smaller = np.column_stack([X, X**2])
    return smaller, y + effect * products[:, 0], group, products


@pytest.mark.parametrize("kind", ["users", "slow columns"])
@pytest.mark.parametrize(("groups", "added"), [(10, 1), (10, 8), (20, 8), (40, 8), (100, 8)])
def test_groups_keep_the_level(kind, groups, added):
    """A table of 20, 40, 80 or 200 groups is tested on half of them. F of many terms over few groups, by a jackknife
    that did not fit the curves anew, rejected true nulls of 10 groups in up to .8 of the tables, of 100 in up to .2.
    """
    tables = 60 if groups < 100 else 30
    rejected = 0
    for seed in range(tables):
        smaller, y, group, products = grouped(seed, groups, kind)
        rejected += SmallerModel(smaller, y, group).test(products[:, :added]).p_robust < 0.05
    assert stats.binom.sf(rejected - 1, tables, 0.05) > 0.01


@pytest.mark.parametrize(("groups", "effect", "added"), [(10, 0.5, 1), (20, 0.5, 4), (40, 0.3, 4), (100, 0.3, 8)])
def test_groups_leave_power(groups, effect, added):
    found = []
    for seed in range(20):
        smaller, y, group, products = grouped(seed, groups, "users", effect)
        found.append(SmallerModel(smaller, y, group).test(products[:, :added]).p < 0.05)
    assert np.mean(found) >= 0.8


def test_a_single_group_proves_nothing():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(20), 10)
    column = (group == 3) * rng.normal(size=200)
    y = rng.normal(size=200) + 9 * column
    X = rng.normal(size=(200, 2)) * (group != 3)[:, None]
    found = SmallerModel(X, y, group).test(column[:, None] - 0.0)
    assert found.nested.p < 1e-6
    assert found.p > 0.05
    with pytest.raises(StatisticsError, match="3 groups are too few to test 3 columns together; give 4"):
        SmallerModel(X, y, group % 3).test(rng.normal(size=(200, 3)))


def test_a_single_row_proves_nothing():
    """Of a product that is not 0 in one row alone, HC3 had a variance of 0, and any outlier there gave p = 0."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=100)
    y[7] = 30
    column = np.zeros((100, 1))
    column[7] = 1
    found = SmallerModel(rng.normal(size=(100, 2)), y).test(column)
    assert found.nested.p < 1e-6
    assert found.p > 0.9
    assert found.each[0].p > 0.9
