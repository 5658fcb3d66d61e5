"""Windowed statistics of the rows of a table: do a row's displacements agree, and how much does it tremble?

Within a window a row's weights w_t are seen after each step that looked it up; D is its displacement from one window's
end to the next.

- coherence: mean over windows of cos(D_e, D_(e-1)). Drift gives +1, a random walk 0, a stationary noise ball -1/2,
  whatever the optimizer or its momentum, for D is a difference of positions and not of updates.
- jitter: mean over the steps of |w_t - mean of w in the window|^2, over |w|^2.
"""

from __future__ import annotations

import torch

FIRST_WINDOW = 16
"""Steps of the first window where no epochs are announced."""
WINDOWS_PER_LENGTH = 2
"""Windows after which their length doubles: the last few always cover most of the run."""


class RowWindows:
    """Running sums from which coherence and jitter follow. `add` costs work in proportion to the rows given;
    closing a window costs one pass over the table.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        """Start the first window at `weight`, shape (rows, dim)."""
        self._dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        self._start = weight.to(self._dtype, copy=True)
        self._before: torch.Tensor | None = None
        count = len(weight)
        zeros = torch.zeros(count, dtype=torch.float64, device=weight.device)
        self._seen = zeros.clone()
        self._sum = torch.zeros_like(self._start)
        self._squares = zeros.clone()
        self._cosines, self._cosine_weight = zeros.clone(), zeros.clone()
        self._deviations, self._deviation_weight = zeros.clone(), zeros.clone()
        self._by_epoch = False
        self._due = self._length = FIRST_WINDOW
        self.closed = 0
        """Windows closed so far."""

    def add(self, rows: torch.Tensor, weights: torch.Tensor) -> None:
        """Note the weights, shape (n, dim), of distinct rows, shape (n,), after a step that looked them up."""
        # Offsets from the window's start keep the difference of squares in `close` well conditioned.
        offset = weights.to(self._dtype) - self._start.index_select(0, rows)
        self._seen.index_add_(0, rows, self._seen.new_ones(len(rows)))
        self._sum.index_add_(0, rows, offset)
        self._squares.index_add_(0, rows, offset.double().square().sum(dim=1))

    def is_due(self, step: int) -> bool:
        """True where the window should close for its length; never once epochs are announced."""
        return not self._by_epoch and step >= self._due

    def close(self, weight: torch.Tensor) -> None:
        """End the window at `weight` and start the next."""
        end = weight.to(self._dtype, copy=True)
        displacement = end - self._start
        # Short windows show the drift of the start and the noise of sampling; longer ones outweigh them. Epochs count
        # alike.
        importance = 1.0 if self._by_epoch else float(self._length) ** 2
        if self._before is not None:
            cosine = torch.cosine_similarity(displacement.double(), self._before.double(), dim=1, eps=0.0)
            known = cosine.isfinite()
            self._cosines += torch.where(known, cosine, 0.0) * importance
            self._cosine_weight += known * importance
        self._note_deviations(end)
        self._before, self._start = displacement, end
        self._seen.zero_()
        self._sum.zero_()
        self._squares.zero_()
        self.closed += 1
        if not self._by_epoch:
            if self.closed % WINDOWS_PER_LENGTH == 0:
                self._length *= 2
            self._due += self._length

    def _note_deviations(self, end: torch.Tensor) -> None:
        seen = self._seen.clamp(min=1)
        spread = (self._squares - self._sum.double().square().sum(dim=1) / seen).clamp(min=0)
        relative = spread / end.double().square().sum(dim=1)
        # One look has no spread; a row of norm zero has no scale to compare it with.
        known = (self._seen >= 2) & relative.isfinite()
        self._deviations += torch.where(known, relative, 0.0)
        self._deviation_weight += torch.where(known, self._seen, 0.0)

    def leave_epochs(self, step: int) -> None:
        """Go back to windows by length: what looked like epochs were none."""
        if self._by_epoch:
            self._by_epoch = False
            self._due = step + self._length

    def end_epoch(self, weight: torch.Tensor, initial: torch.Tensor) -> None:
        """Close the window as an epoch. What shorter windows said of coherence holds until the second one ends."""
        if self._by_epoch and not bool(self._seen.any()):
            return  # announced as well as recognised
        if not self._by_epoch:
            self._by_epoch = True
            self._before = None
            self.closed = 0
            self.close(weight)
            self._before = weight.to(self._dtype) - initial.to(self._dtype)
            return
        if self.closed == 1:
            self._cosines.zero_()
            self._cosine_weight.zero_()
        self.close(weight)

    def statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Coherence and jitter of each row, shape (rows,) each; NaN where a row was not seen enough to tell."""
        return self._cosines / self._cosine_weight, self._deviations / self._deviation_weight
