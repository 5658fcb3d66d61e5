"""Follows the batches of a loop: their rows, targets and order, and the loss computed on them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from threading import get_ident
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowgrad.gate import REFUSED, parts_objection
from flowgrad.gate.copies import multiple_of
from flowgrad.gate.tables import TOLERATED_SHARE
from flowgrad.measurements import Coverage, Measurements
from flowgrad.measures import batches
from flowgrad.measures.loss_audit import LossAudit
from flowgrad.measures.row_figures import TARGET_MEASURES, row_figures
from flowgrad.measures.sentinels import SENTINEL_MEASURES, sentinel_figures
from flowgrad.measures.sequences import SEQUENCE_MEASURES, sequence_figures
from flowgrad.rules import RuleBook
from flowgrad.trackers import states
from flowgrad.trackers.base import Tracker
from flowgrad.trackers.batches import form
from flowgrad.trackers.batches.columns import (
    are_classes,
    are_sequences,
    checked,
    ids_of,
    ids_only,
    numbers_of,
    numbers_only,
    numbers_rows,
)
from flowgrad.trackers.batches.course import Order, Steps, load_into, state_of
from flowgrad.trackers.batches.histories import Histories
from flowgrad.trackers.batches.ids import Ids
from flowgrad.trackers.batches.levels import Levels
from flowgrad.trackers.batches.passages import Passages
from flowgrad.trackers.batches.recency import Recency, seen_flags
from flowgrad.trackers.batches.repeats import Repeats
from flowgrad.trackers.batches.rows import SAMPLE, Hash, RowSample
from flowgrad.trackers.optimizers import Optimizers
from flowgrad.trackers.watching import OPTIMIZER, ChangedError, entry

_COUNTS = (
    "sequences",
    "ids_only",
    "numbers_only",
    "classes",
    "losses_told",
    "epochs",
    "batches",
    "validations",
    "targets_told",
    "seen_again",
    "multiple",
    "met_again",
)
_UNSEEN = {
    "targets": "never told; call step(inputs, targets) with what the loss compares the outputs with",
    "losses": "never told; call step(inputs, targets, outputs=outputs, loss=loss), and the loss is recomputed",
    "validation": "never told; call validate(inputs, targets) at every batch of the validation",
    "epochs": "never told; call end_epoch() after each",
    "optimizer": "not given; give optimizer=, and steps that are taken beside the batches told are seen",
}
_FIRST_LOOKS, _LOOK = 8, 25
"""Number of first steps whose loss is recomputed, and period of those after them."""
_SLACK = 2.0
"""Factor by which validation rows must meet training rows more often than training rows meet each other, to be
copies.
"""
_NEXT = 0.5
"""Share of the targets that must be rows themselves for rows to be moments; the last row of a batch has none."""
_OFTEN = 0.5
"""Share of the rows of earlier epochs that must come again for the rows to be the same in each epoch."""


class BatchTracker(Tracker):
    """Follows the batches of a loop, whatever the model.

    Example::

        batches = BatchTracker(optimizer=optimizer)
        for x, y in loader:
            outputs = model(x)
            loss = criterion(outputs, y)
            ...
            optimizer.step()
            batches.step(x, y, outputs=outputs, loss=loss)
        for x, y in validation_loader:
            batches.validate(x, y)
        batches.end_epoch()
        print(batches.report())
    """

    KIND = "batches"
    UNIT = "batches"
    MEASURES = batches.MEASURES

    def __init__(
        self,
        name: str = "batches",
        rules: RuleBook | None = None,
        *,
        optimizer: Any = None,
        sizes: Mapping[str, int] | None = None,
        sample: int = SAMPLE,
    ) -> None:
        """Start with no batch seen.

        Args:
            name: what is trained; `layer` of the report.
            rules: rule book to judge by; the shipped one if None.
            optimizer: the loop's optimizer; its steps are counted by a hook. None: they are not known.
            sizes: number of rows of the table that a column of ids indexes, by the column's name: that of the input,
                with `[k]` for the k-th of several columns. None: not known.
            sample: number of distinct rows that are kept of training and of validation each.

        Raises:
            TypeError: `optimizer` cannot be watched.
            ValueError: `sample` is below 2.
        """
        if sample < 2:
            raise ValueError(f"sample={sample}: at least two rows have to be kept; give sample={SAMPLE}")
        super().__init__(name, rules)
        self._hash = Hash()
        self._train, self._validation = RowSample(sample), RowSample(sample)
        self._passages = Passages(sample)
        self._levels, self._validation_levels = Levels(), Levels()
        optimizers = self._optimizers = Optimizers(optimizer, name)
        maximised = any(group.get("maximize") for group in optimizers.groups())
        self._audit, self._ids = LossAudit(maximised=maximised), Ids(sizes)
        self._validated = LossAudit()
        """Audit of the validation losses."""
        self._ids_only = self._numbers_only = self._classes = self._sequences = True
        self._losses_told = self._val_losses = 0
        self._order, self._steps, self._repeats, self._recency = Order(), Steps(), Repeats(), Recency()
        self._histories = Histories()
        self._epochs = self._batches = self._validations = self._targets_told = 0
        self._seen_again = math.nan
        self._multiple, self._met_again = 1, math.nan
        self._figures: tuple[tuple[int, ...], dict[str, float]] | None = None
        self._handles = optimizers.hook(lambda *_: None, self._stepped) if optimizers.known else []
        self._counts_steps = optimizers.known

    def add_optimizer(self, optimizer: Any) -> None:
        """Count the steps of a further optimizer, too; one that is known is passed over.

        Raises:
            TypeError: it has no step hooks.
        """
        fresh = self._optimizers.add(optimizer, self.name)
        self._handles += self._optimizers.hook(lambda *_: None, self._stepped, fresh)
        self._counts_steps = self._optimizers.known

    def _count(self) -> int:
        return self._batches

    def _begun(self) -> bool:
        return self._batches + self._validations > 0

    @entry(OPTIMIZER)
    def _stepped(self, *_: Any) -> None:
        self._steps.taken += 1
        self._steps.since += 1

    def step(
        self, inputs: Any, targets: Tensor | None = None, *, outputs: Tensor | None = None, loss: Any = None
    ) -> None:
        """Note a batch that was trained on.

        Args:
            inputs: inputs of the model: a tensor of shape (rows, ...), or a mapping or a sequence of such.
            targets: targets that its outputs are compared with, shape (rows, ...); None where there are none.
            outputs: as they were given to the loss; None: the loss is not recomputed.
            loss: the loss of the batch: a number, or a tensor of one.

        Raises:
            ValueError: no tensor in `inputs`, or tensors of different numbers of rows, in the first batch. In a later
                one, that ends the watching (see `Tracker`).
        """
        if self._halt is not None:
            self._take_off_late()
            return
        try:
            if (thread := get_ident()) != self._thread:
                self._turn(thread)
            self._step(inputs, targets, outputs, loss)
        except Exception as error:
            self._failed("step()", self._refusal(error))

    def _step(self, inputs: Any, targets: Tensor | None, outputs: Tensor | None, loss: Any) -> None:
        columns, targets = checked(self.name, inputs, targets)
        if not _rows(columns):
            self._batches += 1
            self._steps.batch()
            return  # an empty batch shows no row
        parts = self._hash.of_parts(columns)
        keys = self._hash.joined(parts)
        self._batches += 1
        self._sequences = self._sequences and are_sequences(columns, targets)
        self._ids_only = self._ids_only and ids_only(columns, targets)
        self._targets_told += targets is not None
        told = None if numbers_rows(targets) else targets
        self._numbers_only = self._numbers_only and numbers_only(columns)
        self._classes = self._classes and targets is not None and are_classes(targets)
        self._train.see(keys, columns, told)
        self._passages.see(keys, columns, training=True)
        self._levels.see(columns)
        self._order.see(keys, told)
        self._repeats.see(parts, columns, told)
        self._histories.see(keys, columns, told)
        self._steps.batch()
        self._see_ids(columns, told, training=True)
        if outputs is not None and loss is not None:
            self._losses_told += 1
            if self._losses_told <= _FIRST_LOOKS or self._losses_told % _LOOK == 0:
                self._audit.see(outputs, targets, loss, *_read_by_audit(columns))

    @entry("validate()")
    def validate(
        self, inputs: Any, targets: Tensor | None = None, *, outputs: Tensor | None = None, loss: Any = None
    ) -> None:
        """Note a batch that was validated on; arguments and errors are those of `step`. With `outputs` and `loss` it is
        told whether the training loss is the same quantity (`losses_differ`).
        """
        columns, targets = checked(self.name, inputs, targets)
        if not _rows(columns):
            return
        self._validations += 1
        told = None if numbers_rows(targets) else targets
        keys = self._hash(columns)
        self._validation.see(keys, columns, told)
        self._passages.see(keys, columns, training=False)
        self._validation_levels.see(columns)
        self._see_ids(columns, told, training=False)
        if outputs is not None and loss is not None:
            self._val_losses += 1
            if self._val_losses <= _FIRST_LOOKS or self._val_losses % _LOOK == 0:
                self._validated.see(outputs, targets, loss, *_read_by_audit(columns))

    @property
    def losses_differ(self) -> float:
        """Share of the sampled steps at which the training loss is another quantity than the validation loss; NaN where
        what the latter is could not be told.
        """
        return self._audit.differs_from(self._validated)

    @property
    def outputs_tell(self) -> float:
        """Standard errors by which outputs agree with their own rows' targets beyond chance; NaN where not known."""
        return self._audit.figures()["outputs_tell_z"]

    def give_up(self, error: Exception) -> None:
        """Stop watching for the fault of a batch that was told while other things are watched, which go on."""
        self._failed("a batch", ChangedError(str(error)))

    @entry("end_epoch()")
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
            self._met_again = 1.0 - float((times == self._multiple).sum() * self._multiple / times.sum())
        self._epochs += 1
        self._recency.end_epoch(self._train, self._validation)
        self._train.turn()
        self._validation.turn()
        self._levels.end_epoch()
        self._validation_levels.end_epoch()
        self._order.end_epoch()
        self._repeats.end_epoch()
        self._histories.end_epoch()
        self._ids.end_epoch()
        self._steps.end_epoch()

    def _see_ids(self, columns: Mapping[str, Tensor], targets: Tensor | None, *, training: bool) -> None:
        found = ids_of(columns, targets)
        if found:
            of_rows = targets if targets is not None and targets.ndim == 1 else None
            self._ids.see(found, of_rows, training=training)

    def _measure(self) -> Measurements:
        """Compute figures of rows and order, and of the samples of training and validation compared."""
        stamp = (self._batches, self._validations, self._epochs)
        if self._figures is None or self._figures[0] != stamp:
            self._figures = (stamp, self._measured())
        return Measurements(
            self.KIND,
            self.name,
            self._figures[1],
            {"rows": self._ids.table()},
            step=self._batches,
            coverage=self._coverage(),
            framework="torch",
        )

    def _measured(self) -> dict[str, float]:
        nan = math.nan
        same = not self._seen_again < _OFTEN
        times = self._train.times.double() / max(self._epochs, 1)
        distinct = self._train.distinct if self._batches else nan
        validated = self._validation.distinct if self._validations else nan
        left = self._recency.figures(self._train, self._validation)
        return {
            "batches": float(self._batches),
            "epochs": float(self._epochs),
            "distinct_rows": distinct,
            "validation_rows": validated,
            "rows_ratio": distinct / validated if validated else nan,
            "rows_again": self._seen_again,
            "times_an_epoch": float(times.median()) if self._epochs and len(times) and same else nan,
            **self._order.figures(),
            **self._repeats.figures(),
            **self._histories.figures(),
            **(self._steps.figures() if self._counts_steps else Steps().figures()),
            **self._seen_rows(same, left),
            **left,
            **self._passages.figures(),
            **self._levels.figures("input"),
            **self._validation_levels.figures("validation_input"),
            **self._row_figures(),
            **self._sentinel_figures(),
            **self._sequence_figures(),
            **self._ids.figures(),
            **self._audit.figures(),
        }

    def _row_figures(self) -> dict[str, float]:
        """Figures that say whether targets belong to their rows, where rows are numbers and targets are one a row."""
        unknown = {measure.name: math.nan for measure in TARGET_MEASURES}
        parts = [numbers_of(part) for part in (self._train, self._validation)]
        if not self._numbers_only or any(part is None for part in parts):
            return unknown
        (x, y), (new_x, new_y) = parts  # type: ignore[misc]
        found = row_figures(x, y, new_x, new_y, self._classes)
        return {name: float(found[name]) for name in unknown}

    def _sentinel_figures(self) -> dict[str, float]:
        """Figures on numbers that stand for missing values among the inputs."""
        values = self._train.rows("values")
        if values is None or not self._batches:
            return {measure.name: math.nan for measure in SENTINEL_MEASURES}
        return sentinel_figures(values.numpy(), whole=self._numbers_only)

    def _seen_rows(self, same: bool, left: Mapping[str, float]) -> dict[str, float]:
        """Figures on validation rows that training saw, among those whose hash is in reach of both samples. Rows of ids
        alone are judged by the ids' own figures. Rows that left training before, or that came to it later, are none.
        """
        unknown = {"validation_seen": math.nan, "validation_copied": math.nan, "validation_copies_open": math.nan}
        one, other = self._train, self._validation
        if not self._batches or not self._validations or not same or self._ids_only:
            return unknown
        below = min(one.below, other.below)
        parts = [_table(part, part.keys < below) for part in (one, other)]
        if not all(parts) or len(parts[0]) != len(parts[1]) or not all(len(part[0]) for part in parts):
            return unknown
        found = parts_objection(*parts, before="training", after="validation")
        share = _seen_share(one, other, below)
        # Tokens of a sequence follow from each other: that few rows agree in half of them only is no sign of copies.
        level = "" if found is None or share <= TOLERATED_SHARE or self._sequences else found.level
        beyond = share > TOLERATED_SHARE + _SLACK * self._met_again
        if left["validation_rows_left"] == 1 or left["validation_at_once"] + left["validation_left"] <= TOLERATED_SHARE:
            level, beyond = "", False
        copied = level == REFUSED or (beyond and self._multiple > 1)
        return {
            "validation_seen": share,
            "validation_copied": float(copied),
            "validation_copies_open": float(not copied and (level != "" or beyond)),
        }

    def _sequence_figures(self) -> dict[str, float]:
        """Figures that say whether sequences depend on their targets."""
        values, targets = self._train.rows("values"), self._train.rows("targets")
        unknown = {measure.name: math.nan for measure in SEQUENCE_MEASURES}
        if not self._batches or not self._sequences or values is None or targets is None:
            return unknown
        if _are_moments(self._train, self._hash, targets):
            return unknown  # rows are no sequences: what follows a token stands in another row
        return sequence_figures(values.numpy(), targets.numpy())

    def _coverage(self) -> Coverage:
        """The coverage of a report: what `step` and `validate` were given, and what they were not."""
        seen = {"batches": float(self._batches), "epochs": float(self._epochs), "rows": float(self._train.seen)}
        told = {
            "targets": self._targets_told,
            "losses": self._losses_told,
            "validation": self._validations,
            "epochs": self._epochs,
            "optimizer": self._counts_steps,
        }
        unseen = {name: _UNSEEN[name] for name, count in told.items() if not count}
        if self._seen_again < _OFTEN:
            unseen["repeated_rows"] = (
                "rows differ from epoch to epoch, as augmented ones do; tell step() and validate() the rows as they "
                "are before that"
            )
        if self._losses_told and not self._audit.figures()["loss_looks"]:
            unseen["loss"] = "what was told as outputs and loss could not be recomputed as any loss that is known"
        blind = "" if self._batches else "no batch was told; call step(inputs, targets) at every one"
        return Coverage(seen, unseen, blind)

    def detach(self) -> None:
        """Take the hooks off the optimizer. Measurements stay readable."""
        self._take_off(self._handles)
        self._handles = []

    def state_dict(self) -> dict[str, Any]:
        """Everything noted so far, for a checkpoint: numbers, lists of numbers and tensors."""
        if self._halt is not None:
            return self._state_of_halt(self._halt)
        parts = {
            "train": self._train.state(),
            "validation": self._validation.state(),
            **{name: state_of(getattr(self, f"_{name}")) for name in ("order", "steps")},
            "repeats": self._repeats.state(),
            "histories": self._histories.state(),
            "ids": self._ids.state(),
            "audit": self._audit.state_dict(),
            "validated": self._validated.state_dict(),
            "recency": self._recency.state(),
            "passages": self._passages.state(),
            "levels": self._levels.state(),
            "validation_levels": self._validation_levels.state(),
        }
        counts = {"val_losses": self._val_losses, **{name: getattr(self, f"_{name}") for name in _COUNTS}}
        return states.headed(self.KIND, {**parts, **counts})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken. Name, rule book and optimizer stay this tracker's own.

        Raises:
            ValueError: `state` is no state of such a tracker, one of another version, or damaged: then the message
                names where. Nothing has changed.
        """
        if not self._takes(state):
            return
        states.check(state, self.name, self.KIND, form.PARTS, optional=form.LATER, also=form.fits)
        self._load_whole(state, self._load)

    def _load(self, state: Mapping[str, Any]) -> None:
        self._train.load(state["train"])
        self._validation.load(state["validation"])
        for name in ("order", "steps"):
            load_into(getattr(self, f"_{name}"), state[name])
        for name in _COUNTS:
            setattr(self, f"_{name}", state[name])
        self._repeats, self._histories = Repeats(), Histories()
        if "repeats" in state:  # else of a version that did not compare parts of batches
            self._repeats.load(state["repeats"])
        if "histories" in state:
            self._histories.load(state["histories"])
        self._ids.load(state["ids"])
        self._audit.load_state_dict(state["audit"])
        if "validated" in state:  # else of a version that did not recompute validation losses
            self._validated.load_state_dict(state["validated"])
            self._val_losses = state["val_losses"]
        if "recency" in state:  # else of a version that did not follow it
            self._recency.load(state["recency"])
            for name in ("passages", "levels", "validation_levels"):
                getattr(self, f"_{name}").load(state[name])
        else:
            self._recency, self._passages = Recency(), Passages(self._train.size)
            self._levels, self._validation_levels = Levels(), Levels()
            self._validation.turn()
        self._figures = None


def _are_moments(part: RowSample, hashed: Hash, targets: Tensor) -> bool:
    """Whether rows are moments of several streams, time first: the target of most is the row that comes next.

    Args:
        part: rows that were kept.
        hashed: hash that they were kept by.
        targets: targets of these rows, shape (rows, width).
    """
    keys = hashed({"": targets.long()})
    reached = keys < part.below
    return bool(reached.any()) and bool(torch.isin(keys[reached], part.keys).double().mean() > _NEXT)


def _seen_share(before: RowSample, after: RowSample, below: int) -> float:
    """Share, in [0, 1], of the later distinct rows with a hash below a number that the earlier ones hold, too; see
    `seen_flags`.
    """
    chosen = after.keys < below
    return float((seen_flags(before, after) & chosen).sum() / chosen.sum())


def _rows(columns: Mapping[str, Tensor]) -> int:
    return len(next(iter(columns.values())))


def _read_by_audit(columns: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
    """The only input, and the ids of the items that rows are compared by: the last column of ids of one a row."""
    ids = [values for values in columns.values() if values.ndim == 1 and not values.is_floating_point()]
    return next(iter(columns.values())) if len(columns) == 1 else None, ids[-1] if ids else None


def _table(part: RowSample, chosen: Tensor) -> list[np.ndarray]:
    """Columns of some of the rows kept, the targets last where they are known; empty where rows differ in width."""
    values, targets = part.rows("values"), part.rows("targets")
    if values is None:
        return []
    whole = values if targets is None else torch.cat([values, targets], 1)
    return list(whole[chosen].T.numpy())
