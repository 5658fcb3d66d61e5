"""What a loop feeds its model: which rows, with which targets, in which order, in which mode, and what the loss made of
them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flowgrad.gate import REFUSED, parts_objection
from flowgrad.gate.copies import multiple_of
from flowgrad.gate.tables import TOLERATED_SHARE
from flowgrad.measurements import Coverage, Measurements
from flowgrad.measures import batches
from flowgrad.rules import RuleBook
from flowgrad.trackers import states
from flowgrad.trackers.base import Tracker
from flowgrad.trackers.batches.course import Modes, Order, Steps, load_into, state_of
from flowgrad.trackers.batches.rows import SAMPLE, Hash, RowSample
from flowgrad.trackers.optimizers import Optimizers

_PARTS = ("train", "validation", "order", "modes", "steps")
_COUNTS = ("epochs", "batches", "validations", "targets_told", "seen_again", "multiple", "met_again")
_UNSEEN = {
    "targets": "never told; call step(inputs, targets) with what the loss compares the outputs with",
    "validation": "never told; call validate(inputs, targets) at every batch of the validation",
    "epochs": "never told; call end_epoch() after each",
    "model": "not given; give BatchTracker(model), and its mode is seen",
    "optimizer": "not given; give optimizer=, and steps that are taken beside the batches told are seen",
}
_SLACK = 2.0
"""How many times as often as training rows meet each other validation rows must meet them to be copies."""
_OFTEN = 0.5
"""Share of the rows of earlier epochs that must come again for the rows to be the same in each epoch."""


class BatchTracker(Tracker):
    """Follows the batches of a loop, whatever the model.

    Example::

        batches = BatchTracker(model, optimizer=optimizer)
        for x, y in loader:
            loss = criterion(model(x), y)
            ...
            optimizer.step()
            batches.step(x, y)
        for x, y in validation_loader:
            batches.validate(x, y)
        batches.end_epoch()
        print(batches.report())
    """

    KIND = "batches"
    MEASURES = batches.MEASURES

    def __init__(
        self,
        model: nn.Module | None = None,
        name: str = "batches",
        rules: RuleBook | None = None,
        *,
        optimizer: Any = None,
        sample: int = SAMPLE,
    ) -> None:
        """Start with no batch seen.

        Args:
            model: what is trained; its mode is read, and its parameters are counted. None: neither is known.
            name: what is trained; `layer` of the report.
            rules: rule book to judge by; the shipped one if None.
            optimizer: what steps; its steps are counted by a hook. None: they are not known.
            sample: distinct rows that are kept of training and of validation each.

        Raises:
            TypeError: `optimizer` is none that can be watched.
            ValueError: `sample` is below 2.
        """
        if sample < 2:
            raise ValueError(f"sample={sample}: at least two rows have to be kept; give sample={SAMPLE}")
        super().__init__(name, rules)
        self._model = model
        self._hash = Hash()
        self._train, self._validation = RowSample(sample), RowSample(sample)
        self._order, self._modes, self._steps = Order(), Modes(), Steps()
        self._epochs = self._batches = self._validations = self._targets_told = 0
        self._seen_again = math.nan
        self._multiple, self._met_again = 1, math.nan
        self._figures: tuple[tuple[int, ...], dict[str, float]] | None = None
        optimizers = Optimizers(optimizer, name)
        self._handles = optimizers.hook(lambda *_: None, self._stepped) if optimizers.known else []
        self._counts_steps = optimizers.known

    def _stepped(self, *_: Any) -> None:
        self._steps.taken += 1
        self._steps.since += 1

    def step(self, inputs: Any, targets: Tensor | None = None) -> None:
        """Note a batch that was trained on, in the mode in which the model is now.

        Args:
            inputs: what the model was given: a tensor of shape (rows, ...), or a mapping or a sequence of such.
            targets: what its outputs are compared with, shape (rows, ...); None where there are none.

        Raises:
            ValueError: no tensor in `inputs`, or tensors of different numbers of rows.
        """
        columns, targets = self._checked(inputs, targets)
        keys = self._hash(columns)
        self._batches += 1
        self._targets_told += targets is not None
        self._train.see(keys, columns, targets)
        self._order.see(keys, targets)
        self._steps.told += 1
        self._steps.since = 0
        if self._model is not None:
            self._modes.see(self._model, training=True)

    def validate(self, inputs: Any, targets: Tensor | None = None) -> None:
        """Note a batch that was validated on; arguments and errors are those of `step`."""
        columns, targets = self._checked(inputs, targets)
        self._validations += 1
        self._validation.see(self._hash(columns), columns, targets)
        if self._model is not None:
            self._modes.see(self._model, training=False)

    def end_epoch(self) -> None:
        """Note that an epoch, its validation included, is over."""
        if self._epochs and self._train.seen:
            known = self._train.times > self._train.lately
            again = self._train.lately > 0
            share = float((known & again).sum() / max(int(again.sum()), 1))
            self._seen_again = share if math.isnan(self._seen_again) else min(share, self._seen_again)
        if not self._epochs and self._train.seen:
            times = self._train.lately.numpy()
            self._multiple = multiple_of(times)
            self._met_again = 1.0 - float((times == 1).sum() / times.sum())
        self._epochs += 1
        self._train.turn()
        self._order.end_epoch()
        self._steps.end_epoch()

    def _checked(self, inputs: Any, targets: Tensor | None) -> tuple[dict[str, Tensor], Tensor | None]:
        columns = columns_of(inputs)
        lengths = {name: len(values) for name, values in columns.items() if values.ndim}
        if not lengths:
            raise ValueError(f"{self.name}: inputs hold no tensor with rows; give what the model was given")
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name} {count}" for name, count in lengths.items())
            raise ValueError(f"{self.name}: inputs have different numbers of rows ({shown}); give one entry a row")
        rows = next(iter(lengths.values()))
        if targets is not None and (not isinstance(targets, Tensor) or not targets.ndim or len(targets) != rows):
            shape = tuple(targets.shape) if isinstance(targets, Tensor) else type(targets).__name__
            raise ValueError(f"{self.name}: targets {shape} do not belong to {rows} rows; give one a row, or None")
        return {name: values for name, values in columns.items() if values.ndim}, targets

    def measurements(self) -> Measurements:
        """Rows, order, modes and what the samples of training and validation say of each other."""
        stamp = (self._batches, self._validations, self._epochs)
        if self._figures is None or self._figures[0] != stamp:
            self._figures = (stamp, self._measured())
        return Measurements(
            self.KIND,
            self.name,
            self._figures[1],
            step=self._batches,
            coverage=self._coverage(),
            framework="torch",
        )

    def _measured(self) -> dict[str, float]:
        nan = math.nan
        same = not self._seen_again < _OFTEN
        times = self._train.times.double() / max(self._epochs, 1)
        parameters = sum(p.numel() for p in self._model.parameters() if p.requires_grad) if self._model else nan
        distinct = self._train.distinct if self._batches else nan
        validated = self._validation.distinct if self._validations else nan
        return {
            "batches": float(self._batches),
            "epochs": float(self._epochs),
            "distinct_rows": distinct,
            "validation_rows": validated,
            "rows_ratio": distinct / validated if validated else nan,
            "parameters": float(parameters),
            "rows_again": self._seen_again,
            "times_an_epoch": float(times.median()) if self._epochs and len(times) and same else nan,
            **self._order.figures(),
            **self._modes.figures(),
            **(self._steps.figures() if self._counts_steps else Steps().figures()),
            **self._seen_rows(same),
        }

    def _seen_rows(self, same: bool) -> dict[str, float]:
        """Validation rows that training saw, among those whose hash is in reach of both samples."""
        unknown = {"validation_seen": math.nan, "validation_copied": math.nan, "validation_copies_open": math.nan}
        one, other = self._train, self._validation
        if not self._batches or not self._validations or not same:
            return unknown
        below = min(one.below, other.below)
        parts = [_table(part, part.keys < below) for part in (one, other)]
        if not all(parts) or len(parts[0]) != len(parts[1]) or not all(len(part[0]) for part in parts):
            return unknown
        found = parts_objection(*parts, before="training", after="validation")
        share = float(torch.isin(other.keys[other.keys < below], one.keys).double().mean())
        objected = found is not None and share > TOLERATED_SHARE
        copied = share > TOLERATED_SHARE and (self._multiple > 1 or (objected and found.level == REFUSED))
        beyond = share > TOLERATED_SHARE + _SLACK * self._met_again
        return {
            "validation_seen": share,
            "validation_copied": float(copied),
            "validation_copies_open": float(not copied and (objected or beyond)),
        }

    def _coverage(self) -> Coverage:
        """What was told, and what was not."""
        seen = {"batches": float(self._batches), "epochs": float(self._epochs), "rows": float(self._train.seen)}
        told = {
            "targets": self._targets_told,
            "validation": self._validations,
            "epochs": self._epochs,
            "model": self._model is not None,
            "optimizer": self._counts_steps,
        }
        unseen = {name: _UNSEEN[name] for name, count in told.items() if not count}
        if self._seen_again < _OFTEN:
            unseen["repeated_rows"] = (
                "rows differ from epoch to epoch, as augmented ones do; tell step() and validate() the rows as they "
                "are before that"
            )
        blind = "" if self._batches else "no batch was told; call step(inputs, targets) at every one"
        return Coverage(seen, unseen, blind)

    def detach(self) -> None:
        """Take the hooks off the optimizer. What was measured stays readable."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def state_dict(self) -> dict[str, Any]:
        """Everything noted so far, for a checkpoint: numbers, lists of numbers and tensors."""
        parts = {
            "train": self._train.state(),
            "validation": self._validation.state(),
            **{name: state_of(getattr(self, f"_{name}")) for name in ("order", "modes", "steps")},
        }
        return states.headed(self.KIND, {**parts, **{name: getattr(self, f"_{name}") for name in _COUNTS}})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken. Name, rule book, model and optimizer stay this tracker's own.

        Raises:
            ValueError: `state` is no state of such a tracker, or one of another version. Nothing has changed then.
        """
        states.check(state, self.name, self.KIND, (*_PARTS, *_COUNTS))
        self._train.load(state["train"])
        self._validation.load(state["validation"])
        for name in ("order", "modes", "steps"):
            load_into(getattr(self, f"_{name}"), state[name])
        for name in _COUNTS:
            setattr(self, f"_{name}", state[name])
        self._figures = None


def columns_of(inputs: Any) -> dict[str, Tensor]:
    """Tensors in what a model is given, by name or by place."""
    if isinstance(inputs, Tensor):
        return {"inputs": inputs}
    if isinstance(inputs, Mapping):
        return {str(name): values for name, values in inputs.items() if isinstance(values, Tensor)}
    if isinstance(inputs, Sequence) and not isinstance(inputs, str):
        return {str(place): values for place, values in enumerate(inputs) if isinstance(values, Tensor)}
    return {}


def _table(part: RowSample, chosen: Tensor) -> list[np.ndarray]:
    """Columns of some of the rows kept, the targets last where they are known; none where rows differ in width."""
    values, targets = part.rows("values"), part.rows("targets")
    if values is None:
        return []
    whole = values if targets is None else torch.cat([values, targets], 1)
    return list(whole[chosen].T.numpy())
