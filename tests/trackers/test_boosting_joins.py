"""Columns that pandas joined by labels where they were meant to stand row by row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from flowgrad import BoostingTracker

X, Y = load_breast_cancer(return_X_y=True, as_frame=True)
SCALED = ["worst radius", "worst texture"]


def parts(assign):
    """Two parts of a split, of which two columns were scaled and assigned anew."""
    train, held_out, y, new_y = train_test_split(X, Y, test_size=0.4, random_state=0, stratify=Y)
    scaler = StandardScaler().fit(train[SCALED])
    parts = []
    for part in (train.copy(), held_out.copy()):
        for name, values in zip(SCALED, scaler.transform(part[SCALED]).T, strict=True):
            part[name] = assign(values, part)
        parts.append(part)
    return parts[0], y, parts[1], new_y


def found(data):
    tracker = BoostingTracker()
    tracker.observe_data(*data)
    return {one.type: one for one in tracker.findings()}


def test_a_series_without_the_labels_of_the_frame_is_named():
    one = found(parts(lambda values, part: pd.Series(values)))["COLUMNS_JOINED_BY_INDEX"]
    assert list(one.rows.index) == SCALED
    assert "X.index" in one.plain["any"]


def later_missing(values, part):
    """Time ended the column: later labels lack it."""
    return np.where(part.index < 400, values, np.nan)


@pytest.mark.parametrize(
    "assign",
    [
        lambda values, part: values,
        lambda values, part: pd.Series(values, index=part.index),
        lambda values, part: np.where(np.random.default_rng(0).random(len(part)) < 0.4, np.nan, values),
        later_missing,
    ],
)
def test_values_assigned_row_by_row_and_values_that_are_missing_are_silent(assign):
    assert "COLUMNS_JOINED_BY_INDEX" not in found(parts(assign))
