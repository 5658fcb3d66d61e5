import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from flowgrad.errors import StatisticsError
from flowgrad.statistics import halves, nested_f, random_products


def data(seed=0, n=60, effect=0.5):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, 4)), columns=list("abcd"))
    return frame.assign(y=1 + frame["a"] + effect * frame["b"] + rng.normal(size=n))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("smaller", "added"), [("a", "b"), ("", "ab"), ("ab", "cd")])
def test_f_is_that_of_an_analysis_of_variance(seed, smaller, added):
    frame = data(seed)
    result = nested_f(frame, "y", list(smaller), list(added))
    one = ols("y ~ " + " + ".join(["1", *smaller]), frame).fit()
    two = ols("y ~ " + " + ".join(["1", *smaller, *added]), frame).fit()
    line = anova_lm(one, two).iloc[1]
    assert (result.f, result.p, result.df_diff) == pytest.approx((line["F"], line["Pr(>F)"], line["df_diff"]))
    assert (result.r2_adjusted_smaller, result.r2_adjusted_larger) == pytest.approx(
        (one.rsquared_adj, two.rsquared_adj)
    )
    assert result.partial_eta2 == pytest.approx(line["ss_diff"] / one.ssr)
    assert result.cohen_f2 == pytest.approx(line["ss_diff"] / two.ssr)
    assert result.verdict == ("confirmed" if result.p < 0.05 else "inconclusive")


@pytest.mark.parametrize(
    ("change", "smaller", "added", "message"),
    [
        ({}, "a", "", r"df_diff = 0"),
        ({}, "a", "a", "column 'a' is named twice"),
        ({}, "a", "y", "column 'y' is named twice"),
        ({}, "a", "x", "no column 'x'; the data have a, b, c, d, y"),
        ({"b": lambda f: f["a"] * 2 - 3}, "a", "b", "column 'b' is a combination of the intercept and the columns"),
        ({"b": 1.0}, "a", "b", "column 'b' is a combination"),
        ({"b": 1e9}, "", "b", "column 'b' is a combination"),
        ({"b": math.inf}, "a", "b", "column 'b' is inf at row 0"),
        ({"b": "text"}, "a", "b", "column 'b' holds"),
        ({"y": 2.0}, "a", "b", "'y' is 2 in every row"),
        ({"y": lambda f: f["a"] + f["b"]}, "a", "b", "explains 'y' without a rest"),
    ],
)
def test_designs_that_say_nothing_are_refused(change, smaller, added, message):
    with pytest.raises(StatisticsError, match=message):
        nested_f(data().assign(**change), "y", list(smaller), list(added))


def test_too_few_rows_are_refused():
    with pytest.raises(StatisticsError, match="3 rows are too few"):
        nested_f(data(n=3), "y", ["a"], ["b"])


def test_columns_of_very_different_size_are_no_singular_design():
    frame = data()
    small = frame.assign(b=frame["b"] * 1e-9 + 1e-9, a=frame["a"] * 1e9)
    assert nested_f(small, "y", ["a"], ["b"]).f == pytest.approx(nested_f(frame, "y", ["a"], ["b"]).f, rel=1e-6)


def test_halves_share_no_row_and_lose_none():
    frame = data(n=61)
    one, other = halves(frame, seed=3)
    assert sorted([*one.index, *other.index]) == list(range(61))
    assert abs(len(one) - len(other)) == 1
    assert halves(frame, seed=3)[0].equals(one)
    with pytest.raises(StatisticsError, match="cannot be halved"):
        halves(frame[:1], seed=0)


def best_product(frame):
    """The pair of columns whose product leaves the least of the target, as a search for interactions would select it:
    of F-tests with the same degrees of freedom it has the least p.
    """
    columns, target = {name: frame[name].to_numpy() for name in "abcd"}, frame["y"].to_numpy()
    smaller = [np.ones(len(frame)), *columns.values()]

    def rest(pair):
        larger = np.column_stack([*smaller, columns[pair[0]] * columns[pair[1]]])
        return np.linalg.lstsq(larger, target)[1].item()

    return min(combinations("abcd", 2), key=rest)


def product_test(frame, pair):
    return nested_f(frame.assign(product=frame[pair[0]] * frame[pair[1]]), "y", list("abcd"), ["product"])


def test_selecting_and_testing_on_the_same_rows_finds_what_is_not_there():
    same = apart = 0
    for seed in range(120):
        frame = data(seed, n=80)  # without any interaction
        one, other = halves(frame, seed)
        same += product_test(frame, best_product(frame)).p < 0.05
        apart += product_test(other, best_product(one)).p < 0.05
    assert same > 0.15 * 120
    assert apart < 0.11 * 120


def test_random_products_reject_as_often_as_the_level_says():
    found = [r.p < 0.05 for seed in range(60) for r in random_products(data(seed), "y", list("abcd"), 2, 5, seed)]
    assert len(found) == 300
    assert np.mean(found) < 0.1
    again = [r.f for r in random_products(data(), "y", list("abcd"), 2, 3, 1)]
    assert again == [r.f for r in random_products(data(), "y", list("abcd"), 2, 3, 1)]
    with pytest.raises(StatisticsError, match="4 columns have 6 pairs"):
        next(random_products(data(), "y", list("abcd"), 7, 1, 0))
