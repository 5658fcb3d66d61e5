"""The log-loss that click models minimise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowgrad.measures.clicks import roc_auc
from pipelines.trainers.clicks.data import SHARED, Clicks
from pipelines.trainers.networks.losses import Loss, predicted


class ClickLoss(Loss[Clicks]):
    """Log-loss of one logit, of clicks by their weight; in training a share of the ids stands for values not known."""

    def __init__(
        self,
        columns: tuple[str, ...] = (),
        *,
        positive_weight: float = 1.0,
        id_dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        """Hold the settings.

        Args:
            columns: names of the columns of categories, by which a watch is told of a batch.
            positive_weight: weight of clicked impressions in the training loss; 1 for all others.
            id_dropout: share of the ids of a training batch that are replaced by `SHARED`.
            generator: draws them.
        """
        self._columns = columns
        self._positive_weight, self._id_dropout, self._generator = positive_weight, id_dropout, generator

    def of(self, model: nn.Module, batch: Clicks) -> Tensor:
        """Loss of a batch; see `Loss.of`. Of held-out rows it is the plain log-loss."""
        if not model.training:
            return functional.binary_cross_entropy_with_logits(model(batch.inputs)[:, 0], batch.target)
        if self._id_dropout > 0:
            dropped = torch.rand(batch.ids.shape, generator=self._generator) < self._id_dropout
            batch = replace(batch, ids=batch.ids.masked_fill(dropped, SHARED))
        weight = None if self._positive_weight == 1 else 1 + (self._positive_weight - 1) * batch.target
        return functional.binary_cross_entropy_with_logits(model(batch.inputs)[:, 0], batch.target, weight)

    def told(self, batch: Clicks) -> dict[str, Any]:
        """Ids by column, and targets; see `Loss.told`."""
        return {
            "inputs": {name: batch.ids[:, k] for k, name in enumerate(self._columns)},
            "targets": batch.target,
        }

    def metric(self, model: nn.Module, rows: Clicks) -> float | None:
        """Area under the ROC curve of held-out rows; None where a prediction is not finite. See `Loss.metric`."""
        scores = predicted("binary", model, rows.inputs)
        return roc_auc(rows.target.numpy(), scores.numpy()) if scores.isfinite().all() else None
