"""Says how many numbers batch normalisation takes its statistics from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class BatchRows:
    """The largest number of values a channel that any batch normalisation in training mode was given."""

    def __init__(self) -> None:
        """Start with no call."""
        self.calls = self.most = 0
        """Number of calls, and that number of values."""

    def note(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Note what a module was given. Normalisation over several processes takes more than it is given here."""
        given = args[0] if args else None
        if not isinstance(module, _BatchNorm) or isinstance(module, nn.SyncBatchNorm) or not module.training:
            return
        if module.track_running_stats and isinstance(given, Tensor) and given.dim() > 1 and given.shape[1]:
            self.calls += 1
            self.most = max(self.most, given.numel() // given.shape[1])

    def scalars(self) -> dict[str, float]:
        """Figures of `flowgrad.measures.flow_passes.BATCH_ROWS`."""
        return {
            "normalised_batches": float(self.calls),
            "normalised_values": float(self.most) if self.calls else math.nan,
        }

    def state_dict(self) -> dict[str, int]:
        """State for a checkpoint."""
        return {"calls": self.calls, "most": self.most}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a state that `state_dict` gave."""
        self.calls, self.most = state["calls"], state["most"]
