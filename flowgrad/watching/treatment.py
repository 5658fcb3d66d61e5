"""Applies to a training that runs what its findings ask for, as far as their rules call it safe, and keeps a log."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from flowgrad.report import Treated
from flowgrad.rules import SEVERITIES, Finding, InTraining

_LEAST = SEVERITIES.index("medium")
"""Severity below which a finding changes nothing."""
_SHOWN = 8
"""Number of rows that are named in the log."""


class Treatment:
    """Changes of one training, each made once, from the step on at which a finding is told.

    A rate is changed for the length of each step alone: between steps a group holds the rate that the loop or its
    scheduler gave it, so that no schedule undoes the change, or is disturbed by it.
    """

    def __init__(
        self, model: nn.Module, rows_of: Callable[[Finding], tuple[torch.Tensor, Sequence[int]] | None]
    ) -> None:
        """Begin with nothing changed.

        Args:
            model: that is trained.
            rows_of: gives the weight of the table that a finding is about, and the rows that it names; None where it is
                about no table.
        """
        self._model, self._rows_of = model, rows_of
        self.done: list[Treated] = []
        """Changes so far, in order."""
        self.should_stop = False
        """Whether the training is to end now."""
        self._factor = 1.0
        self._clip: float | None = None
        self._excluded: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        """Weight and rows, by the name of their table."""
        self._rates: dict[int, list[tuple[dict[str, Any], Any, Any]]] = {}
        """Groups of the optimizers that are in a step now, with the rate before and during it."""
        self._best, self._best_step = math.inf, 0
        self._weights: dict[str, Any] | None = None
        self._since = ""

    # What the watch calls

    def treat(self, finding: Finding, step: int, rates: Sequence[Any], *, anneals: bool = False) -> bool:
        """Make the changes that a finding asks for, where its cause is certain, its rule calls them safe, and validated
        runs do not speak against its fix.

        Args:
            finding: told at this step.
            step: number of steps taken.
            rates: learning rates of all groups, as the loop set them.
            anneals: whether an optimizer shortens its steps by itself, as Adagrad does: a rate that is too high at its
                start is none later on, and is left alone.

        Returns:
            Whether all is said of it; else it asks for the end of a training for what a rate did that has been changed
            since, and may be told again.
        """
        wanted = finding.in_training
        if wanted is None or finding.candidates or finding.follows or finding.confidence.refutes:
            return True
        if SEVERITIES.index(finding.severity) < _LEAST:
            return True
        if wanted.stop and any(one.kind == "learning_rate" and one.step >= self._best_step for one in self.done):
            return False
        for kind in wanted.kinds:
            if kind == "learning_rate" and anneals:
                continue
            if not any(one.kind == kind and (kind != "exclude" or one.where == finding.subject) for one in self.done):
                told = self._make(kind, wanted, finding, rates)
                if told is not None:
                    self.done.append(Treated(step, kind, finding.subject, *told, finding.type))
        return True

    def _make(self, kind: str, wanted: InTraining, finding: Finding, rates: Sequence[Any]) -> tuple[str, str] | None:
        """Make one change; give what was before and what is now."""
        if kind == "learning_rate":
            assert wanted.learning_rate is not None
            self._factor = wanted.learning_rate
            return _told(rates), _told([rate * self._factor for rate in rates if rate is not None])
        if kind == "clip_norm":
            self._clip = wanted.clip_norm
            return "none", f"{self._clip:g}"
        if kind == "stop":
            self.should_stop = True
            return "training", f"weights of {self._since}" if self._since else "stopped"
        return self._exclude(finding)

    def _exclude(self, finding: Finding) -> tuple[str, str] | None:
        found = self._rows_of(finding)
        if found is None or not len(found[1]):
            return None
        weight, rows = found
        self._excluded[finding.subject] = weight, torch.tensor(list(rows), device=weight.device)
        shown = " ".join(map(str, rows[:_SHOWN])) + (" ..." if len(rows) > _SHOWN else "")
        return "trained", f"{len(rows)} rows: {shown}"

    def note_epoch(self, epoch: int, step: int, validation: float | None) -> None:
        """Keep the weights of an epoch, so many steps after the start, whose validation loss is the lowest so far."""
        if self.should_stop or validation is None or not validation < self._best:
            return
        self._best, self._best_step = validation, step
        self._since = f"epoch {epoch}, val_loss {validation:.4g}"
        self._weights = {
            name: held.detach().clone() if isinstance(held, torch.Tensor) else copy.deepcopy(held)
            for name, held in self._model.state_dict().items()
        }

    def before(self, optimizer: Any) -> None:
        """Change what the step that an optimizer is about to take uses."""
        self.after(optimizer)  # a step that raised has left its rates
        for weight, rows in self._excluded.values():
            if weight.grad is not None:
                weight.grad = _without(weight.grad, rows)
        if self._clip is not None:
            scale = getattr(optimizer, "grad_scale", None)  # a fused optimizer divides by it itself
            _clip([one for group in optimizer.param_groups for one in group["params"]], self._clip, scale)
        self._scale(optimizer)

    @contextmanager
    def in_force(self, optimizers: Sequence[Any]) -> Iterator[None]:
        """Have groups hold the rates that steps are taken with, for somebody who reads them between steps."""
        between = [one for one in optimizers if id(one) not in self._rates]
        for one in between:
            self._scale(one)
        try:
            yield
        finally:
            for one in between:
                self.after(one)

    def _scale(self, optimizer: Any) -> None:
        if self._factor == 1:
            return
        groups = [group for group in optimizer.param_groups if group.get("lr") is not None]
        self._rates[id(optimizer)] = [(one, one["lr"], one["lr"] * self._factor) for one in groups]
        for group, _, during in self._rates[id(optimizer)]:
            group["lr"] = during

    def after(self, optimizer: Any) -> None:
        """Give groups the rates back that they had before the step; one that was written to meanwhile keeps that."""
        for group, before, during in self._rates.pop(id(optimizer), ()):
            if group["lr"] is during:
                group["lr"] = before

    def end(self) -> None:
        """Go back to the weights of the best epoch, where training was to stop."""
        if self.should_stop and self._weights is not None:
            self._model.load_state_dict(self._weights)
            self._weights = None

    # A checkpoint

    def state_dict(self) -> dict[str, Any]:
        """State, as numbers, texts and lists: what was changed, and the best loss, without its weights."""
        return {
            "done": [[*one.values()] for one in map(_record, self.done)],
            "factor": self._factor,
            "clip": self._clip,
            "excluded": {name: rows.tolist() for name, (_, rows) in self._excluded.items()},
            "stop": self.should_stop,
            "best": [self._best, self._best_step],
        }

    def load_state_dict(self, state: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> None:
        """Go on from a state.

        Args:
            state: that `state_dict` gave.
            weights: weight of each table by its name.
        """
        self.done = [Treated(*one) for one in state["done"]]
        self._factor, self._clip = state["factor"], state["clip"]
        self._excluded = {
            name: (weights[name], torch.tensor(rows, device=weights[name].device))
            for name, rows in state["excluded"].items()
        }
        self.should_stop, (self._best, self._best_step) = state["stop"], state["best"]


def _record(one: Treated) -> dict[str, Any]:
    return dict(vars(one))


def _told(rates: Sequence[Any]) -> str:
    """The rates, each once."""
    return " ".join(dict.fromkeys(f"{float(rate):g}" for rate in rates if rate is not None))


def _without(gradient: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The gradient with zeros in these rows."""
    if not gradient.is_sparse:
        gradient[rows] = 0
        return gradient
    ids, values = gradient._indices(), gradient._values()
    values = values.masked_fill(torch.isin(ids[0], rows)[:, None], 0)
    return torch.sparse_coo_tensor(
        ids, values, gradient.shape, is_coalesced=gradient.is_coalesced(), check_invariants=False
    )


def _clip(parameters: Sequence[torch.Tensor], most: float, scale: Any) -> None:
    """Scale the gradients down to a norm of `most`, all together, as `torch.nn.utils.clip_grad_norm_` does; gradients
    of tables may hold the rows of the batch alone.
    """
    held = []
    for one in parameters:
        if one.grad is not None and one.grad.is_sparse:
            one.grad = one.grad.coalesce()  # a row may stand in it twice
        if one.grad is not None:
            held.append(one.grad._values() if one.grad.is_sparse else one.grad)
    if not held:
        return
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(one).to(held[0].device) for one in held]))
    norm = norm / scale if scale is not None else norm
    factor = (most / (norm + 1e-6)).clamp(max=1.0)
    for one in held:
        one.mul_(factor.to(one.device))
