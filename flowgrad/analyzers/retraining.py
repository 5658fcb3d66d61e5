"""Whether terms help a model that is no linear one: train it with and without them, on the same random splits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowgrad.analyzers.terms import Term, check_terms
from flowgrad.errors import FlowGradError
from flowgrad.statistics import TestResult, corrected_t

Floats = NDArray[np.float64]


def rmse(y: Floats, predicted: Floats) -> float:
    """Root of the mean squared error."""
    return float(np.sqrt(np.mean((y - predicted) ** 2)))


def retrain(
    frame: pd.DataFrame,
    y: Floats,
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
    """See `FeatureAnalyzer.prove_by_retraining`."""
    if not terms:
        raise FlowGradError("no suggestion is given; there is nothing to train with")
    check_terms(terms)
    for term in terms:
        if term.name in frame:
            raise FlowGradError(f"a column is named {term.name!r} already, which a term would replace; rename it")
    if splits < 2:
        raise FlowGradError(f"splits={splits}: a paired test needs 2 at least")
    tests = round(len(y) * test_share)
    if not 0 < test_share < 1 or not 1 <= tests < len(y):
        raise FlowGradError(f"test_share={test_share}: must lie between 0 and 1, and leave rows to train and to test")
    larger = frame.assign(**{term.name: term.values(frame) for term in terms})
    rng = np.random.default_rng(seed)
    scores: tuple[list[float], list[float]] = ([], [])
    for _ in range(splits):
        order = rng.permutation(len(y))
        held_out, rows = order[:tests], order[tests:]
        for columns, own in zip((frame, larger), scores, strict=True):
            model = make_model()
            model.fit(columns.iloc[rows], y[rows])
            own.append(float(metric(y[held_out], _predicted(model, columns.iloc[held_out]))))
    name = getattr(metric, "__name__", type(metric).__name__)
    return corrected_t(*scores, metric=name, higher_is_better=higher_is_better, overlap=tests / len(y), alpha=alpha)


def _predicted(model: Any, columns: pd.DataFrame) -> Floats:
    """Numbers, or the probability of the second class."""
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(columns), dtype=float)[:, 1]
    return np.asarray(model.predict(columns), dtype=float)
