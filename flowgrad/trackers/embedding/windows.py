"""Keeps windowed statistics of the rows of a table: do a row's displacements agree, and how much does it jitter?

A window holds some snapshots of the rows and ends with one; D is a row's displacement from one window's end to the
next.

- coherence: mean over windows of cos(D_e, D_(e-1)). Drift gives +1, a random walk 0, a stationary noise ball -1/2,
  whatever the optimizer or its momentum, for D is a difference of positions and not of updates.
- jitter: mean over windows of the variance of a row's snapshots within the window, over its squared norm.

Snapshots are of all rows at once and far enough apart that their cost, spread over the steps between them, is a
fraction of the batches' own.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from flowgrad.trackers.embedding.ranks import world_size

FIRST_WINDOW = 16
"""Number of steps, at least, of the first window where no epochs are announced."""
WINDOWS_PER_LENGTH = 2
"""Number of windows after which their length doubles: the last few always cover most of the run."""
LOOKUPS_PER_ROW = 4
"""Number of lookups from one snapshot to the next, per row that is tracked, early in a run."""
LATER_LOOKUPS_PER_ROW = 64
"""Number of such lookups after that: short runs are to be judged too, and long ones are to cost little."""
EARLY = 64
"""Number of steps that count as early."""
SNAPSHOTS_PER_WINDOW = 4
"""Number of snapshots that a window has at least, its last one included, where its length is known beforehand."""
EARLY_STEPS, LATER_STEPS = FIRST_WINDOW // SNAPSHOTS_PER_WINDOW, 32
"""Number of steps from one snapshot to the next at least, early and after that; epochs are seen more often where they
are short.
"""
FIRST_SNAPSHOTS = 4
"""Number of steps at the start of a run that each have a snapshot: by then it is known how large the batches are."""

_TENSORS = ("_start", "_before", "_sum", "_squares", "_cosines", "_cosine_weight", "_deviations", "_deviation_weight")
_NUMBERS = (
    "_seen",
    "_by_epoch",
    "_due",
    "_length",
    "_next",
    "_steps",
    "_busy",
    "_lookups",
    "_opened",
    "_snapped",
    "_epoch_length",
    "closed",
)


class RowWindows:
    """Running sums from which coherence and jitter follow. `step` says when to hand over the rows' weights."""

    def __init__(self, rows: torch.Tensor) -> None:
        """Start the first window at `rows`, the weights now, shape (rows, dim)."""
        dtype = torch.float64 if rows.dtype == torch.float64 else torch.float32
        self._start = rows.to(dtype, copy=True)
        self._before: torch.Tensor | None = None
        self._sum = torch.zeros_like(self._start)
        zeros = torch.zeros(len(rows), dtype=dtype, device=rows.device)
        self._squares = zeros.clone()
        self._cosines, self._cosine_weight = zeros.clone(), zeros.clone()
        self._deviations, self._deviation_weight = zeros.clone(), zeros.clone()
        self._seen = 0
        self._by_epoch = False
        self._due = self._length = FIRST_WINDOW
        self._next = 1
        self._steps = self._busy = self._lookups = 0
        self._opened = self._snapped = 0
        self._epoch_length: int | None = None
        self.closed = 0
        """Number of windows closed so far."""

    @property
    def epochs(self) -> int:
        """Number of epochs closed so far, announced or recognised; 0 where windows are none."""
        return self.closed if self._by_epoch else 0

    def step(self, lookups: int) -> bool:
        """Count a step with so many lookups in it; true where it calls for `snapshot`."""
        self.pass_over(1, lookups)
        return self._steps >= self._next

    @property
    def steps_left(self) -> int:
        """Number of steps to the next one that calls for `snapshot`."""
        return max(1, self._next - self._steps)

    def pass_over(self, steps: int, lookups: int) -> None:
        """Count steps that call for nothing, each with so many lookups in it."""
        self._steps += steps
        self._busy += steps if lookups else 0
        self._lookups += steps * lookups

    def snapshot(self, rows: torch.Tensor) -> None:
        """Note the rows' weights now, shape (rows, dim); ends the window where its length is reached."""
        offset = rows.to(self._start.dtype) - self._start
        self._sum += offset
        self._squares += torch.linalg.vecdot(offset, offset)
        self._seen += 1
        self._snapped = self._steps
        self._next = self._steps + self._stride()
        if not self._by_epoch:
            if self._steps >= self._due:
                self._close(rows)
            self._next = min(self._next, max(self._due, self._steps + 1))

    def _stride(self) -> int:
        """Number of steps to the next snapshot."""
        if self._steps < FIRST_SNAPSHOTS:
            return 1
        if not self._lookups:
            return max(1, self._length // SNAPSHOTS_PER_WINDOW)
        # Steps without lookups say nothing of how large the batches are. The weights are those of all ranks' batches
        # together, so snapshots come as often as one process would take them. No rank asks another here: a tracker on
        # one of them alone must not make the others wait.
        lookups = self._lookups * world_size()
        early = self._steps < EARLY
        wanted = LOOKUPS_PER_ROW if early else LATER_LOOKUPS_PER_ROW
        stride = max(EARLY_STEPS if early else LATER_STEPS, math.ceil(wanted * len(self._start) * self._busy / lookups))
        if self._by_epoch:
            known = self._epoch_length or stride * SNAPSHOTS_PER_WINDOW
            return min(stride, max(1, known // SNAPSHOTS_PER_WINDOW))
        self._length = max(self._length, stride * SNAPSHOTS_PER_WINDOW)
        return stride

    def _close(self, rows: torch.Tensor) -> None:
        """End the window at `rows` and start the next."""
        displacement = rows.to(self._start.dtype) - self._start
        # Short windows show the drift of the start and the noise of sampling; longer ones outweigh them. Epochs count
        # alike.
        importance = 1.0 if self._by_epoch else float(self._steps - self._opened) ** 2
        if self._before is not None:
            cosine = _cosine(displacement, self._before)
            known = cosine.isfinite()
            self._cosines += torch.where(known, cosine, 0.0) * importance
            self._cosine_weight += known * importance
        self._note_deviations(rows, importance)
        self._before = displacement
        self._start.copy_(rows)
        self._sum.zero_()
        self._squares.zero_()
        self._seen, self._opened = 0, self._steps
        self.closed += 1
        if not self._by_epoch:
            if self.closed % WINDOWS_PER_LENGTH == 0:
                self._length *= 2
            self._due = self._steps + self._length

    def _note_deviations(self, end: torch.Tensor, importance: float) -> None:
        if self._seen < 2:
            return  # one snapshot has no spread
        # The mean is a sum of offsets from the window's start, which keeps the difference of squares well conditioned.
        spread = (self._squares - torch.linalg.vecdot(self._sum, self._sum) / self._seen).clamp(min=0) / self._seen
        end = end.to(self._start.dtype)
        relative = spread / torch.linalg.vecdot(end, end)
        # A row that did not move does not tell; a row of norm zero has no scale to compare it with.
        known = (self._squares > 0) & relative.isfinite()
        self._deviations += torch.where(known, relative, 0.0) * importance
        self._deviation_weight += known * importance

    def leave_epochs(self) -> None:
        """Go back to windows by length: the recognised epochs were none."""
        if self._by_epoch:
            self._by_epoch = False
            self._due = self._steps + self._length

    def end_epoch(self, rows: torch.Tensor, initial: torch.Tensor) -> None:
        """Close the window as an epoch. Statistics of shorter windows hold until the second one ends.

        Args:
            rows: weights now, shape (rows, dim).
            initial: weights when tracking began: the first epoch started there.
        """
        if self._by_epoch and self._steps == self._opened:
            return  # announced as well as recognised
        first = not self._by_epoch
        self._by_epoch = True
        self._epoch_length = self._steps - (0 if first else self._opened)
        if first:
            self._before = None
            self.closed = 0
        elif self.closed == 1:
            for total in (self._cosines, self._cosine_weight, self._deviations, self._deviation_weight):
                total.zero_()
        if self._snapped != self._steps:
            self.snapshot(rows)
        self._close(rows)
        if first:
            self._before = rows.to(self._start.dtype) - initial.to(self._start.dtype)

    def statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Coherence and jitter of each row, shape (rows,) each; NaN where a row was not seen often enough."""
        return self._cosines / self._cosine_weight, self._deviations / self._deviation_weight

    def state_dict(self) -> dict[str, Any]:
        """State of everything, as tensors (copies) and numbers."""
        tensors = {name: getattr(self, name) for name in _TENSORS}
        copied = {name: None if tensor is None else tensor.clone() for name, tensor in tensors.items()}
        return copied | {name: getattr(self, name) for name in _NUMBERS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        for name in _TENSORS:
            tensor = state[name]
            setattr(self, name, None if tensor is None else tensor.to(self._squares.device, copy=True))
        for name in _NUMBERS:
            setattr(self, name, state[name])


def _cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Cosine of each row of `a` with the same row of `b`; NaN where either is zero."""
    # Dividing first keeps tiny displacements from underflowing when they are squared.
    a, b = (x / x.abs().amax(dim=1, keepdim=True) for x in (a, b))
    return torch.linalg.vecdot(a, b) / (torch.linalg.vecdot(a, a) * torch.linalg.vecdot(b, b)).sqrt()
