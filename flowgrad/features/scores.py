"""Scores pairs in other ways, each of an optional package: scores alone, without a test."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowgrad.features.table import FeatureTable

Floats = NDArray[np.float64]

ROUNDS, DEPTH, LEARNING_RATE = 200, 4, 0.1
"""Rounds, depth and learning rate of the booster whose interaction values are read."""
EXPLAINED = 1000
"""Rows that are explained: the cost is rows x columns x trees."""


def pair_scores(method: str, table: FeatureTable, seed: int) -> pd.DataFrame:
    """All pairs by falling score: first, second, score.

    Raises:
        ImportError: the package is not installed; names the extra.
    """
    scores = _METHODS[method](table, seed)
    i, j = np.triu_indices(len(table.names), k=1)
    order = np.argsort(-scores[i, j], kind="stable")
    names = np.array(table.names, dtype=object)
    return pd.DataFrame({"first": names[i[order]], "second": names[j[order]], "score": scores[i, j][order]})


def _xgboost_shap(table: FeatureTable, seed: int) -> Floats:
    """Mean size of the SHAP interaction values of a pair (Lundberg et al. 2020, Nature Machine Intelligence 2:56)."""
    try:
        import xgboost
    except ModuleNotFoundError as error:
        raise _missing("xgboost_shap", "xgboost", "xgboost", error) from error
    rng = np.random.default_rng(seed)
    objective = "binary:logistic" if _is_binary(table.y) else "reg:squarederror"
    settings = {"objective": objective, "max_depth": DEPTH, "eta": LEARNING_RATE, "seed": seed, "nthread": 1}
    booster = xgboost.train(settings, xgboost.DMatrix(table.X, table.y, nthread=1), ROUNDS)
    rows = np.sort(rng.permutation(len(table.y))[:EXPLAINED])
    values = booster.predict(xgboost.DMatrix(table.X[rows], nthread=1), pred_interactions=True)
    # A pair's effect is split evenly between (i, j) and (j, i); the last row and column are the bias.
    return 2 * np.abs(values).mean(axis=0, dtype=float)[:-1, :-1]


def _fast(table: FeatureTable, seed: int) -> Floats:
    """Score pairs by FAST (Lou, Caruana, Gehrke & Hooker 2013, KDD, sec. 3), on what the means of 32 bins a column,
    each fitted to what is left by the others, do not explain.
    """
    try:
        from interpret.utils import measure_interactions
    except ModuleNotFoundError as error:
        raise _missing("fast", "interpret", "interpret", error) from error
    X = pd.DataFrame(table.X, columns=[f"x{place}" for place in range(table.X.shape[1])])
    left = table.y - _binned_fit(table.X, table.y)
    scores = np.zeros((len(table.names), len(table.names)))
    found = measure_interactions(X, left, feature_types=["continuous"] * X.shape[1], objective="rmse")
    for (i, j), strength in found:
        scores[i, j] = scores[j, i] = strength
    return scores


_METHODS: dict[str, Callable[[FeatureTable, int], Floats]] = {"xgboost_shap": _xgboost_shap, "fast": _fast}

_BINS, _PASSES, _LEAST_ROWS = 32, 5, 20


def _binned_fit(X: Floats, y: Floats) -> Floats:
    """An additive model of bin means, by backfitting (Friedman & Stuetzle 1981)."""
    bins = max(2, min(_BINS, len(y) // _LEAST_ROWS))
    edges = [np.unique(np.quantile(column, np.arange(1, bins) / bins)) for column in X.T]
    places = [np.searchsorted(edge, column, side="right") for edge, column in zip(edges, X.T, strict=True)]
    parts = np.zeros_like(X)
    fitted = np.full(len(y), y.mean())
    for _ in range(_PASSES):
        for column, place in enumerate(places):
            fitted -= parts[:, column]
            count = np.bincount(place)
            means = np.bincount(place, weights=y - fitted) / np.maximum(count, 1)
            parts[:, column] = means[place]
            fitted += parts[:, column]
    return fitted


def _is_binary(y: Floats) -> bool:
    return bool(np.isin(y, (0.0, 1.0)).all())


def _missing(method: str, package: str, extra: str, error: ModuleNotFoundError) -> ImportError:
    if error.name is None or error.name.partition(".")[0] != package:
        return error
    return ImportError(f"method={method!r} needs {package}: pip install 'flowgrad[{extra}]'")
