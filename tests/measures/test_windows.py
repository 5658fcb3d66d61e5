"""Running means and sums of the target, with the row's own target and without."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from flowgrad import BoostingTracker
from flowgrad.measures.windows import hold_own_target

RANDOM = np.random.default_rng(0)
ROWS = 600
SERIES = {
    "noise": RANDOM.normal(size=ROWS),
    "prices": 100 + RANDOM.normal(size=ROWS).cumsum(),
    "season": np.sin(np.arange(ROWS) / 7),
    "ratings": RANDOM.integers(1, 6, ROWS).astype(float),
    "rare": (RANDOM.random(ROWS) < 0.15).astype(float),
    "counts": RANDOM.poisson(3, ROWS).astype(float),
}
STRAIGHT = {
    "line": np.arange(ROWS) * 2.0,
    "steps": np.arange(ROWS) // 3 * 1.0,
    "week": np.tile(SERIES["noise"][:7], 86),
}
WINDOWS = {
    "mean of 7": lambda s: s.rolling(7).mean(),
    "mean of up to 3": lambda s: s.rolling(3, min_periods=1).mean(),
    "sum of 5": lambda s: s.rolling(5).sum(),
    "mean so far": lambda s: s.expanding().mean(),
    "sum so far": lambda s: s.cumsum(),
    "exponential": lambda s: s.ewm(alpha=0.3).mean(),
    "exponential, not adjusted": lambda s: s.ewm(span=10, adjust=False).mean(),
}


def told(columns, y, **more):
    columns = np.column_stack(columns)
    return hold_own_target(columns, [True] * columns.shape[1], np.asarray(y, dtype=float), **more)


@pytest.mark.parametrize("name", SERIES)
def test_windows_that_end_with_the_row_are_told_from_those_that_end_before(name):
    y = pd.Series(SERIES[name])
    assert told([window(y) for window in WINDOWS.values()], y) == [True] * len(WINDOWS)
    assert not any(told([window(y.shift(1)) for window in WINDOWS.values()], y))
    assert not any(told([y.shift(k) for k in (1, 2, 7)], y))


@pytest.mark.parametrize("name", STRAIGHT)
def test_nothing_is_told_of_honest_windows_over_what_goes_on_by_itself(name):
    y = pd.Series(STRAIGHT[name][:ROWS])
    assert not any(told([window(y.shift(1)) for window in WINDOWS.values()] + [y.shift(1)], y))


def test_values_in_half_the_digits_are_enough():
    y = pd.Series(SERIES["prices"])
    assert told([y.rolling(7).mean().astype(np.float32), y.shift(1).rolling(7).mean().astype(np.float32)], y) == [
        True,
        False,
    ]


@pytest.mark.parametrize("how", ["a column", "groups"])
def test_series_are_told_by_a_column_or_by_groups(how):
    of, y = RANDOM.integers(0, 30, 4000), RANDOM.integers(1, 6, 4000)
    by = pd.Series(y).groupby(of)
    columns = [
        by.transform(lambda s: s.rolling(3, min_periods=1).mean()),
        by.transform(lambda s: s.shift().rolling(3).mean()),
    ]
    assert told(columns, y) == [False, False]
    found = told([*columns, of], y) if how == "a column" else told(columns, y, groups=of)
    assert found[:2] == [True, False]


def test_rows_in_another_order_tell_nothing():
    y = pd.Series(SERIES["noise"])
    order = RANDOM.permutation(ROWS)
    assert told([y.rolling(7).mean()[order]], y[order]) == [False]


def table(shift):
    y = pd.Series(SERIES["prices"]).diff().fillna(0)
    past = y.shift(shift)
    X = pd.DataFrame({"mean": past.rolling(5).mean(), "lag": y.shift(1), "noise": RANDOM.normal(size=ROWS)}).fillna(0)
    return X[:400], y[:400], X[400:], y[400:]


def test_a_booster_names_the_column_and_offers_no_dropping():
    tracker = BoostingTracker()
    tracker.observe_data(*table(0))
    found = {one.rule_id: one for one in tracker.findings()}["target_in_its_window"]
    assert list(found.rows.index) == ["mean"]
    assert found.fix is None
    assert "shift(1)" in found.plain["any"]
    for data, known in ((table(1), ()), (table(0), ["mean"])):
        tracker = BoostingTracker()
        tracker.observe_data(*data, known_in_time=known)
        assert "TARGET_IN_ITS_WINDOW" not in {one.type for one in tracker.findings()}
