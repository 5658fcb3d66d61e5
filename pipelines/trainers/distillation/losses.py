"""Losses that a student minimises."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowgrad.errors import FlowGradError
from pipelines.trainers.distillation.data import Taught
from pipelines.trainers.networks.data import Rows
from pipelines.trainers.networks.losses import OutputLoss, cross_entropy


class KnowledgeDistillation(OutputLoss):
    """Weighted sum of distances: (1 - w) times that to the teacher's outputs plus w times that to the labels, w being
    `label_weight`.

    Classes: T^2 KL(teacher || student) of the outputs over the temperature T, and cross-entropy (Hinton, Vinyals & Dean
    2015, Distilling the Knowledge in a Neural Network, par. 2). Ratings, one output: squared errors, which are the KL
    of normal distributions of one variance.
    """

    def __init__(self, *, temperature: float, label_weight: float, classes: bool) -> None:
        """Keep the settings."""
        self.temperature, self.label_weight, self.classes = temperature, label_weight, classes
        self.distance = torch.zeros(())
        """Distance to the teacher's outputs, of the last batch, without its graph."""

    def of(self, model: nn.Module, batch: Rows) -> Tensor:
        """Loss of a batch, which is `Taught`; see `Loss.of`."""
        outputs = model(batch.inputs)
        distance = self._to_teacher(outputs, batch)
        self.distance = distance.detach()
        return self._weighed(distance, outputs, batch)

    def criterion(self, outputs: Tensor, batch: Rows) -> Tensor:
        """Loss of outputs; see `OutputLoss.criterion`."""
        return self._weighed(self._to_teacher(outputs, batch), outputs, batch)

    def _weighed(self, distance: Tensor, outputs: Tensor, batch: Rows) -> Tensor:
        return (1 - self.label_weight) * distance + self.label_weight * self._to_labels(outputs, batch.target)

    def _to_teacher(self, outputs: Tensor, batch: Rows) -> Tensor:
        if not isinstance(batch, Taught):
            raise FlowGradError("a batch without the teacher's outputs cannot be distilled; give Taught rows")
        if not self.classes:
            return functional.mse_loss(outputs, batch.taught, reduction="none").mean(dim=(-2, -1))
        own, other = (functional.log_softmax(logits / self.temperature, dim=-1) for logits in (outputs, batch.taught))
        divergence = functional.kl_div(own, other, log_target=True, reduction="none").sum(dim=(-2, -1))
        return self.temperature**2 * divergence / own.shape[-2]

    def _to_labels(self, outputs: Tensor, target: Tensor) -> Tensor:
        if not self.classes:
            return functional.mse_loss(outputs[..., 0], target, reduction="none").mean(dim=-1)
        return cross_entropy(outputs, target)
