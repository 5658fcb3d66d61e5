"""Makes the watchers of a booster, and times their callbacks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from flowgrad.trackers import BoostingTracker


def watcher(name: str, window: int) -> Any:
    """Make the watcher of this name; it has `as_xgb_callback` and `as_lgb_callback`.

    Args:
        name: `tracker` or `peer`, which reads every column's importance after every round, as is its default.
        window: of the tracker.
    """
    if name == "tracker":
        return BoostingTracker(window=window)
    from gradtracer import BoostingTracker as Peer

    return Peer()


class Timed:
    """A watcher whose callbacks are timed."""

    def __init__(self, watcher: Any) -> None:
        self.rounds: list[float] = []
        """CPU seconds of the call after each round so far."""
        self.outside: list[float] = []
        """CPU seconds of the calls before the first round and after the last."""
        self._watcher = watcher

    def as_xgb_callback(self) -> Any:
        """Make a callback for `xgboost.train`."""
        from xgboost.callback import TrainingCallback

        inner, rounds, outside = self._watcher.as_xgb_callback(), self.rounds, self.outside

        class Callback(TrainingCallback):
            before_training = staticmethod(_timed(inner.before_training, outside))
            after_iteration = staticmethod(_timed(inner.after_iteration, rounds))
            after_training = staticmethod(_timed(inner.after_training, outside))

        return Callback()

    def as_lgb_callback(self) -> Any:
        """Make a callback for `lightgbm.train`."""
        inner = self._watcher.as_lgb_callback()
        call: Any = _timed(inner, self.rounds)
        call.order, call.before_iteration = inner.order, getattr(inner, "before_iteration", False)
        return call


def _timed(function: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        start = time.thread_time()
        try:
            return function(*arguments, **named)
        finally:
            seconds.append(time.thread_time() - start)

    return call
