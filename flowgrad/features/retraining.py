"""Tests whether terms help a model that is not linear: it is trained with and without them, on the same random
splits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowgrad.errors import FlowGradError
from flowgrad.features.proof import serial_objection
from flowgrad.features.table import FeatureTable
from flowgrad.features.terms import Term, check_terms
from flowgrad.gate import refuse
from flowgrad.statistics import TestResult, corrected_t
from flowgrad.statistics.result import objected

Floats = NDArray[np.float64]


def rmse(y: Floats, predicted: Floats) -> float:
    """Root of the mean squared error, in units of y."""
    return float(np.sqrt(np.mean((y - predicted) ** 2)))


def retrain(
    table: FeatureTable,
    make_model: Callable[[], Any],
    terms: Sequence[Term],
    *,
    splits: int,
    test_share: float,
    metric: Callable[[Floats, Floats], float],
    higher_is_better: bool,
    alpha: float,
    seed: int,
) -> TestResult:
    """Test terms by retraining; see `FeatureAnalyzer.prove_by_retraining`."""
    objection = refuse(table.objection)
    frame, y = table.frame, table.y
    if not terms:
        raise FlowGradError("no suggestion is given; there is nothing to train with")
    check_terms(terms)
    for term in terms:
        if term.name in frame:
            raise FlowGradError(f"a column is named {term.name!r} already, which a term would replace; rename it")
    if splits < 2:
        raise FlowGradError(f"splits={splits}: a paired test needs 2 at least")
    units = np.arange(len(y)) if table.groups is None else table.groups
    known = np.unique(units)
    tests = round(len(known) * test_share)
    if not 0 < test_share < 1 or not 1 <= tests < len(known):
        raise FlowGradError(f"test_share={test_share}: must lie between 0 and 1, and leave rows to train and to test")
    larger = frame.assign(**{term.name: term.values(frame) for term in terms})
    rng = np.random.default_rng(seed)
    scores: tuple[list[float], list[float]] = ([], [])
    for _ in range(splits):
        held_out, rows = _split(units, rng.permutation(known), tests)
        for columns, own in zip((frame, larger), scores, strict=True):
            model = make_model()
            model.fit(columns.iloc[rows], y[rows])
            own.append(float(metric(y[held_out], _predicted(model, columns.iloc[held_out]))))
    name = getattr(metric, "__name__", type(metric).__name__)
    overlap = tests / len(known)
    if objection is None or not objection.blocks:
        objection = serial_objection(table, terms) or objection
    result = corrected_t(*scores, metric=name, higher_is_better=higher_is_better, overlap=overlap, alpha=alpha)
    return result if objection is None or result.objection is not None else objected(result, objection, alpha)


def _split(units: NDArray[np.intp], order: NDArray[np.intp], tests: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of the first so many units, and those of the others, in that order."""
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.arange(len(order))
    rows = np.argsort(place[units], kind="stable")
    held_out = int((place[units] < tests).sum())
    return rows[:held_out], rows[held_out:]


def _predicted(model: Any, columns: pd.DataFrame) -> Floats:
    """Predictions of a model: numbers, or the probability of the second class."""
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(columns), dtype=float)[:, 1]
    return np.asarray(model.predict(columns), dtype=float)
