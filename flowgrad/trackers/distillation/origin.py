"""Says whether the teacher, as it began to teach, was as initialisers leave a model."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from flowgrad.measures import distillation as measures
from flowgrad.trackers.distillation.content import part_of
from flowgrad.trackers.distillation.layers import Layer
from flowgrad.trackers.flow.freshness import freshness
from flowgrad.trackers.flow.parameters import Watched


class Origin:
    """Reads the teacher's weights and running statistics once."""

    def __init__(self, teacher: nn.Module, layers: Sequence[Layer]) -> None:
        self._teacher, self._layers = teacher, layers
        self.drawn = self.drawn_last = self.structure = self.statistics = math.nan

    @torch.no_grad()
    def read(self) -> None:
        """Read the weights as they are now."""
        watched = [
            Watched(f"{path}.{own}" if path else own, parameter, module)
            for path, module in self._teacher.named_modules()
            for own, parameter in module._parameters.items()
            if parameter is not None and _is_read(parameter)
        ]
        self.drawn = self.drawn_last = self.structure = math.nan
        self.statistics = _as_made(self._teacher)
        if not watched:
            return
        fresh = freshness(watched)
        sizes = np.array([one.parameter.numel() for one in watched], dtype=float)
        judged = ~np.isnan(fresh)
        if judged.any():
            self.drawn = float((fresh * sizes)[judged].sum() / sizes[judged].sum())
            if self.statistics < 1:  # a module that was called in training was trained
                self.drawn = min(self.drawn, 1 - 1e-6)
        last = {id(weight) for weight in self._layers[-1].weights}
        ends = [value for one, value in zip(watched, fresh, strict=True) if id(one.parameter) in last]
        self.drawn_last = float(min(ends)) if ends else math.nan
        if self.drawn == 1:
            found = [measures.structure(part_of(layer).double().cpu().numpy()) for layer in self._layers]
            self.structure = max((one for one in found if not math.isnan(one)), default=math.nan)

    def figures(self) -> dict[str, float]:
        """Figures `teacher_drawn`, `teacher_structure` and `teacher_statistics_drawn`, by name."""
        return {
            "teacher_drawn": self.drawn,
            "teacher_drawn_last": self.drawn_last,
            "teacher_structure": self.structure,
            "teacher_statistics_drawn": self.statistics,
        }

    def state_dict(self) -> dict[str, float]:
        """State: the figures that were read."""
        return {name: getattr(self, name) for name in ("drawn", "drawn_last", "structure", "statistics")}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a state that `state_dict` gave."""
        for name, value in state.items():
            setattr(self, name, value)


def _is_read(parameter: torch.Tensor) -> bool:
    return parameter.is_floating_point() and parameter.numel() > 0 and parameter.device.type != "meta"


def _as_made(model: nn.Module) -> float:
    """Share of running statistics, in [0, 1], that are those of a module that was never called in training; NaN of a
    model without any.
    """
    found = []
    for module in model.modules():
        mean, variance = module._buffers.get("running_mean"), module._buffers.get("running_var")
        if mean is not None and variance is not None and mean.device.type != "meta":
            found.append(float((mean == 0).all() and (variance == 1).all()))
    return sum(found) / len(found) if found else math.nan
