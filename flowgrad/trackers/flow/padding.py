"""Reads where the states of recurrent layers are used: at the moments of a sequence, or behind it, in its padding."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flowgrad.trackers.watching import Failed

_TAIL = 2
"""Number of paddings at its end from which on a sequence is padded there: one 0 may be a token."""


class PaddingReads:
    """Gradients that reach the states of recurrent layers, of sequences that are padded at their end.

    A gradient says that a state is used. One that is used behind the end of its sequence has been moved by padding.
    """

    def __init__(self, failed: Failed) -> None:
        """Start with no pass.

        Args:
            failed: called with errors of a backward pass.
        """
        self.failed = failed
        self._behind: list[Tensor] = []
        """Places behind the ends of the sequences of each lookup of this pass, shape (sequences, moments)."""
        self._sums: Tensor | None = None
        """Sums of squares of gradients behind the ends, and of all, of padded sequences, shape (2,)."""
        self.rows = self.padded = self.passes = 0
        """Numbers of sequences, of padded ones, and of passes with such."""

    def begin(self) -> None:
        """Note that a pass begins."""
        self._behind.clear()

    def note(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Note the input and the output of a layer."""
        given = args[0] if args else None
        if not isinstance(given, Tensor):
            return
        if isinstance(module, nn.Embedding) and given.dim() == 2 and given.shape[1] > _TAIL:
            self._behind.append(_tails(given, module.padding_idx or 0))
        elif isinstance(module, nn.RNNBase) and given.dim() == 3 and self._behind:
            shape = given.shape[:2] if module.batch_first else given.shape[1::-1]
            behind = next((one for one in self._behind if one.shape == shape), None)
            if behind is None:
                return
            tails = behind.sum(1)
            padded = tails >= _TAIL
            self.rows += len(behind)
            if not padded.any() or (tails == tails[0]).all():
                return  # what ends every sequence alike may be a mark, not padding
            self.padded += int(padded.sum())
            self.passes += 1
            self._follow(module, output, behind & padded[:, None], padded)

    def _follow(self, module: nn.RNNBase, output: Any, behind: Tensor, padded: Tensor) -> None:
        states, last = output[0], output[1][0] if isinstance(output[1], tuple) else output[1]
        directions = 2 if module.bidirectional else 1
        if not states.requires_grad:
            return

        def of_states(gradient: Tensor) -> None:
            forward = gradient[..., : gradient.shape[-1] // directions]
            squares = forward.detach().float().square().sum(-1)
            squares = squares if module.batch_first else squares.T
            self._add((squares * behind).sum(), (squares * padded[:, None]).sum())

        def of_last(gradient: Tensor) -> None:
            whole = (gradient[-directions].detach().float().square().sum(-1) * padded).sum()
            self._add(whole, whole)

        states.register_hook(self._guarded(of_states))
        last.register_hook(self._guarded(of_last))

    def _guarded(self, hook: Any) -> Any:
        def called(gradient: Tensor) -> None:
            try:
                hook(gradient)
            except Exception as error:
                self.failed("a backward pass", error)

        return called

    def _add(self, behind: Tensor, whole: Tensor) -> None:
        sums = torch.stack([behind, whole]).double()
        self._sums = sums if self._sums is None else self._sums.to(sums.device) + sums

    def scalars(self) -> dict[str, float]:
        """Figures of `flowgrad.measures.flow_passes.PADDED`."""
        behind, whole = (0.0, 0.0) if self._sums is None else self._sums.tolist()
        return {
            "padded_passes": float(self.passes),
            "padded_share": self.padded / self.rows if self.rows else math.nan,
            "read_behind_end": behind / whole if whole > 0 else math.nan,
        }

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        sums = [0.0, 0.0] if self._sums is None else self._sums.tolist()
        return {"behind": sums[0], "whole": sums[1], **{name: getattr(self, name) for name in _COUNTS}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self._sums = torch.tensor([state["behind"], state["whole"]], dtype=torch.float64)
        for name in _COUNTS:
            setattr(self, name, state[name])


_COUNTS = ("rows", "padded", "passes")


def _tails(ids: Tensor, padding: int) -> Tensor:
    """Places from which on a row holds nothing but padding, shape of `ids`."""
    return (ids == padding).flip(1).cumprod(1).flip(1).bool()
