"""Held-out metrics. Each knows its direction; no caller guesses."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowgrad.errors import FlowGradError
from pipelines.data import Data, Examples
from pipelines.models.factorization import MatrixFactorization

_HIGHER_IS_BETTER = {"mse": False, "rmse": False, "mae": False, "ndcg": True, "hr": True, "coverage": True}


def higher_is_better(metric: str) -> bool:
    """Direction of a metric; `@k` is not part of its name."""
    return _HIGHER_IS_BETTER[metric.partition("@")[0]]


def metric_names(kind: str, cutoff: int) -> tuple[str, ...]:
    """Names of the metrics that `evaluate` gives for this kind.

    Raises:
        FlowGradError: the kind is neither `rating` nor `ranking`.
    """
    names = {"rating": ("mse", "rmse", "mae"), "ranking": tuple(f"{m}@{cutoff}" for m in ("ndcg", "hr", "coverage"))}
    if kind not in names:
        raise FlowGradError(f"training.evaluation={kind!r} is unknown; use {' or '.join(names)}")
    return names[kind]


def evaluate(kind: str, cutoff: int, model: MatrixFactorization, data: Data) -> dict[str, float]:
    """Metrics on the test ratings, name -> value. NaN where the model's scores are not finite."""
    names = metric_names(kind, cutoff)
    with torch.no_grad():
        values = _rating(model, data.test) if kind == "rating" else _ranking(model, data, cutoff)
    return dict(zip(names, values, strict=True))


def _rating(model: MatrixFactorization, test: Examples) -> tuple[float, float, float]:
    error = (model(test.users, test.items) - test.ratings).double()
    mse = float(error.square().mean())
    return mse, math.sqrt(mse), float(error.abs().mean())


def _ranking(model: MatrixFactorization, data: Data, cutoff: int) -> tuple[float, float, float]:
    """Rank of each held-out item among all items that the user had not interacted with before.

    Ties count half, so that a model with constant scores gets the middle rank and not the first.
    """
    scores = model.score_all(data.test.users).double()
    if not scores.isfinite().all():
        return math.nan, math.nan, math.nan
    target = scores.gather(1, data.test.items[:, None])
    scores = scores.masked_fill(_seen(data), float("-inf"))
    # The held-out item may have been rated before in data with repeated pairs; it stays a candidate.
    scores.scatter_(1, data.test.items[:, None], target)
    rank = (scores > target).sum(dim=1).double() + ((scores == target).sum(dim=1) - 1) / 2
    hit = rank < cutoff
    ndcg = float(torch.where(hit, 1 / torch.log2(rank + 2), 0.0).mean())
    top = scores.topk(min(cutoff, data.n_items), dim=1).indices
    return ndcg, float(hit.double().mean()), len(top.unique()) / data.n_items


def _seen(data: Data) -> Tensor:
    """For each test example, the items of its user's training and validation ratings: bool, (n, n_items)."""
    seen = torch.zeros(data.n_users, data.n_items, dtype=torch.bool)
    for part in (data.train, data.validation):
        seen[part.users, part.items] = True
    return seen[data.test.users]
