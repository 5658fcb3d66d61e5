"""Intervenes, on request: it damps the gradients of rows that circle, while training runs."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from flowgrad.trackers.watching import Failed, raising

COLUMNS = ("step", "factor", "count", "rows")


class Intervention(NamedTuple):
    """One change of what is damped."""

    step: int
    """Number of optimizer steps taken when it was made."""
    factor: float
    """Factor of the rows' gradients from here on; 1 lets them go."""
    rows: tuple[int, ...]
    """Ids of the rows, ascending."""


class GradientGuard:
    """Multiplies the gradients of chosen rows of one table by a factor, and keeps a log of it.

    Optimizers that divide by the size of past gradients (Adam, Adagrad) feel a damped gradient only until their
    estimate of that size has followed.
    """

    def __init__(
        self,
        layer: nn.Embedding | nn.EmbeddingBag,
        factor: float,
        log: Path | None = None,
        failed: Failed = raising,
    ) -> None:
        """Put the hook on the table's gradient; nothing is damped yet.

        Args:
            layer: the table.
            factor: of damped rows, 0 <= factor < 1.
            log: CSV file that every intervention is appended to as it is made; its folder must exist.
            failed: called with errors of the backward pass; the gradient then is left as it is.

        Raises:
            ValueError: `factor` is out of range, the table takes no gradient, or `log` stands in no folder.
        """
        if not 0 <= factor < 1:
            raise ValueError(f"factor={factor} must be at least 0 and less than 1")
        if not layer.weight.requires_grad:
            raise ValueError("the table takes no gradient that could be damped")
        if log is not None and not log.absolute().parent.is_dir():
            raise ValueError(f"log={log}: there is no folder {log.absolute().parent}; make it first")
        self.interventions: list[Intervention] = []
        """Interventions so far, in order."""
        self._factor, self._log, self._failed = factor, log, failed
        self._damped: frozenset[int] = frozenset()
        self._scale = torch.ones(len(layer.weight), dtype=layer.weight.dtype, device=layer.weight.device)
        self._hook = layer.weight.register_hook(self._scaled)

    def damp(self, rows: list[int], step: int) -> None:
        """Damp exactly these rows from now on; those damped before and not among them are let go."""
        wanted = frozenset(rows)
        for factor, changed in ((1.0, self._damped - wanted), (self._factor, wanted - self._damped)):
            if changed:
                ids = tuple(sorted(changed))
                self._scale[torch.tensor(ids, device=self._scale.device)] = factor
                self._note(Intervention(step, factor, ids))
        self._damped = wanted

    def state_dict(self) -> list[dict[str, Any]]:
        """State: interventions so far, as numbers and lists."""
        return [{"step": done.step, "factor": done.factor, "rows": list(done.rows)} for done in self.interventions]

    def load_state_dict(self, state: Iterable[dict[str, Any]]) -> None:
        """Go on from a state that `state_dict` gave. The log file already holds these interventions, and is not written
        to.
        """
        self.interventions = [Intervention(done["step"], done["factor"], tuple(done["rows"])) for done in state]
        self._scale.fill_(1.0)
        for done in self.interventions:
            self._scale[torch.tensor(done.rows, device=self._scale.device)] = done.factor
        self._damped = frozenset((self._scale != 1).nonzero().flatten().tolist())

    def remove(self) -> None:
        """Take the hook off."""
        self._hook.remove()

    def _scaled(self, gradient: torch.Tensor) -> torch.Tensor | None:
        if not self._damped:
            return None  # the gradient as it is
        try:
            return self._scaling(gradient)
        except Exception as error:
            self._failed("a backward pass", error)
            return None

    def _scaling(self, gradient: torch.Tensor) -> torch.Tensor:
        if not gradient.is_sparse:
            return gradient * self._scale.to(gradient.dtype)[:, None]
        ids, values = gradient._indices(), gradient._values()
        scaled = values * self._scale[ids[0]].to(values.dtype)[:, None]
        return torch.sparse_coo_tensor(ids, scaled, gradient.shape, check_invariants=False)

    def _note(self, intervention: Intervention) -> None:
        self.interventions.append(intervention)
        if self._log is None:
            return
        new = not self._log.exists()
        with self._log.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(COLUMNS)
            ids = " ".join(map(str, intervention.rows))
            writer.writerow([intervention.step, intervention.factor, len(intervention.rows), ids])
