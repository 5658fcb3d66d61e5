"""Says whether the weights at the end are still those of the last epoch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from flowgrad.trackers.flow.look import apart
from flowgrad.trackers.flow.rewrites import entries_of, spread


class LastEpoch:
    """Some entries of the weights at the end of the last epoch."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        """Choose the tensors whose entries are kept; none that a forward pass may write to (`max_norm`)."""
        self._chosen = spread(parameters) if parameters else []
        self._entries: torch.Tensor | None = None

    @apart
    def end(self) -> None:
        """Keep the entries of an epoch that is over."""
        self._entries = entries_of(self._chosen) if self._chosen else None

    def scalars(self, *, written: bool, between: bool, seldom: bool) -> dict[str, float]:
        """Figures of what was written to the weights after the last step.

        Args:
            written: whether anything was, by PyTorch's counters, in which writes through `.data` do not show.
            between: whether the last step was that of an epoch that has ended.
            seldom: whether nothing but the optimizer ever wrote to them between two steps.
        """
        alike = self._alike() if between and self._entries is not None else None
        return {
            "weights_rewritten": float(written if alike is None else not alike),
            "rewritten_alike": float(alike is True and written and seldom),
        }

    @apart
    def _alike(self) -> bool:
        assert self._entries is not None
        now, then = entries_of(self._chosen).to(self._entries.device), self._entries
        return now.shape == then.shape and bool(((now == then) | (now.isnan() & then.isnan())).all())
