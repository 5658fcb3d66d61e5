"""Rows that belong together, such as visits of a patient, are found by columns that repeat together; others are not."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from flowgrad import FeatureAnalyzer
from flowgrad.gate import table_objection

ROWS = 3000


def visits(patients, each, seed=0, *, written=False):
    """Columns of the patient, columns of the visit, and an outcome that has nothing to do with either."""
    random = np.random.default_rng(seed)
    who = random.permutation(np.repeat(np.arange(patients), each))
    fixed = pd.DataFrame(
        {
            "age": random.normal(61, 12, patients),
            "bmi": random.normal(27, 4, patients),
            "crp": random.lognormal(1, 0.7, patients),
            "gfr": random.normal(80, 18, patients),
        }
    )
    X = fixed.iloc[who].reset_index(drop=True)
    X["pulse"], X["temp"] = random.normal(74, 9, len(who)), random.normal(36.7, 0.4, len(who))
    if written:
        X = X.round({"age": 0, "bmi": 1, "crp": 2, "gfr": 1, "pulse": 0, "temp": 1})
    return X, random.normal(size=patients)[who] + 0.5 * random.normal(size=len(who)), who


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize(("patients", "each"), [(24, 40), (36, 30), (100, 10), (300, 4), (500, 2), (4000, 3)])
def test_visits_of_patients_are_downgraded_and_counted(patients, each, written):
    X, y, who = visits(patients, each, written=written)
    found = table_objection(X, y)
    assert (found.check, found.level) == ("rows of units", "downgraded")
    assert found.effective < 2 * patients
    assert f" {patients:,} units" in found.reason
    assert "'bmi'" in found.reason
    assert "'temp'" not in found.reason
    assert "groups=" in found.way_out
    assert table_objection(X, y, who) is None
    assert table_objection(X, y, np.arange(len(y))) is None


@pytest.mark.parametrize("seed", range(3))
def test_a_product_of_columns_of_the_patient_is_not_proven_by_visits(seed):
    X, y, _ = visits(36, 30, seed)
    proof = FeatureAnalyzer(X, y, seed=seed).prove()
    assert proof.verdict == "inconclusive"
    assert "36 units" in proof.reason


@pytest.mark.parametrize("seed", range(3))
def test_one_visit_of_each_patient_proves_as_before(seed):
    X, y, _ = visits(1080, 1, seed)
    y = y + 0.6 * ((X["age"] - 61) / 12 * (X["bmi"] - 27) / 4).to_numpy()
    proof = FeatureAnalyzer(X, y, seed=seed).prove()
    assert (proof.verdict, proof.reason) == ("confirmed", "")


@functools.cache
def honest():
    random = np.random.default_rng(3)

    def noise(*shape):
        return random.normal(size=(ROWS, *shape))

    level = random.normal(size=200)
    store = random.integers(0, 200, ROWS)
    y = level[store] + 0.3 * noise()
    minute, day, hour = random.integers(0, 1440, ROWS), random.integers(0, 365, ROWS), random.integers(0, 300, ROWS)
    turn, year = 2 * np.pi * minute / 1440, 2 * np.pi * day / 365
    user, item = random.integers(0, 300, ROWS), random.integers(0, 200, ROWS)
    stars = np.clip(np.round(3.5 + random.normal(size=300)[user] + random.normal(size=200)[item] + noise()), 1, 5)
    of_user = np.c_[random.integers(18, 70, 300), random.integers(0, 2, 300), random.integers(0, 21, 300)][user]
    age, weight = random.integers(18, 80, ROWS), np.round(random.normal(27, 4, ROWS), 1)
    dose, heat = np.linspace(0.37, 9.1, 10)[random.integers(0, 10, ROWS)], random.integers(0, 10, ROWS) * 3.3
    mixes = random.normal(size=(100, 5))[random.integers(0, 100, ROWS)]
    zone = random.integers(0, 500, ROWS)
    imputed, rounded = noise(4), np.round(noise(4), 1)
    gap = random.random(ROWS) < 0.4
    imputed[gap], rounded[gap] = np.median(imputed, 0), np.median(rounded, 0)
    counts = np.where(random.random((ROWS, 6)) < 0.9, 0, np.round(random.lognormal(3, 1, (ROWS, 6))))
    return {
        "store": (np.c_[store, noise(2)], y),
        "store and its mean target": (np.c_[store, pd.Series(y).groupby(store).transform("mean"), noise(2)], y),
        "price and its functions": (np.c_[np.exp(level[store]), level[store], level[store] ** 2, noise(2)], y),
        "minute on the circle": (np.c_[np.sin(turn), np.cos(turn), noise(2)], np.sin(turn) + 0.3 * noise()),
        "day and its functions": (np.c_[day, np.sin(year), np.cos(year), noise(2)], np.sin(year) + 0.3 * noise()),
        "times": (np.c_[hour * 3600.0, hour % 24, hour // 24, noise(2)], np.sin(hour) + 0.3 * noise()),
        "sex and city": (np.c_[random.integers(0, 2, ROWS), random.integers(0, 12, ROWS), noise(2)], y),
        "city and county": (np.c_[zone, zone // 3, zone // 20, noise()], random.normal(size=500)[zone] + noise()),
        "grid": (np.c_[random.integers(0, 40, (ROWS, 3)), noise()], y),
        "ratings": (np.c_[user, item, of_user, random.integers(1930, 2000, 200)[item], random.random(ROWS)], stars),
        "product and ratio": (np.c_[age, weight, age * weight, age / weight, noise()], age * weight / 999 + noise()),
        "factors and product": (np.c_[dose, heat, dose * heat, noise()], dose + heat + noise()),
        "mixes": (np.c_[mixes, noise(2)], mixes[:, 0] + mixes[:, 1] ** 2 + noise()),
        "gaps filled": (np.c_[imputed, noise()], imputed[:, 0] + 0.2 * noise()),
        "gaps of rounded values filled": (np.c_[rounded, noise()], rounded[:, 0] + 0.2 * noise()),
        "counts": (np.c_[counts, noise()], counts.sum(1) + noise()),
        "diabetes": load_diabetes(return_X_y=True),
        "cancer": load_breast_cancer(return_X_y=True),
        "wine": load_wine(return_X_y=True),
    }


@pytest.mark.parametrize("kind", list(honest()))
def test_columns_that_recur_otherwise_are_no_units(kind):
    """One thing told once, however often it recurs, is a column; a unit is told by columns that need not agree."""
    assert table_objection(*honest()[kind]) is None


def test_visits_whose_outcomes_are_independent_are_no_objection():
    """Nothing of the patient is in the target, so that each visit is a case of its own."""
    X, _, _ = visits(300, 4)
    assert table_objection(X, np.random.default_rng(5).normal(size=len(X))) is None
