"""Measures the truth: the effect of changed weights on the loss on test rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flowgrad.compression.applying import apply_recipe
from flowgrad.compression.planning.calibration import Bench, Calibration
from flowgrad.compression.recipe import Plan
from pipelines.trainers.compressible import Compressible


class HeldOut:
    """Rises of the held-out loss, as shares of the loss before.

    Attributes:
        loss: before anything is changed.
    """

    def __init__(self, subject: Compressible) -> None:
        self._subject = subject
        self._bench = Bench(subject.model, Calibration([None], self._outputs, lambda loss, _: loss))
        self._before = self._bench.losses()
        self.loss = float(self._before[0])

    def _outputs(self, model: nn.Module, _: Any) -> Tensor:
        return torch.tensor(self._subject.held_out(model), dtype=torch.float64)

    def with_values(self, changed: Mapping[str, np.ndarray]) -> float:
        """Rise by the model with some tensors replaced."""
        return self._bench.rise(changed, self._before)

    def with_plan(self, plan: Plan) -> float:
        """Rise by the model that a plan was applied to, in values."""
        return self.of(apply_recipe(self._subject.model, plan, backend="fake").model)

    def of(self, model: nn.Module) -> float:
        """Rise by another model of that kind."""
        return (self._subject.held_out(model) - self.loss) / abs(self.loss)
