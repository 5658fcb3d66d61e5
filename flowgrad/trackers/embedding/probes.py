"""Probes: at some steps, whether the rows looked up had a gradient, moved, and how far."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.utils.hooks import RemovableHandle

from flowgrad.trackers.embedding.ranks import world_size
from flowgrad.trackers.embedding.sampling import even_rows

FIRST_PROBES = 16
"""Steps at the start of a run that are all probed."""
FIRST_LOOKUPS = 4096
"""Lookups of such a step that are probed at most, evenly over the batch."""
STRIDE = 64
"""Steps from one probe to the next after that."""
MOST_LOOKUPS = 1024
"""Lookups of such a step that are probed at most; of all where rows are suspected."""
PANEL = 128
"""Rows, evenly over the table, that are looked at in every probe whether they were looked up or not."""
SUSPECT_PROBES = 512
"""Steps that are all probed because of rows that do not move. A row that is looked up once and never again would have
every step probed for ever, and where a loss has a margin there are many."""
SUSPECT_STRIDE = 16
"""Steps from one probe to the next after those, as long as there are such rows."""
LOOKS_ENOUGH = 8
"""Probed lookups after which a row without a gradient needs no more of them."""

MOST_PASSES = 8
"""Forward passes of one step that are probed: of gradients that are accumulated over many, the first ones."""

_TENSORS = ("looks", "moves", "path", "panel_path", "panel_idle_path", "_left", "_any_left", "_early")


class _Probe(NamedTuple):
    """Lookups of one forward pass that are looked at again after the step."""

    ids: torch.Tensor
    """Those looked at again, shape (n,), with repeats; those of the first pass of a step open with the panel."""
    before: torch.Tensor
    """Their weights, shape (n, dim)."""


class Probes:
    """Counts by row, over probed lookups: how many, with a gradient, with a move; and the path travelled.

    Rows that were looked up and never moved are suspects, and while there are any that have not been probed often,
    steps are probed more often: whether such a row has a gradient tells what is wrong with it.
    """

    # What a probe costs is its number of operations, not their size: hence lookups and panel in one tensor.

    def __init__(self, rows: int, device: torch.device) -> None:
        # Written to here, so that the system hands out the memory now and not page by page while training runs.
        self.looks = torch.empty(rows, dtype=torch.int32, device=device).zero_()
        self.moves = torch.empty_like(self.looks).zero_()
        self.path = torch.empty_like(self.looks, dtype=torch.float32).zero_()
        self.panel_path = torch.zeros((), dtype=torch.float64, device=device)
        """Path of the panel's rows at all probed steps."""
        self.panel_idle_path = torch.zeros_like(self.panel_path)
        """The part of it at steps that did not look the row up."""
        # Some loops clear the gradient before `close`, some mask it after it came; none does both.
        self._left = torch.empty_like(self.looks).zero_()
        """Lookups that had a gradient at `close`."""
        self._any_left = torch.zeros((), dtype=torch.bool, device=device)
        """Whether there are any."""
        self._early = torch.empty_like(self.looks).zero_()
        """Lookups that had a gradient as soon as it came."""
        self._panel = even_rows(rows, min(rows, PANEL), device)
        self._panel_counts: torch.Tensor | None = None
        self.suspicious = False
        """Whether there are rows that do not move, nobody knows why."""
        self._suspect_probes = 0
        """Steps probed for their sake."""
        self._pending: list[_Probe] = []
        self._early_gradient: torch.Tensor | None = None
        """Of the lookups pending when a gradient last came: whether it, or one before, was other than zero there."""
        self._gradient_hook: RemovableHandle | None = None
        self._marks = torch.empty(0, dtype=torch.uint8, device=device)
        """A flag for each row, all 0 between calls; none before a sparse gradient was seen."""

    @property
    def pending(self) -> bool:
        """Whether lookups wait for their step."""
        return bool(self._pending)

    @property
    def gradients(self) -> torch.Tensor:
        """Lookups with a gradient, by row, shape (rows,)."""
        return self._gradients_of(slice(None))

    def _gradients_of(self, rows: torch.Tensor | slice) -> torch.Tensor:
        return torch.where(self._any_left, self._left[rows], self._early[rows])

    def due(self, step: int) -> bool:
        """True where lookups before the end of step number `step` (from 0) are to be handed over."""
        if step < FIRST_PROBES or (self.suspicious and self._suspect_probes < SUSPECT_PROBES):
            return True
        return step % self._stride == 0

    def next_due(self, step: int) -> int:
        """The first step after number `step` that is due, as things are."""
        return step + 1 if self.due(step + 1) else step + self._stride - step % self._stride

    @property
    def _stride(self) -> int:
        return SUSPECT_STRIDE if self.suspicious else STRIDE

    def open(self, ids: torch.Tensor, weight: torch.Tensor, counts: torch.Tensor, step: int) -> None:
        """Note lookups of `ids`, int64 of shape (n,), what stands in the table `weight` before the step, and how often
        each row was looked up before, shape (rows,).
        """
        if not len(ids) or len(self._pending) >= MOST_PASSES:
            return
        most = FIRST_LOOKUPS if step < FIRST_PROBES else MOST_LOOKUPS
        if len(ids) > most and not self.suspicious:
            stride = -(-len(ids) // most)
            # Starting elsewhere each time: a batch of sequences may hold the same token at every stride-th place.
            ids = ids[(step if step < FIRST_PROBES else step // STRIDE) % stride :: stride]
        if not self._pending:
            ids = torch.cat([self._panel, ids])
            self._panel_counts = counts.index_select(0, self._panel)
            if weight.requires_grad and weight.is_leaf:
                self._gradient_hook = weight.register_post_accumulate_grad_hook(self._note_gradient)
        else:
            ids = ids.clone()  # a loop may write its next batch into the same tensor
        self._pending.append(_Probe(ids, weight.detach().index_select(0, ids)))

    def _note_gradient(self, weight: torch.Tensor) -> None:
        """Look at the gradient as soon as it is there: some loops clear it before `close`."""
        if weight.grad is None:
            return
        before, now = self._early_gradient, self._has_gradient(weight.grad, self._ids())
        if before is not None:
            now[: len(before)] |= before
        self._early_gradient = now

    def close(self, weight: torch.Tensor, counts: torch.Tensor) -> None:
        """Note what the step just taken did to the rows of the lookups pending; `counts` now, as for `open`."""
        ids = self._ids()
        self._suspect_probes += self.suspicious
        first = self._pending[0].before
        before = first if len(self._pending) == 1 else torch.cat([probe.before for probe in self._pending])
        change = weight.detach().index_select(0, ids) - before
        path = torch.linalg.vector_norm(change, dim=1, dtype=torch.float64)
        has_gradient = None
        if weight.is_leaf and weight.grad is not None:
            has_gradient = self._has_gradient(weight.grad, ids)
        panel = len(self._panel)
        self._close_panel(path, has_gradient, counts)
        ids, path = ids[panel:], path[panel:]
        self.looks.scatter_add_(0, ids, torch.ones_like(ids, dtype=torch.int32))
        self.moves.scatter_add_(0, ids, (path != 0).int())
        self.path.scatter_add_(0, ids, path.float())
        if has_gradient is not None:
            left = has_gradient[panel:]
            self._left.scatter_add_(0, ids, left.int())
            self._any_left |= left.any()
        if self._early_gradient is not None:
            early = self._early_gradient[panel:]
            self._early.scatter_add_(0, ids[: len(early)], early.int())
        self.drop()

    def _close_panel(self, path: torch.Tensor, has_gradient: torch.Tensor | None, counts: torch.Tensor) -> None:
        """Arguments are of all lookups, the panel first."""
        assert self._panel_counts is not None
        panel = len(self._panel)
        looked_up = counts.index_select(0, self._panel) != self._panel_counts
        if world_size() > 1:
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
        self._early_gradient = None
        self._panel_counts = None
        if self._gradient_hook is not None:
            self._gradient_hook.remove()
            self._gradient_hook = None

    def suspect(self, unmoved: torch.Tensor, rows: torch.Tensor | slice) -> None:
        """Say which of `rows` were looked up and never moved: bool, one a row."""
        unclear = unmoved & (self._gradients_of(rows) == 0) & (self.looks[rows] < LOOKS_ENOUGH)
        self.suspicious = bool(unclear.any())

    def state_dict(self) -> dict[str, Any]:
        """Everything, as tensors (copies) and numbers. Lookups that wait for their step are not part of it."""
        numbers = {"suspicious": self.suspicious, "suspect_probes": self._suspect_probes}
        return {name: getattr(self, name).clone() for name in _TENSORS} | numbers

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        for name in _TENSORS:
            setattr(self, name, state[name].to(self.looks.device, copy=True))
        self.suspicious, self._suspect_probes = state["suspicious"], state["suspect_probes"]
        self.drop()

    def _ids(self) -> torch.Tensor:
        return self._pending[0].ids if len(self._pending) == 1 else torch.cat([probe.ids for probe in self._pending])

    def _has_gradient(self, gradient: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Whether the gradient is other than zero at each of the rows `ids`, bool of shape (n,)."""
        if not gradient.is_sparse:
            return _not_zero(gradient.index_select(0, ids))
        # A gradient that is never cleared still holds the rows of earlier batches; one row's parts count together.
        # Marks cost in proportion to the lookups; to sort and search costs several times as much.
        found, parts = gradient._indices()[0], _not_zero(gradient._values())
        if not len(self._marks):
            self._marks = torch.empty_like(self.looks, dtype=torch.uint8).zero_()
        self._marks.scatter_reduce_(0, found, parts.to(torch.uint8), "amax")
        marked = self._marks.index_select(0, ids) != 0
        self._marks.index_fill_(0, found, 0)
        return marked


def _not_zero(rows: torch.Tensor) -> torch.Tensor:
    """Which rows of shape (n, dim) have an entry other than zero. NaN is not zero; `any` is many times slower."""
    return rows.abs().amax(dim=1) != 0
