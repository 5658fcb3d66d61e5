"""Probes: at some steps, whether the rows looked up had a gradient, moved, and how far."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from flowgrad.trackers.ranks import world_size
from flowgrad.trackers.sampling import even_rows

FIRST_PROBES = 32
"""Steps at the start of a run that are all probed."""
STRIDE = 64
"""Steps from one probe to the next after that."""
MOST_LOOKUPS = 512
"""Lookups of a step that are probed at most, evenly over the batch, once the first probes are done."""
PANEL = 128
"""Rows, evenly over the table, that are looked at in every probe whether they were looked up or not."""
LOOKS_ENOUGH = 8
"""Probed lookups after which a row without a gradient needs no more of them."""

_TENSORS = ("looks", "moves", "path", "panel_path", "panel_idle_path", "_left", "_early", "_probes_left")


class _Probe(NamedTuple):
    """Lookups of one forward pass that are looked at again after the step."""

    ids: torch.Tensor
    """Those looked at again, shape (n,), with repeats."""
    before: torch.Tensor
    """Their weights, shape (n, dim)."""


class Probes:
    """Counts by row, over probed lookups: how many, with a gradient, with a move; and the path travelled.

    Rows that were looked up and never moved are suspects, and while there are any that have not been probed often,
    every step is: whether such a row has a gradient tells what is wrong with it.
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        # Written to here, so that the system hands out the memory now and not page by page while training runs.
        self.looks = torch.empty(rows, dtype=torch.int32, device=device).zero_()
        self.moves = torch.empty_like(self.looks).zero_()
        self.path = torch.empty_like(self.looks, dtype=torch.float32).zero_()
        self.panel_path = torch.zeros((), dtype=torch.float64, device=device)
        """Path of the panel's rows at all probed steps."""
        self.panel_idle_path = torch.zeros_like(self.panel_path)
        """The part of it at steps that did not look the row up."""
        # Some loops clear the gradient before `close`, some mask it after `note_gradient`; none does both.
        self._left = torch.empty_like(self.looks).zero_()
        """Lookups that had a gradient at `close`."""
        self._early = torch.empty_like(self.looks).zero_()
        """Lookups that had a gradient at `note_gradient`."""
        self._probes_left = torch.zeros((), dtype=torch.int32, device=device)
        """Probes that found any gradient at `close`."""
        self._panel = even_rows(rows, min(rows, PANEL), device)
        self._panel_before: tuple[torch.Tensor, torch.Tensor] | None = None
        self.suspicious = False
        """Whether every step is probed because of rows that do not move."""
        self._pending: list[_Probe] = []
        self._noted: list[torch.Tensor] = []

    @property
    def gradients(self) -> torch.Tensor:
        """Lookups with a gradient, by row, shape (rows,)."""
        return self._gradients_of(slice(None))

    def _gradients_of(self, rows: torch.Tensor | slice) -> torch.Tensor:
        return torch.where(self._probes_left > 0, self._left[rows], self._early[rows])

    def due(self, step: int) -> bool:
        """True where lookups before the end of step number `step` (from 0) are to be handed over."""
        return self.suspicious or step < FIRST_PROBES or step % STRIDE == 0

    def open(self, ids: torch.Tensor, weight: torch.Tensor, counts: torch.Tensor, step: int) -> None:
        """Note lookups of `ids`, shape (n,), what stands in the table `weight` before the step, and how often each row
        was looked up before, shape (rows,).
        """
        if not len(ids):
            return
        if len(ids) > MOST_LOOKUPS and step >= FIRST_PROBES and not self.suspicious:
            stride = -(-len(ids) // MOST_LOOKUPS)
            # Starting elsewhere each time: a batch of sequences may hold the same token at every stride-th place.
            ids = ids[step // STRIDE % stride :: stride]
        ids = ids.clone()  # a loop may write its next batch into the same tensor
        self._pending.append(_Probe(ids, weight.index_select(0, ids)))
        if self._panel_before is None:
            self._panel_before = weight.index_select(0, self._panel), counts.index_select(0, self._panel)

    def note_gradient(self, gradient: torch.Tensor) -> None:
        """Look at the gradient as soon as it is there: some loops clear it before `close`."""
        if self._pending:
            self._noted.append(_has_gradient(gradient, self._ids()))

    def close(self, weight: torch.Tensor, counts: torch.Tensor) -> None:
        """Note what the step just taken did to the rows of the lookups pending; `counts` now, as for `open`."""
        if not self._pending:
            return
        ids = self._ids()
        first = self._pending[0].before
        before = first if len(self._pending) == 1 else torch.cat([probe.before for probe in self._pending])
        length = _path(before, weight.detach().index_select(0, ids))
        self._close_gradients(weight.grad if weight.is_leaf else None, ids)
        self.looks.index_add_(0, ids, torch.ones_like(ids, dtype=torch.int32))
        self.moves.index_add_(0, ids, (length != 0).int())
        self.path.index_add_(0, ids, length.float())
        self._close_panel(weight, counts, ids)
        self.drop()

    def _close_gradients(self, gradient: torch.Tensor | None, ids: torch.Tensor) -> None:
        if gradient is not None:
            left = _has_gradient(gradient, ids)
            self._left.index_add_(0, ids, left.int())
            self._probes_left += left.any()
        early = torch.zeros_like(ids, dtype=torch.bool)
        for noted in self._noted:  # one each time that a gradient came, of the lookups until then
            early[: len(noted)] |= noted
        self._early.index_add_(0, ids, early.int())

    def _close_panel(self, weight: torch.Tensor, counts: torch.Tensor, ids: torch.Tensor) -> None:
        assert self._panel_before is not None
        before, counted = self._panel_before
        path = _path(before, weight.detach().index_select(0, self._panel))
        looked_up = counts.index_select(0, self._panel) != counted
        if world_size() > 1:
            # Lookups of other ranks show in the gradient, which is the mean over all of them. Where not even this
            # rank's own show, the loop has cleared it, and the step does not tell.
            if weight.grad is None:
                return
            looked_up |= _has_gradient(weight.grad, self._panel)
            path = path.masked_fill(~_has_gradient(weight.grad, ids).any(), 0)
        self.panel_path += path.sum()
        self.panel_idle_path += path.masked_fill(looked_up, 0).sum()

    def drop(self) -> None:
        """Forget the lookups that wait for their step."""
        self._pending.clear()
        self._noted.clear()
        self._panel_before = None

    def suspect(self, unmoved: torch.Tensor, rows: torch.Tensor | slice) -> None:
        """Say which of `rows` were looked up and never moved: bool, one a row."""
        unclear = unmoved & (self._gradients_of(rows) == 0) & (self.looks[rows] < LOOKS_ENOUGH)
        self.suspicious = bool(unclear.any())

    def state_dict(self) -> dict[str, Any]:
        """Everything, as tensors (copies) and numbers. Lookups that wait for their step are not part of it."""
        return {name: getattr(self, name).clone() for name in _TENSORS} | {"suspicious": self.suspicious}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        for name in _TENSORS:
            setattr(self, name, state[name].to(self.looks.device, copy=True))
        self.suspicious = state["suspicious"]
        self.drop()

    def _ids(self) -> torch.Tensor:
        return self._pending[0].ids if len(self._pending) == 1 else torch.cat([probe.ids for probe in self._pending])


def _path(before: torch.Tensor, now: torch.Tensor) -> torch.Tensor:
    """How far each row has moved, shape (n,)."""
    return (now.double() - before.double()).norm(dim=1)


def _has_gradient(gradient: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Whether the gradient is other than zero at each of the rows `ids`, bool of shape (n,)."""
    if not gradient.is_sparse:
        return gradient.index_select(0, ids).abs().amax(dim=1) != 0  # NaN is not zero
    # A gradient that is never cleared still holds the rows of earlier batches; one row's parts have to be added up.
    found, values = gradient._indices()[0], gradient._values()
    rows = ids.sort().values
    place = torch.searchsorted(rows, found).clamp(max=len(rows) - 1)
    values = values.masked_fill((rows[place] != found).unsqueeze(1), 0)
    at_first = values.new_zeros(len(rows), values.shape[1]).index_add_(0, place, values)
    return at_first.abs().amax(dim=1)[torch.searchsorted(rows, ids)] != 0
