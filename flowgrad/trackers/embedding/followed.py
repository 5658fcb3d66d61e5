"""Follows the weights of some rows: where they began, and how they went on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from flowgrad.measures import embedding as measures
from flowgrad.measures import table_starts
from flowgrad.trackers.embedding.windows import RowWindows


class FollowedRows:
    """Some rows of a table, or all of them, from where they stand now."""

    def __init__(self, weight: torch.Tensor, counts: torch.Tensor, rows: torch.Tensor | None = None) -> None:
        """Begin to follow.

        Args:
            weight: the table, shape (rows, dim).
            counts: lookups of each row so far, shape (rows,).
            rows: ids to follow, ascending; all if None.
        """
        self.rows = rows
        self._counts = counts.clone() if rows is None else counts.index_select(0, rows)
        self.initial = self.of(weight).clone()
        self._scale = self.initial.double().square().mean().sqrt()  # read when asked for: no synchronisation here
        self.windows = RowWindows(self.initial)
        self._spectrum: tuple[float, float] | None = None
        self._begun: dict[str, float] | None = None

    @property
    def at(self) -> torch.Tensor | slice:
        """Index of the rows followed."""
        return slice(None) if self.rows is None else self.rows

    @property
    def initial_scale(self) -> float:
        """Root mean square of the entries at the start, in units of the weights."""
        return float(self._scale)

    @property
    def initial_spectrum(self) -> tuple[float, float]:
        """Figures of the rows at the start: how far their strongest direction stands out (`structure_of_gram`), and
        their effective rank as a share of the most it can be. Computed when first asked for.
        """
        if self._spectrum is None:
            rows = self.initial.double()
            gram, count = as_array(rows.T @ rows), len(rows)
            most = max(1, min(gram.shape[0], count))
            self._spectrum = (measures.structure_of_gram(gram, count), measures.effective_rank_of_gram(gram) / most)
        return self._spectrum

    def beginning(self) -> dict[str, float]:
        """Figures of the rows at the start: `initial_drawn`, `initial_column_spread`, `initial_row_spread`. Computed
        when first asked for.
        """
        if self._begun is None:
            rows = as_array(self.initial)
            self._begun = {
                "initial_drawn": float(table_starts.looks_drawn(rows)),
                "initial_column_spread": table_starts.column_spread(rows),
                "initial_row_spread": table_starts.row_spread(rows),
            }
        return self._begun

    def column_spread(self, weight: torch.Tensor) -> float:
        """Relative spread of the entries of a row now, a ratio, over the rows followed that have moved; NaN where none
        has.
        """
        now = self.of(weight)
        return table_starts.column_spread(as_array(now[(now != self.initial).any(dim=1)]))

    def of(self, weight: torch.Tensor) -> torch.Tensor:
        """Weights of the rows followed, shape (followed, dim). They are not a copy where the whole table is
        followed.
        """
        return weight if self.rows is None else weight.index_select(0, self.rows)

    def end_epoch(self, weight: torch.Tensor) -> None:
        """Close the window as an epoch."""
        self.windows.end_epoch(self.of(weight), self.initial)

    def moved(self, weight: torch.Tensor, renormed: bool) -> torch.Tensor:
        """Flags of the rows that stand elsewhere than they began, bool of shape (followed,).

        Args:
            weight: the table, shape (rows, dim).
            renormed: whether the layer itself shortens rows at their lookup (`max_norm`): only a turn is the
                optimizer's doing then.
        """
        now = self.of(weight)
        if not renormed:
            return (now != self.initial).any(dim=1)
        turn = functional.normalize(now.double(), dim=1) - functional.normalize(self.initial.double(), dim=1)
        return ~(turn.abs().amax(dim=1) <= 8 * torch.finfo(now.dtype).eps)

    def unmoved(self, weight: torch.Tensor, counts: torch.Tensor, renormed: bool) -> torch.Tensor:
        """Flags of the rows that were looked up since the start and stand where they began, bool of shape (followed,).

        Args:
            weight: the table, shape (rows, dim).
            counts: lookups of each row so far, shape (rows,).
            renormed: as for `moved`.
        """
        return ~self.moved(weight, renormed) & (counts[self.at] > self._counts)

    def readings(self, weight: torch.Tensor, renormed: bool) -> dict[str, np.ndarray]:
        """Measures of the rows followed, each of shape (rows,) with NaN for the others: `coherence`, `jitter`,
        `init_cosine`, `moved` (1 or 0) and `growth` (norm now over norm at the start). In a table of one column there
        is no direction: cosines are NaN.
        """
        now, initial = as_array(self.of(weight)), as_array(self.initial)
        coherence, jitter = self.windows.statistics()
        directed = now.shape[1] > 1  # the cosine of two numbers is a sign
        with np.errstate(invalid="ignore", divide="ignore"):
            growth = measures.row_norms(now) / measures.row_norms(initial)
        read = {
            "coherence": as_array(coherence) if directed else np.full(len(now), np.nan),
            "jitter": as_array(jitter),
            "init_cosine": measures.row_cosines(now, initial) if directed else np.full(len(now), np.nan),
            "moved": as_array(self.moved(weight, renormed)).astype(float),
            "growth": growth,
        }
        if self.rows is None:
            return read
        spread = {name: np.full(len(weight), np.nan) for name in read}
        for name, values in read.items():
            spread[name][as_array(self.rows)] = values
        return spread

    def state_dict(self) -> dict[str, Any]:
        """State of everything, as tensors (copies) and numbers."""
        return {
            "rows": None if self.rows is None else self.rows.clone(),
            "counts": self._counts.clone(),
            "initial": self.initial.clone(),
            "scale": self.initial_scale,
            "windows": self.windows.state_dict(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], device: torch.device) -> FollowedRows:
        """Go on from a state that `state_dict` gave."""
        made = cls(state["initial"].to(device), state["counts"].to(device))
        made.rows = None if state["rows"] is None else state["rows"].to(device, copy=True)
        made._scale = torch.tensor(state["scale"], dtype=torch.float64)
        made.windows.load_state_dict(state["windows"])
        return made


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """Convert the tensor to NumPy, floats in double precision."""
    tensor = tensor.detach().cpu()
    return tensor.double().numpy() if tensor.is_floating_point() else tensor.numpy()
