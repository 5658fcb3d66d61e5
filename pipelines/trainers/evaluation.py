"""Declares held-out metrics. Each knows its direction; no caller guesses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_HIGHER_IS_BETTER = {
    "mse": False, "rmse": False, "mae": False, "logloss": False, "ece": False, "kl": False, "teacher_rmse": False,
    "auc": True, "r2_adjusted": True, "accuracy": True, "ndcg": True, "hr": True, "coverage": True,
    "recall": True, "gini": False, "ndcg_head": True, "ndcg_middle": True, "ndcg_tail": True,
}  # fmt: skip

_RANKINGS = ("auc", "ndcg", "hr", "coverage", "recall", "gini", "ndcg_head", "ndcg_middle", "ndcg_tail")


def higher_is_better(metric: str) -> bool:
    """Direction of a metric; `@k` is not part of its name."""
    return _HIGHER_IS_BETTER[metric.partition("@")[0]]


def explains_target(metrics: Sequence[str]) -> bool:
    """Whether some of the metrics ask for the target's values, so that one value leaves nothing to learn."""
    return any(metric.partition("@")[0] not in _RANKINGS for metric in metrics)


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a model on the test data."""

    metrics: dict[str, float]
    """Value of each metric, by name. NaN where the model's scores are not finite."""
    by_user: tuple[float, ...]
    """First metric of each user with test ratings, in order of their ids: the mean over those ratings. Empty where
    there are no users, or not the same in every run.
    """
    failure: str = ""
    """The reason why a run of a script gave no result; empty where it gave one."""
