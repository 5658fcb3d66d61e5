"""Rows in time order are found where the test of a column errs by it; shuffled rows are not, and sorted ones seldom."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from flowgrad import FeatureAnalyzer
from flowgrad.features.terms import Term
from flowgrad.gate import serial_objection
from flowgrad.statistics import nested_f


def mean(random, rows, window):
    """A moving average of noise, shape (rows,)."""
    steps = np.cumsum(random.normal(size=rows + window))
    return (steps[window:] - steps[:-window]) / window**0.5


def days(seed, rows=1500, ahead=20):
    """Slow columns, and a target whose windows overlap; nothing has to do with anything."""
    random = np.random.default_rng(seed)
    X = pd.DataFrame({f"over {window}": mean(random, rows, window) for window in (30, 60, 40, 50, 25, 35)})
    return X, mean(random, rows, ahead)


@pytest.mark.parametrize("seed", range(4))
def test_windows_that_overlap_are_not_confirmed(seed):
    X, y = days(seed)
    analyzer = FeatureAnalyzer(X, y)
    proof = analyzer.proof
    assert proof.p < 0.05
    assert (proof.verdict, proof.objection.check, proof.proven) == ("inconclusive", "rows alike in order", ())
    assert proof.objection.effective < 500
    found = {finding.rule_id: finding for finding in analyzer.findings()}
    assert {"feature_synergy", "copied_rows"}.isdisjoint(found)
    assert "1500 rows are worth some" in found["rows_alike_in_order"].premise
    order = np.random.default_rng(seed).permutation(len(X))
    shuffled = FeatureAnalyzer(X.iloc[order], y[order]).prove()
    assert shuffled.reason == ""


def test_long_blocks_are_the_way_out():
    X, y = days(0, 9000)
    proof = FeatureAnalyzer(X, y, groups=np.arange(9000) // 300).prove()
    assert (proof.verdict, proof.reason) == ("inconclusive", "")
    y = y + 2 * (X["over 30"] * X["over 60"]).to_numpy()
    assert FeatureAnalyzer(X, y, groups=np.arange(9000) // 300).prove().verdict == "confirmed"


def test_blocks_that_are_too_short_are_told():
    X, y = days(1, 6000)
    proof = FeatureAnalyzer(X, y, groups=np.arange(6000) // 3).prove()
    assert "groups next to each other are alike" in proof.reason
    assert FeatureAnalyzer(X, y, groups=np.arange(6000)).prove().reason == ""


def test_nested_models_and_retraining_look_too():
    X, y = days(2)
    product = X["over 30"] * X["over 60"]
    data = X.assign(y=y, product=product)
    assert nested_f(data, "y", list(X), ["product"]).objection.check == "rows alike in order"
    assert nested_f(data.sample(frac=1, random_state=0), "y", list(X), ["product"]).objection is None

    class Mean:
        def fit(self, X, y):
            self.mean = y.mean()

        def predict(self, X):
            return np.full(len(X), self.mean) + 1e-3 * X.iloc[:, -1]

    result = FeatureAnalyzer(X, y).prove_by_retraining(Mean, [Term("product", "over 30", "over 60")])
    assert (result.verdict, result.objection.check) == ("inconclusive", "rows alike in order")


@pytest.mark.parametrize("effect", [0.0, 0.7])
@pytest.mark.parametrize("kind", ["numbers", "classes", "stars"])
@pytest.mark.parametrize("order", ["shuffled", "target", "column", "product"])
def test_independent_rows_in_any_order(order, kind, effect):
    """A table sorted by its target has residuals with an autocorrelation near 1, and independent rows."""
    objections = 0
    for seed in range(10):
        random = np.random.default_rng(seed)
        X = random.normal(size=(600, 3))
        X[:, 1] += 0.4 * X[:, 0]
        product = X[:, 0] * X[:, 1]
        y = X[:, 2] + effect * product + random.standard_t(4, size=600)
        y = {"numbers": y, "classes": np.float64(y > 0), "stars": np.round(np.clip(y, -2, 2))}[kind]
        places = {"shuffled": np.arange(600), "target": y.argsort(), "column": X[:, 0].argsort()}
        rows = places.get(order, product.argsort())
        design = np.column_stack([np.ones(600), X, X**2])[rows]
        left = [v - design @ np.linalg.lstsq(design, v, rcond=None)[0] for v in (y[rows], product[rows])]
        if order == "target":
            assert np.corrcoef(left[0][1:], left[0][:-1])[0, 1] > 0.4
        objections += serial_objection(left[0], left[1][:, None]) is not None
    assert objections == 0


def test_one_slow_column_among_many():
    random = np.random.default_rng(0)
    X = random.normal(size=(1000, 8))
    X[:, 3] = mean(random, 1000, 40)
    assert serial_objection(mean(random, 1000, 40), X - X.mean(axis=0)) is not None
    assert serial_objection(random.normal(size=1000), X - X.mean(axis=0)) is None
    assert serial_objection(mean(random, 1000, 40), random.normal(size=(1000, 8))) is None
