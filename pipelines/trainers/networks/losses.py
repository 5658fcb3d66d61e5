"""Losses that a network minimises, by kind of task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.trainers.networks.data import Kind, Rows


class Loss(ABC, Generic[Kind]):
    """Mean loss of a batch; `fit` takes any."""

    @abstractmethod
    def of(self, model: nn.Module, batch: Kind) -> Tensor:
        """Loss of a batch, a scalar with its graph."""

    def held_out(self, model: nn.Module, rows: Kind) -> float:
        """Mean loss of rows that are not trained on, the model in evaluation mode."""
        model.eval()
        with torch.no_grad():
            return float(self.of(model, rows))

    def told(self, batch: Kind) -> dict[str, Any]:
        """Rows of a batch as `Watch.log` takes them; nothing where the loss is all that a watch is told."""
        return {}

    def metric(self, model: nn.Module, rows: Kind) -> float | None:
        """Figure of held-out rows that is better when higher; None where there is none besides the loss."""
        return None


class OutputLoss(Loss[Rows]):
    """A loss of a model's outputs and the target."""

    @abstractmethod
    def criterion(self, outputs: Tensor, batch: Rows) -> Tensor:
        """Loss of outputs of shape (..., rows, outputs), shape (...,): a scalar, or a value each for a stack."""

    def of(self, model: nn.Module, batch: Rows) -> Tensor:
        """Loss of a batch by its outputs; see `Loss.of`."""
        return self.criterion(model(batch.inputs), batch)


class SquaredError(OutputLoss):
    """Mean squared error."""

    def criterion(self, outputs: Tensor, batch: Rows) -> Tensor:
        """Mean squared error of the outputs; see `OutputLoss.criterion`."""
        return functional.mse_loss(outputs[..., 0], batch.target, reduction="none").mean(dim=-1)


class BinaryCrossEntropy(OutputLoss):
    """Log-loss of one logit."""

    def criterion(self, outputs: Tensor, batch: Rows) -> Tensor:
        """Mean log-loss of the outputs; see `OutputLoss.criterion`."""
        logits = outputs[..., 0]
        return functional.binary_cross_entropy_with_logits(logits, batch.target, reduction="none").mean(dim=-1)


class CrossEntropy(OutputLoss):
    """Log-loss of a logit a class."""

    def criterion(self, outputs: Tensor, batch: Rows) -> Tensor:
        """Mean cross-entropy of the outputs; see `OutputLoss.criterion`."""
        return cross_entropy(outputs, batch.target)


def cross_entropy(outputs: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy of outputs of shape (..., rows, classes), shape (...,)."""
    each = functional.cross_entropy(outputs.flatten(0, -2), target.flatten(), reduction="none")
    return each.view(target.shape).mean(dim=-1)


LOSSES: dict[str, type[OutputLoss]] = {
    "regression": SquaredError,
    "binary": BinaryCrossEntropy,
    "multiclass": CrossEntropy,
}
"""Loss of each kind of task, by name."""


def predicted(kind: str, model: nn.Module, inputs: Any) -> Tensor:
    """Predict values, probabilities of class 1 (shape (rows,)), or of each class (shape (rows, classes)); float64."""
    model.eval()
    with torch.no_grad():
        outputs = model(inputs).double()
    if kind == "multiclass":
        return outputs.softmax(dim=1)
    return outputs[:, 0].sigmoid() if kind == "binary" else outputs[:, 0]
