"""Says whether a language model is ever taught to end: whether the token that texts end in is among its labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

_MOST = 8
"""Number of passes that are read."""
_NEARLY = 0.9
"""Share of the texts of a batch that end alike, and of labels that are the tokens themselves, at least."""
_COUNTS = ("ended", "untold")


class Ends:
    """Counts of passes that were given tokens, an attention mask, and labels that are these tokens."""

    def __init__(self) -> None:
        """Start with no pass."""
        self.ended = 0
        """Number of passes whose texts end in one token, as far as the mask attends, and have the one before as a
        label.
        """
        self.untold = 0
        """Passes among them in which that token is nowhere a label."""

    def note(self, given: Mapping[str, Any]) -> None:
        """Read the named inputs of a pass."""
        parts: list[Any] = [given.get(name) for name in ("input_ids", "labels", "attention_mask")]
        if self.ended >= _MOST or not all(isinstance(one, torch.Tensor) and one.dim() == 2 for one in parts):
            return
        tokens, labels, attended = parts
        if not tokens.shape == labels.shape == attended.shape or tokens.shape[1] < 2 or labels.is_floating_point():
            return
        with torch.no_grad():
            self._note(tokens, labels, attended > 0)

    def _note(self, tokens: torch.Tensor, labels: torch.Tensor, attended: torch.Tensor) -> None:
        told = labels >= 0
        places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        last = places.masked_fill(~attended, -1).amax(1)
        rows = torch.arange(len(tokens), device=tokens.device)[last > 0]
        last = last[last > 0]
        if not len(rows) or not bool(told.any()):
            return
        ends = tokens[rows, last]
        end = ends.mode().values
        alike = (ends == end).double().mean()
        before = told[rows, last - 1].double().mean()
        itself = (labels == tokens)[told].double().mean()
        if min(float(alike), float(before), float(itself)) >= _NEARLY:
            self.ended += 1
            self.untold += not bool((labels == end).any())

    def scalars(self) -> dict[str, float]:
        """Figures of `flowgrad.measures.flow_passes.ENDS`."""
        return {
            "ended_passes": float(self.ended),
            "ends_untold": self.untold / self.ended if self.ended else float("nan"),
        }

    def state_dict(self) -> dict[str, int]:
        """State for a checkpoint."""
        return {name: getattr(self, name) for name in _COUNTS}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a state that `state_dict` gave."""
        for name in _COUNTS:
            setattr(self, name, state[name])
