"""Reads boosters that are trained already, all but their trees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flowgrad.trackers.boosting.boosted_trees import is_catboost, is_lightgbm, is_xgboost

Recorded = Mapping[str, Mapping[str, Sequence[float]]]
"""Evaluation set -> metric -> one value a round."""


def booster_of(model: Any) -> Any:
    """The booster that `model` is, or has within it.

    Raises:
        TypeError: it is no booster, or is not fitted.
    """
    for found in (model, *(getattr(model, name, None) for name in ("booster_", "_Booster"))):
        if is_xgboost(found) or is_lightgbm(found) or (is_catboost(found) and found.is_fitted()):
            return found
    raise TypeError(
        f"{type(model).__name__} is no booster: give an xgboost or lightgbm Booster, or a fitted estimator of theirs "
        "or of catboost's"
    )


def rounds_of(booster: Any) -> int:
    """Number of rounds that the booster holds, of trees or, where it is linear, of steps."""
    if is_catboost(booster):
        return booster.tree_count_
    return booster.current_iteration() if is_lightgbm(booster) else booster.num_boosted_rounds()


def recorded(model: Any) -> Recorded:
    """Evaluations that the estimator recorded while it was fitted; empty where no evaluation set was given."""
    found = model.get_evals_result() if is_catboost(model) else getattr(model, "evals_result_", None)
    return found if isinstance(found, Mapping) else {}


def check_recorded(found: Recorded, rounds: int) -> None:
    """Refuse values that are not one a round.

    Raises:
        ValueError: names the set and the metric.
    """
    for held, metrics in found.items():
        for metric, values in metrics.items():
            if len(values) < rounds:
                raise ValueError(f"evals_result: {held!r} {metric!r} has {len(values)} values for {rounds} rounds")
