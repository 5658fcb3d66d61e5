"""Probes some steps: whether the rows looked up had a gradient, moved, and how far."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.hooks import RemovableHandle

from flowgrad.measures.lookups import spread_over_batches
from flowgrad.trackers.embedding.ranks import world_size
from flowgrad.trackers.embedding.sampling import even_rows
from flowgrad.trackers.embedding.tallies import RowTallies
from flowgrad.trackers.watching import Failed, raising

FIRST_PROBES = 16
"""Number of steps at the start of a run that are all probed, unless many tables share them."""
SHARED_PROBES = 8
"""Number of tables from which on the tables of one model take turns in these steps."""
FIRST_LOOKUPS = 4096
"""Number of lookups of such a step that are probed at most, evenly over the batch."""
STRIDE = 64
"""Steps from one probe to the next after that."""
MOST_LOOKUPS = 1024
"""Number of lookups of such a step that are probed at most; of all where rows are suspected."""
PANEL = 128
"""Number of rows, evenly over the table, that are read in every probe whether they were looked up or not."""
SUSPECT_PROBES = 512
"""Number of steps that are all probed because of rows that do not move. A row that is looked up once and never again
would have every step probed for ever, and where a loss has a margin there are many.
"""
SUSPECT_STRIDE = 16
"""Steps from one probe to the next after those, as long as there are such rows."""
LOOKS_ENOUGH = 8
"""Number of probed lookups after which a row without a gradient needs no more of them."""

RECENT = 16
"""Number of probed steps whose longest move is kept."""
MOST_PASSES = 8
"""Number of forward passes of one step that are probed: of gradients that are accumulated over many, the first ones."""
_MOST_MARKED = 1 << 20
"""Number of rows up to which a flag for each is allocated for a moment: of more, to clear it is the larger cost."""
MANY_PASSES = 4
"""Number of forward passes of one step from which it is checked whether the gradients of all of them reach the step."""

_BY_ROW = {"looks": "looks", "moves": "moves", "path": "path", "_left": "left", "_early": "early"}
"""Column of the rows' tallies by its key in a state."""
_TENSORS = (
    "panel_path",
    "panel_idle_path",
    "first_nonfinite",
    "longest_step",
    "recent_steps",
    "panel_pull",
    "panel_square",
    "elsewhere",
    "_any_left",
)
_NUMBERS = ("probed", "asked", "moved_within", "moved_outside", "suspicious", "_suspect_probes")
_LATER_TENSORS = ("_distinct", "_lost")
_LATER_NUMBERS = ("_counted_lookups", "_counted_batches")
"""Keys that earlier states, which lack these counts, do not have."""


class _Probe(NamedTuple):
    """Lookups of one forward pass that are read again after the step."""

    ids: torch.Tensor
    """Ids that are read again, shape (n,), with repeats; those of the first pass of a step open with the panel."""
    before: torch.Tensor
    """Weights of these rows before the step, shape (n, dim)."""


class StepCourse(NamedTuple):
    """Longest moves of the probed steps."""

    longest: torch.Tensor
    """Longest move of a row at any probed step, 0-dim."""
    recent: torch.Tensor
    """Longest move at each of the last probed steps, over the learning rate where it is known; 0 without a probe."""
    first_nonfinite: torch.Tensor
    """Step at which a probe first saw a move that was not finite, 0-dim; below 0 where none did."""


class Probes:
    """Counts by row, over probed lookups: how many, with a gradient, with a move; and the path travelled.

    Rows that were looked up and never moved are suspects, and while there are any that have not been probed often,
    steps are probed more often: whether such a row has a gradient shows the cause.
    """

    # The cost of a probe is its number of operations, not their size: hence lookups and panel in one tensor.

    def __init__(self, rows: int, device: torch.device, failed: Failed = raising, followed: int = 0) -> None:
        self._failed = failed
        """Function that is called with errors of a backward pass."""
        self._rows = RowTallies(rows, device, followed)
        # Some loops clear the gradient before `close`, some mask it after it came; none does both: `left` counts
        # lookups that had a gradient at `close`, `early` those that had one as soon as it came.
        self.panel_path = torch.zeros((), dtype=torch.float64, device=device)
        """Length of the path of the panel's rows over all probed steps."""
        self.panel_idle_path = torch.zeros_like(self.panel_path)
        """Length of the part of that path at steps that did not look the row up."""
        self.first_nonfinite = torch.full((), -1, dtype=torch.int64, device=device)
        """Number of the probed step (from 1) after which a row read was first not finite; -1: none was."""
        self.longest_step = torch.zeros((), dtype=torch.float64, device=device)
        """Length of the longest move at any probed step. Moves that are not finite do not count."""
        self.recent_steps = torch.zeros(RECENT, dtype=torch.float64, device=device)
        """The longest move of each of the last probed steps, up to the first that left the range of numbers, per unit
        of learning rate where that is known; 0 where there was none."""
        self.panel_pull = torch.zeros_like(self.longest_step)
        """Sum over probed steps of the inner product of the panel's rows with their gradients: above 0 where the loss
        shrinks them."""
        self.panel_square = torch.zeros_like(self.longest_step)
        """Sum over the same steps of their squared lengths: what decay shrinks, per unit of it."""
        self.elsewhere = torch.zeros((), dtype=torch.bool, device=device)
        """Whether a row of the panel that was never looked up had a gradient."""
        self.probed = 0
        """Number of steps probed."""
        self.asked = False
        """Whether the table asked for a gradient at any lookup probed."""
        self.moved_within = False
        """Whether anything moved between a lookup and the end of its step."""
        self.moved_outside = 0
        """Number of times that rows moved between the end of a probed step and the next probe, before anything moved
        within.
        """
        self._last: _Probe | None = None
        """Rows and their weights at the end of the last probed step, as long as nothing moved within."""
        self._any_left = torch.zeros((), dtype=torch.bool, device=device)
        """Whether there are any such lookups."""
        self._panel = even_rows(rows, min(rows, PANEL), device)
        self._panel_counts: torch.Tensor | None = None
        self._distinct = torch.zeros_like(self.longest_step)
        """Number of distinct rows of each of the first batches, summed up."""
        self._counted_lookups = self._counted_batches = 0
        """Number of lookups of these batches, and number of the batches."""
        self._lost = torch.zeros(2, dtype=torch.float64, device=device)
        """Number of lookups that had a gradient once, and of those with none at the step; over steps with many forward
        passes.
        """
        self.suspicious = False
        """Whether there are rows that do not move for an unknown reason."""
        self._suspect_probes = 0
        """Number of steps probed for their sake."""
        self._turn, self._turns = 0, 1
        """Remainder of the numbers of those of the first steps that are probed, and what they are divided by."""
        self._pending: list[_Probe] = []
        self._early_gradient: torch.Tensor | None = None
        """Whether a gradient, the last or one before, was other than zero at each of the lookups pending when it
        came.
        """
        self._early_pull: torch.Tensor | None = None
        """`panel_pull` of the step that is waited for."""
        self._read_early: tuple[torch.Tensor, tuple[int, ...], torch.Tensor] | None = None
        """The gradient that `_early_gradient` is of alone, its version, and the flags."""
        self._gradient_hook: RemovableHandle | None = None

    @property
    def course(self) -> StepCourse:
        """Longest moves of the probed steps."""
        return StepCourse(self.longest_step, self.recent_steps, self.first_nonfinite)

    @property
    def panel(self) -> torch.Tensor:
        """Ids of the rows that every probe reads, shape (panel,)."""
        return self._panel

    @property
    def looks(self) -> torch.Tensor:
        """Number of probed lookups of each row, shape (rows,)."""
        return self._rows.whole("looks")

    @property
    def moves(self) -> torch.Tensor:
        """Number of probed lookups of each row at whose step it moved, shape (rows,)."""
        return self._rows.whole("moves")

    @property
    def path(self) -> torch.Tensor:
        """Length of the path of each row at its probed lookups, in units of the weights, shape (rows,)."""
        return self._rows.whole("path")

    @property
    def lost_gradient_share(self) -> float:
        """Share of the lookups with a gradient, in [0, 1], in steps with `MANY_PASSES` forward passes or more, whose
        gradient was cleared before the step. NaN where there was no such step.
        """
        once, lost = self._lost.tolist()
        return lost / once if once else math.nan

    def spread_over_batches(self, exposures: np.ndarray) -> float:
        """Ratio of a batch's distinct rows to those of shuffled batches; see `measures.lookups`."""
        return spread_over_batches(float(self._distinct), self._counted_lookups, self._counted_batches, exposures)

    @property
    def pending(self) -> bool:
        """Whether lookups wait for their step."""
        return bool(self._pending)

    @property
    def gradients(self) -> torch.Tensor:
        """Number of lookups with a gradient, by row, shape (rows,)."""
        return self._gradients_of(slice(None))

    def _gradients_of(self, rows: torch.Tensor | slice) -> torch.Tensor:
        return torch.where(self._any_left, self._rows.of("left", rows), self._rows.of("early", rows))

    def due(self, step: int) -> bool:
        """True where lookups before the end of step number `step` (from 0) are to be handed over."""
        if self.suspicious and self._suspect_probes < SUSPECT_PROBES:
            return True
        if 0 < step < FIRST_PROBES:
            return step % self._turns == self._turn
        return step % self._stride == 0

    def next_due(self, step: int) -> int:
        """Number of the first step after number `step` that is due, as things are."""
        if step < FIRST_PROBES or self.due(step + 1):
            return step + 1
        return step + self._stride - step % self._stride

    def share(self, place: int, tables: int) -> None:
        """Take turns in the first steps with the other tables of a model, so that no step probes more than
        `SHARED_PROBES` or so: a probe costs the same for a small batch, and together they would cost a third of a step.

        Args:
            place: of the table among them, from 0.
            tables: how many they are.
        """
        self._turns = -(-tables // SHARED_PROBES)
        self._turn = place % self._turns

    @property
    def _stride(self) -> int:
        return SUSPECT_STRIDE if self.suspicious else STRIDE

    def open(self, ids: torch.Tensor, weight: torch.Tensor, counts: torch.Tensor, step: int) -> None:
        """Note lookups of `ids`, int64 of shape (n,), the content of the table `weight` before the step, and how often
        each row was looked up before, shape (rows,).
        """
        if not len(ids) or len(self._pending) >= MOST_PASSES or not weight.requires_grad:
            return  # rows of a frozen table are to stand still
        self.asked = True
        most = FIRST_LOOKUPS if step < FIRST_PROBES else MOST_LOOKUPS
        if len(ids) > most and not self.suspicious:
            stride = -(-len(ids) // most)
            # Starting elsewhere each time: a batch of sequences may hold the same token at every stride-th place.
            ids = ids[(step if step < FIRST_PROBES else step // STRIDE) % stride :: stride]
        if step < FIRST_PROBES:
            self._count_distinct(ids)
        if not self._pending:
            ids = torch.cat([self._panel, ids])
            self._panel_counts = counts.index_select(0, self._panel)
            if self._last is not None:
                stood = weight.detach().index_select(0, self._last.ids) == self._last.before
                self.moved_outside += not bool(stood.all())
                self._last = None
            if weight.is_leaf:
                self._gradient_hook = weight.register_post_accumulate_grad_hook(self._note_gradient)
        else:
            ids = ids.clone()  # a loop may write its next batch into the same tensor
        self._pending.append(_Probe(ids, weight.detach().index_select(0, ids)))

    def _count_distinct(self, ids: torch.Tensor) -> None:
        """Note how many distinct rows a batch looks up. This happens in the first steps only, as it is expensive."""
        if self._rows.dense:
            marks = torch.zeros(self._rows.rows, dtype=torch.bool, device=ids.device)
            self._distinct += marks.index_fill_(0, ids, True).count_nonzero()
        else:
            ordered = ids.sort().values
            self._distinct += 1 + (ordered[1:] != ordered[:-1]).sum()
        self._counted_lookups += len(ids)
        self._counted_batches += 1

    def _note_gradient(self, weight: torch.Tensor) -> None:
        """Read the gradient as soon as it is there: some loops clear it before `close`."""
        try:
            self._note_early(weight)
        except Exception as error:
            self._failed("a backward pass", error)

    def _note_early(self, weight: torch.Tensor) -> None:
        if weight.grad is None or not self._pending:
            return
        before, now = self._early_gradient, self._has_gradient(weight.grad, self._ids())
        self._read_early = (weight.grad, _version(weight.grad), now) if before is None else None
        if before is not None:
            now[: len(before)] |= before
        self._early_gradient = now
        if not weight.grad.is_sparse:  # no optimizer decays a table with sparse gradients by its own gradient
            panel = len(self._panel)
            rows, gradient = self._pending[0].before[:panel], weight.grad.detach().index_select(0, self._panel)
            self._early_pull = (rows.double() * gradient.double()).sum()

    def close(self, weight: torch.Tensor, counts: torch.Tensor, step: int, rate: float = math.nan) -> None:
        """Note how step number `step` (from 1), just taken, moved the rows of the lookups pending; `counts` now, as for
        `open`; `rate` the table's learning rate now, NaN where it is not known.
        """
        ids = self._ids()
        self.probed += 1
        self._suspect_probes += self.suspicious
        first = self._pending[0].before
        before = first if len(self._pending) == 1 else torch.cat([probe.before for probe in self._pending])
        now = weight.detach().index_select(0, ids)
        path = torch.linalg.vector_norm(now - before, dim=1, dtype=torch.float64)
        self._note_course(path, step, rate)
        if not self.moved_within:
            self.moved_within = bool(path.any())
            self._last = None if self.moved_within else _Probe(ids, now)
        has_gradient = None
        if weight.is_leaf and weight.grad is not None:
            has_gradient = self._known_flags(weight.grad, ids)
        panel = len(self._panel)
        if len(self._pending) >= MANY_PASSES and has_gradient is not None and self._early_gradient is not None:
            early, last = self._early_gradient[panel:], has_gradient[panel:]
            once = early & last[: len(early)].logical_not()
            self._lost += torch.stack([early.sum(), once.sum()])
        self._close_panel(path, has_gradient, counts)
        if self._early_pull is not None:
            self.panel_pull += self._early_pull
            self.panel_square += first[:panel].double().square().sum()
        ids, path = ids[panel:], path[panel:]
        sums = {"looks": torch.ones_like(ids, dtype=torch.bool), "moves": path != 0, "path": path}
        if has_gradient is not None:
            left = has_gradient[panel:]
            sums["left"] = left
            self._any_left |= left.any()
        if self._early_gradient is not None:
            sums["early"] = self._early_gradient[panel:]
        self._rows.add(ids, **sums)
        self.drop()

    def _note_course(self, path: torch.Tensor, step: int, rate: float) -> None:
        """Note how long the moves of a step were, and whether numbers went out of range."""
        place = (self.probed - 1) % RECENT
        longest = path.amax()
        if path.device.type == "cpu" and math.isfinite(longest) and self.first_nonfinite < 0:
            # The same as below by half of the operations; on an accelerator, to ask would be to wait for it.
            self.recent_steps[place] = longest / (rate if rate > 0 else 1.0)
            self.longest_step = torch.maximum(self.longest_step, longest)
            return
        finite = path.isfinite()
        longest = path.masked_fill(~finite, 0).amax()
        kept = torch.where(self.first_nonfinite < 0, longest / (rate if rate > 0 else 1.0), self.recent_steps[place])
        self.recent_steps[place] = kept
        self.longest_step = torch.maximum(self.longest_step, longest)
        first = (self.first_nonfinite < 0) & ~finite.all()
        self.first_nonfinite = self.first_nonfinite.masked_fill(first, step)

    def _close_panel(self, path: torch.Tensor, has_gradient: torch.Tensor | None, counts: torch.Tensor) -> None:
        """Measure the panel's rows; arguments are of all lookups, the panel first."""
        assert self._panel_counts is not None
        panel = len(self._panel)
        seen = counts.index_select(0, self._panel)
        looked_up = seen != self._panel_counts
        if world_size() == 1:
            found = [one[:panel] for one in (has_gradient, self._early_gradient) if one is not None]
            if found:
                # A row that has a gradient moves by that, whoever asked for it, and not by momentum alone.
                gradient = found[0] if len(found) == 1 else found[0] | found[1]
                self.elsewhere |= (gradient & (seen == 0)).any()
                looked_up |= gradient
        else:
            # Lookups of other ranks show in the gradient, which is the mean over all of them. Where not even this
            # rank's own show, the loop has cleared it, and the step does not tell.
            if has_gradient is None:
                return
            looked_up |= has_gradient[:panel]
            path = path.masked_fill(~has_gradient[panel:].any(), 0)
        path = path[:panel]
        self.panel_path += path.sum()
        self.panel_idle_path += path.masked_fill(looked_up, 0).sum()

    def drop(self) -> None:
        """Forget the lookups that wait for their step."""
        self._pending.clear()
        self._early_gradient = self._early_pull = self._read_early = None
        self._panel_counts = None
        if self._gradient_hook is not None:
            self._gradient_hook.remove()
            self._gradient_hook = None

    def suspect(self, unmoved: torch.Tensor, rows: torch.Tensor | slice) -> None:
        """Say which of `rows` were looked up and never moved: bool, one a row."""
        unclear = unmoved & (self._gradients_of(rows) == 0) & (self._rows.of("looks", rows) < LOOKS_ENOUGH)
        self.suspicious = bool(unclear.any())

    def state_dict(self) -> dict[str, Any]:
        """State of everything, as tensors (copies) and numbers. Lookups that wait for their step are not part of it."""
        numbers = {name: getattr(self, name) for name in (*_NUMBERS, *_LATER_NUMBERS)}
        rows = {key: self._rows.whole(name).clone() for key, name in _BY_ROW.items()}
        return rows | {name: getattr(self, name).clone() for name in (*_TENSORS, *_LATER_TENSORS)} | numbers

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        for name in (*_TENSORS, *(name for name in _LATER_TENSORS if name in state)):
            setattr(self, name, state[name].to(self._panel.device, copy=True))
        self._rows.load({name: state[key] for key, name in _BY_ROW.items()})
        for name in (*_NUMBERS, *(name for name in _LATER_NUMBERS if name in state)):
            setattr(self, name, state[name])
        self._last = None
        self.drop()

    def _ids(self) -> torch.Tensor:
        return self._pending[0].ids if len(self._pending) == 1 else torch.cat([probe.ids for probe in self._pending])

    def _known_flags(self, gradient: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """`_has_gradient`, as it was read right behind the backward pass where nothing has changed since."""
        if self._read_early is not None:
            read, version, flags = self._read_early
            if read is gradient and version == _version(gradient) and len(flags) == len(ids):
                return flags
        return self._has_gradient(gradient, ids)

    def _has_gradient(self, gradient: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Whether the gradient is other than zero at each of the rows `ids`, bool of shape (n,)."""
        if not gradient.is_sparse:
            return _not_zero(gradient.index_select(0, ids))
        # A gradient that is never cleared still holds the rows of earlier batches; one row's parts count together.
        found, parts = gradient._indices()[0], _not_zero(gradient._values())
        if self._rows.rows > _MOST_MARKED:
            return torch.isin(ids, found[parts])
        # Marks cost in proportion to the lookups; to sort and search costs several times as much.
        marks = torch.zeros(self._rows.rows, dtype=torch.uint8, device=ids.device)
        marks.scatter_reduce_(0, found, parts.to(torch.uint8), "amax")
        return marks.index_select(0, ids) != 0


def _version(gradient: torch.Tensor) -> tuple[int, ...]:
    """Numbers that change where the gradient is written to in place."""
    return (gradient._version, gradient._values()._version) if gradient.is_sparse else (gradient._version,)


def _not_zero(rows: torch.Tensor) -> torch.Tensor:
    """Flags of the rows, shape (n,), of an array of shape (n, dim) that have an entry other than zero. NaN is not zero.
    `any` and a maximum take several times as long as this sum, which is 0 only where all entries are.
    """
    return rows.abs().sum(dim=1) != 0
