"""Evaluates the factorisation on the test ratings: error of the rating, or the rank of the item held out."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowgrad.errors import FlowGradError
from pipelines.data.ratings import Data, Examples
from pipelines.trainers.evaluation import Evaluation
from pipelines.trainers.factorization.models.factorization import MatrixFactorization


def metric_names(kind: str, cutoff: int) -> tuple[str, ...]:
    """Names of the metrics that `evaluate` gives for this kind.

    Raises:
        FlowGradError: the kind is neither `rating` nor `ranking`.
    """
    names = {"rating": ("mse", "rmse", "mae"), "ranking": tuple(f"{m}@{cutoff}" for m in ("ndcg", "hr", "coverage"))}
    if kind not in names:
        raise FlowGradError(f"training.evaluation={kind!r} is unknown; use {' or '.join(names)}")
    return names[kind]


def evaluate(kind: str, cutoff: int, model: MatrixFactorization, data: Data) -> Evaluation:
    """Compute metrics on the test ratings."""
    names = metric_names(kind, cutoff)
    with torch.no_grad():
        values, each = _rating(model, data.test) if kind == "rating" else _ranking(model, data, cutoff)
    users, place = data.test.users.unique(return_inverse=True)
    sums = torch.zeros(len(users), dtype=torch.float64).scatter_add_(0, place, each)
    return Evaluation(dict(zip(names, values, strict=True)), tuple((sums / place.bincount()).tolist()))


def _rating(model: MatrixFactorization, test: Examples) -> tuple[tuple[float, float, float], Tensor]:
    """Compute the metrics, and each rating's squared error."""
    error = (model(test.users, test.items) - test.ratings).double()
    squared = error.square()
    mse = float(squared.mean())
    return (mse, math.sqrt(mse), float(error.abs().mean())), squared


def _ranking(model: MatrixFactorization, data: Data, cutoff: int) -> tuple[tuple[float, float, float], Tensor]:
    """Compute the metrics, and each held-out item's NDCG, by its rank among all items that the user had not interacted
    with before.

    Ties count half, so that a model with constant scores gets the middle rank and not the first.
    """
    scores = model.score_all(data.test.users).double()
    if not scores.isfinite().all():
        return (math.nan, math.nan, math.nan), torch.full((len(scores),), math.nan, dtype=torch.float64)
    target = scores.gather(1, data.test.items[:, None])
    scores = scores.masked_fill(_seen(data), float("-inf"))
    # The held-out item may have been rated before in data with repeated pairs; it stays a candidate.
    scores.scatter_(1, data.test.items[:, None], target)
    rank = (scores > target).sum(dim=1).double() + ((scores == target).sum(dim=1) - 1) / 2
    hit = rank < cutoff
    gain = torch.where(hit, 1 / torch.log2(rank + 2), 0.0)
    top = scores.topk(min(cutoff, data.n_items), dim=1).indices
    return (float(gain.mean()), float(hit.double().mean()), len(top.unique()) / data.n_items), gain


def _seen(data: Data) -> Tensor:
    """Flags of the items in the training and validation ratings of each test example's user: bool, (n, n_items)."""
    seen = torch.zeros(data.n_users, data.n_items, dtype=torch.bool)
    for part in (data.train, data.validation):
        seen[part.users, part.items] = True
    return seen[data.test.users]
