"""Finds out which evaluation set of a fitted estimator holds given rows, by the metrics of the model on them.

Estimators of XGBoost and LightGBM name their sets by number and keep none of their rows. They keep the values of each
round: those of the set that held the given rows are what the model scores on these rows.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from flowgrad.trackers.boosting.boosted_trees import comes_from
from flowgrad.trackers.boosting.fitted import Recorded

MOST_WORK = 50_000_000
"""Number of rows times rounds up to which a model is asked for its predictions."""
_ALIKE = 1e-5
"""Relative difference of two values that are one but for 32 bits."""
_APART = 1e-3
"""Relative difference from the value on held-out rows, below which a value names no set."""

_Floats = NDArray[np.float64]


def _log_loss(y: _Floats, p: _Floats) -> float:
    chosen = p[np.arange(len(y)), y.astype(int)] if p.ndim == 2 else np.where(y > 0, p, 1 - p)
    return float(-np.log(np.clip(chosen, 1e-15, 1.0)).mean())


def _squared(y: _Floats, p: _Floats) -> float:
    return float(((y - p) ** 2).mean())


def _absolute(y: _Floats, p: _Floats) -> float:
    return float(np.abs(y - p).mean())


_METRICS: Mapping[str, Callable[[_Floats, _Floats], float]] = {
    **dict.fromkeys(("l2", "mse"), _squared),
    "rmse": lambda y, p: math.sqrt(_squared(y, p)),
    **dict.fromkeys(("l1", "mae"), _absolute),
    **dict.fromkeys(("logloss", "binary_logloss", "mlogloss", "multi_logloss"), _log_loss),
}
"""Metrics that are computed here. Error rates are not: two sets of a size share theirs by chance."""


class FittedEstimator:
    """An estimator that is asked for predictions as long as the user keeps it; a copy by pickle knows it no more."""

    def __init__(self, model: Any = None) -> None:
        known = comes_from(model, "xgboost", "XGBModel") or comes_from(model, "lightgbm", "LGBMModel")
        self._model: Callable[[], Any] | None = ref(model) if known else None

    def __getstate__(self) -> dict[str, Any]:
        return {"_model": None}

    def sets_of(
        self, rows: tuple[Any, Any], others: tuple[Any, Any], evaluated: Recorded, kept: int
    ) -> tuple[str, ...]:
        """Names of the sets whose values in round `kept` are those of the model on the rows, and not on the others.

        Args:
            rows: columns and target, as the estimator takes them.
            others: the same of the held-out rows.
            evaluated: set -> metric -> one value a round.
            kept: round that the estimator predicts by, from 1.
        """
        model = self._model() if self._model is not None else None
        names = {metric for metrics in evaluated.values() for metric in metrics} & set(_METRICS)
        if model is None or not names or kept * (len(rows[1]) + len(others[1])) > MOST_WORK:
            return ()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that an array lacks, which estimators take all the same
            own, other = (_values(model, *part, names) for part in (rows, others))
        apart = [name for name in own if not math.isclose(own[name], other[name], rel_tol=_APART)]
        return tuple(held for held, metrics in evaluated.items() if _agree(metrics, own, apart, kept))


def _agree(metrics: Mapping[str, Sequence[float]], own: Mapping[str, float], apart: list[str], kept: int) -> bool:
    pairs = [(metrics[name][kept - 1], own[name]) for name in apart if len(metrics.get(name, ())) >= kept]
    return bool(pairs) and all(math.isclose(*pair, rel_tol=_ALIKE, abs_tol=1e-9) for pair in pairs)


def _values(model: Any, X: Any, y: Any, names: set[str]) -> dict[str, float]:
    target = np.asarray(y, dtype=float)
    if hasattr(model, "predict_proba"):
        predicted = np.asarray(model.predict_proba(X), dtype=float)
        target = np.searchsorted(np.asarray(model.classes_, dtype=float), target).astype(float)
    else:
        predicted = np.asarray(model.predict(X), dtype=float)
    return {name: _METRICS[name](target, predicted) for name in names}
