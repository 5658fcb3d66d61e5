"""Holds the callback of CatBoost's training loop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import catboost

from flowgrad.trackers.boosting.callback import TrackerCallback


class CatBoostCallback(TrackerCallback):
    """Passes every round's evaluations to the tracker. CatBoost shows a callback nothing else: neither the trees nor
    when training ends.
    """

    def after_iteration(self, info: Any) -> bool:
        """Note a round; never asks to stop. The last value stands in a round without evaluation (`metric_period`)."""
        try:
            self._tell(info)
        except Exception as error:
            self._tracker._failed("a round", error)
        return True

    def _tell(self, info: Any) -> None:
        if info.iteration == 1:  # of every training, also of one that goes on from a model
            self._tracker.begin(None, 0, "catboost")
        evaluated = [
            (held, metric, values[-1], higher_is_better(metric))
            for held, metrics in info.metrics.items()
            for metric, values in metrics.items()
        ]
        self._tracker.end_round(evaluated, last=True)


def directions(metrics: Iterable[str], model: Any) -> dict[str, bool]:
    """Direction of each metric whose direction CatBoost states, or of the user's own metric that a fitted model was
    given: CatBoost asks it too.
    """
    found = {metric: known for metric in metrics if (known := higher_is_better(metric)) is not None}
    own = _own_metric(model)
    if own is not None:
        found[type(own).__name__] = bool(own.is_max_optimal())
    return found


def _own_metric(model: Any) -> Any:
    """The user's own metric that early stopping went by; None where it is one of CatBoost's."""
    given = model.get_params().get("eval_metric")
    return given if hasattr(given, "is_max_optimal") and hasattr(given, "evaluate") else None


def eval_metric(model: Any) -> str:
    """Name of the metric that early stopping of a fitted model went by; empty where it is not known."""
    own = _own_metric(model)
    if own is not None:
        return type(own).__name__
    return str(model.get_all_params().get("eval_metric", ""))


def higher_is_better(metric: str) -> bool | None:
    """Direction of one of CatBoost's metrics, by the name that it reports (`NDCG:top=5`); None where it has none."""
    name, _, given = metric.partition(":")
    kind: Any = getattr(catboost.metrics, name, None)
    if not hasattr(kind, "params_with_defaults"):  # some metric of the user's own
        return None
    said = dict(part.partition("=")[::2] for part in given.split(";"))
    needed = [key for key, about in kind.params_with_defaults().items() if about["is_mandatory"]]
    try:
        return bool(kind(**{key: float(said.get(key, 1)) for key in needed}).is_max_optimal())
    except (catboost.CatBoostError, ValueError):
        return None
