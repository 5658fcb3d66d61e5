"""Makes the watchers of a table: FlowGrad's tracker, and the peer library's for comparison."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Protocol

from torch import nn

PEER_INTERVAL = 100
"""Period in steps: the peer reads every step, or, as its own example sets it, one in so many."""


class TableWatcher(Protocol):
    """Hooks on a table, and a call after each step."""

    def step(self) -> None:
        """Note the optimizer step just taken."""


def has_peer() -> bool:
    """Whether the peer library can be imported; it does not declare that it needs seaborn."""
    return all(find_spec(name) is not None for name in ("gradtracer", "seaborn"))


def attacher(name: str, epoch_steps: int | None) -> Callable[[nn.Embedding], TableWatcher | None]:
    """Make the function that attaches the watcher of this name. It is imported now, before any memory is measured.

    Args:
        name: `tracker`, `peer`, `peer_interval`, or `none`, which attaches nothing.
        epoch_steps: `EmbeddingTracker.end_epoch()` is called every so many steps; never if None.
    """
    if name == "none":
        return lambda table: None
    if name == "tracker":
        from flowgrad.trackers.embedding import EmbeddingTracker

        def tracker(table: nn.Embedding) -> TableWatcher:
            watcher = EmbeddingTracker(table, name="table")
            return watcher if epoch_steps is None else _InEpochs(watcher.step, watcher.end_epoch, epoch_steps)

        return tracker

    from gradtracer import EmbeddingTracker as Peer

    interval = PEER_INTERVAL if name == "peer_interval" else 1
    return lambda table: Peer(table, name="table", track_interval=interval)


class _InEpochs:
    """Announces the end of an epoch after every so many steps."""

    def __init__(self, step: Callable[[], None], end_epoch: Callable[[], None], length: int) -> None:
        self._step, self._end_epoch, self._length = step, end_epoch, length
        self._steps = 0

    def step(self) -> None:
        self._step()
        self._steps += 1
        if self._steps % self._length == 0:
            self._end_epoch()
