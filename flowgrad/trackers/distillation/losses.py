"""Keeps the losses that the tracker was given, and reads their graphs."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch

from flowgrad.measures import distillation as measures
from flowgrad.trackers.distillation.motion import LAST
from flowgrad.trackers.graph import made_of, reaches

LOSSES = ("loss", "distillation_loss")
FACTS = ("taught", "softmax", "similarity")


class Losses:
    """Keeps losses on their device until they are read."""

    def __init__(self) -> None:
        self.told: dict[str, list[torch.Tensor]] = {kind: [] for kind in LOSSES}
        """Losses given, one a sampled step, by kind."""
        self.taught = self.softmax = self.similarity = False
        """Facts that graphs have shown: see `teacher_taught`, `loss_softmax`, `loss_similarity`."""

    def note(self, told: Mapping[str, float | torch.Tensor | None]) -> None:
        """Keep the losses of a sampled step."""
        for kind, value in told.items():
            if value is not None:
                self.told[kind].append(torch.as_tensor(value, dtype=torch.float32).detach().clone().reshape(()))

    def read_graphs(self, whole: Any, part: Any, asking: Collection[int]) -> None:
        """Note which functions the graph of the distillation loss is made of, and whether it alone leads to the
        teacher.

        Args:
            whole: where the graph of the whole loss begins; None for one without a graph.
            part: where that of the distillation loss begins.
            asking: identities of the teacher's own weights that take gradients.
        """
        if part is None:
            return
        self.softmax, self.similarity = made_of(part)
        self.taught = bool(asking) and whole is not None and reaches(part, asking) and not reaches(whole, asking, part)

    def figures(self) -> dict[str, float]:
        """Scalars of the losses, by their names in `MEASURES`."""
        told = {
            kind: torch.stack([value.cpu() for value in values]).double().numpy() if values else np.empty(0)
            for kind, values in self.told.items()
        }
        part = told["distillation_loss"]
        finite = part[np.isfinite(part)]
        trained = told["loss"] if len(told["loss"]) else part
        return {
            **{kind: float(np.median(values[-LAST:])) if len(values) else math.nan for kind, values in told.items()},
            "least_distillation_loss": float(finite.min()) if len(finite) else math.nan,
            "distillation_loss_most": float(abs(finite).max()) if len(finite) else math.nan,
            "distillation_loss_size": float(abs(finite[0])) if len(finite) else math.nan,
            "nonfinite_losses": float(len(part) - len(finite)) if len(part) else math.nan,
            **measures.loss_course(trained),
            "loss_softmax": float(self.softmax),
            "loss_similarity": float(self.similarity),
        }

    def state_dict(self) -> dict[str, list[torch.Tensor]]:
        """State: the losses; facts of graphs are kept elsewhere."""
        return {kind: [value.clone() for value in values] for kind, values in self.told.items()}

    def load_state_dict(self, state: Mapping[str, list[torch.Tensor]]) -> None:
        """Go on from a state that `state_dict` gave."""
        self.told = {kind: [value.clone() for value in state[kind]] for kind in LOSSES}
