"""Attaches every tracker to one training, and hands each what it is to know."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import nn

from flowgrad.rules import RuleBook
from flowgrad.trackers import TrainingTracker
from flowgrad.trackers.base import Tracker
from flowgrad.trackers.batches import BatchTracker
from flowgrad.trackers.embedding import EmbeddingTracker
from flowgrad.trackers.flow import FlowTracker
from flowgrad.trackers.schedules import Schedule
from flowgrad.trackers.watching import told
from flowgrad.watching.discovery import sample_of, tables_of

_WAITING = 256
"""Number of losses that wait on an accelerator for the tracker that needs their numbers."""

_MOSTLY = 0.9
"""Share of the sampled steps at which a training loss has to be another quantity than the validation loss."""


class Settings(NamedTuple):
    """Settings of the trackers, as `watch` was given them."""

    name: str = "model"
    rules: RuleBook | None = None
    schedule: Schedule | None = None
    sample: int | None = None
    target_variance: float | None = None
    loss_at_least: float | None = None


class Attached:
    """The trackers of one training: one a table, one of the network, one of the losses, one of the batches."""

    def __init__(self, model: nn.Module, optimizers: tuple[Any, ...], settings: Settings) -> None:
        """Attach to a model; what cannot be watched is noted in `refused`.

        Args:
            model: that is trained.
            optimizers: those that are known, without their wrappers.
            settings: of the trackers.
        """
        given = optimizers or None
        self.refused: dict[str, str] = {}
        """Reason why a table, or the network, is not watched, by name."""
        self.tables: dict[str, EmbeddingTracker] = {}
        tables = tables_of(model)
        sample = sample_of(tables.values()) if settings.sample is None else settings.sample
        for name, layer in tables.items():
            try:
                self.tables[name] = EmbeddingTracker(layer, name, settings.rules, optimizer=given, sample=sample)
            except (TypeError, ValueError, RuntimeError) as error:
                self.refused[name] = told(error)
        for place, tracker in enumerate(self.tables.values()):
            tracker.share_probes(place, len(self.tables))
        self.network: FlowTracker | None = None
        try:
            self.network = FlowTracker(
                model,
                given,
                None,
                name=settings.name,
                rules=settings.rules,
                schedule=settings.schedule,
                loss_at_least=settings.loss_at_least,
            )
        except (TypeError, ValueError, RuntimeError) as error:
            self.refused[settings.name] = told(error)
        self.course = TrainingTracker(
            settings.name, settings.target_variance, rules=settings.rules, lower_bound=settings.loss_at_least
        )
        self.batches = BatchTracker(settings.name, settings.rules, optimizer=given)
        self._waiting: list[torch.Tensor] = []
        self._owners: dict[int, tuple[int, list[EmbeddingTracker]]] = {}
        """Number of tensors that each optimizer held, and the trackers of the tables among them."""

    def all(self) -> Iterator[Tracker]:
        """Yield the trackers, the network first."""
        if self.network is not None:
            yield self.network
        yield self.course
        yield self.batches
        yield from self.tables.values()

    def add_optimizer(self, optimizer: Any) -> None:
        """Watch a further optimizer, from the step on that it is about to take."""
        for tracker in (self.network, self.batches, *self.tables.values()):
            if tracker is not None:
                tracker.add_optimizer(optimizer)
        self._owners.clear()

    def stepped(self, optimizer: Any) -> None:
        """Note that an optimizer has stepped: its tables have moved."""
        for tracker in self._held_by(optimizer):
            tracker.step()

    def end_step(self, optimizers: tuple[Any, ...], loss: Any) -> None:
        """Note that all optimizers of a step have stepped, and its loss; tables that none holds stand still."""
        held = {id(one) for optimizer in optimizers for one in self._held_by(optimizer)}
        if len(held) < len(self.tables):
            for tracker in self.tables.values():
                if id(tracker) not in held:
                    tracker.step()
        if self.network is not None:
            self.network.step(loss)
        if loss is not None:
            self._note_loss(loss)

    def note_last(self, loss: Any) -> None:
        """Note the loss of the last step, which was told after it."""
        if loss is not None:
            if self.network is not None:
                self.network.note_loss(loss)
            self._note_loss(loss)

    def _held_by(self, optimizer: Any) -> list[EmbeddingTracker]:
        size = sum(len(group["params"]) for group in optimizer.param_groups)
        known = self._owners.get(id(optimizer))
        if known is None or known[0] != size:
            own = {id(one) for group in optimizer.param_groups for one in group["params"]}
            mine = [
                tracker for tracker in self.tables.values() if not own.isdisjoint(map(id, tracker.layer.parameters()))
            ]
            known = self._owners[id(optimizer)] = size, mine
        return known[1]

    def _note_loss(self, loss: Any) -> None:
        if not isinstance(loss, torch.Tensor):
            self.settle()
            self.course.step(loss)
            return
        self._waiting.append(loss)
        if len(self._waiting) >= _WAITING:
            self.settle()

    def settle(self) -> None:
        """Hand over the losses that wait on an accelerator."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            for loss in torch.stack(waiting).tolist():
                self.course.step(loss)

    def end_epoch(self, train: Any, validation: Any, metric: Any, *, batches: bool) -> None:
        """Note that an epoch is over, with the means of what was logged in it, and whether batches were."""
        self.settle()
        if self.network is not None:
            self.network.end_epoch(train, validation)
        if train is not None:
            fall = math.nan if self.network is None else self.network.late_rate_fall()
            self.course.end_epoch(train, validation, metric=metric, late_rate_fall=fall)
        for tracker in self.tables.values():
            tracker.end_epoch()
        if batches:
            self.batches.end_epoch()
            self.share()

    def share(self) -> None:
        """Tell the tracker of the network, by the batches, whether training and validation loss are one quantity, and
        whether outputs tell of their targets; and that of the losses, by the network, whether other weights stand in
        the model than after the last step.
        """
        if self.network is not None:
            told = self.batches.outputs_tell
            self.network.outputs_tell = 0.0 if math.isnan(told) else told
            self.network.losses_differ = float(self.batches.losses_differ > _MOSTLY)
            written = self.network.written_since()
            self.course.weights_rewritten = written["weights_rewritten"]
            self.course.rewritten_alike = written["rewritten_alike"]

    def detach(self) -> None:
        """Take all hooks off."""
        for tracker in self.all():
            tracker.detach()
