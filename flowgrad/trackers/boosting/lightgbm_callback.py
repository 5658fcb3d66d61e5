"""Holds the callback of LightGBM's training loop."""

from __future__ import annotations

from typing import Any

from flowgrad.trackers.boosting.callback import TrackerCallback


class LightGBMCallback(TrackerCallback):
    """Passes every round to the tracker. LightGBM recognises a callback by these two attributes."""

    order = 15
    """Order of the callback: before early stopping, which has 30 and leaves the round by an exception."""
    before_iteration = False

    def __call__(self, env: Any) -> None:
        """Note a round."""
        try:
            if env.iteration == env.begin_iteration:
                self._tracker.begin(env.model, env.begin_iteration)
            results = env.evaluation_result_list or []
            self._tracker.end_round([(r[0], r[1], r[2], r[3]) for r in results], last=False)
        except Exception as error:
            self._tracker._failed("a round", error)
