"""Holds the callback of XGBoost's training loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xgboost.callback import TrainingCallback

if TYPE_CHECKING:
    from flowgrad.trackers.boosting import BoostingTracker


class XGBoostCallback(TrainingCallback):
    """Passes every round to the tracker.

    XGBoost stops asking the callbacks of a round at the first that wants to stop: one that stands before this in the
    list hides the last round. It is made up for at the end, from the record that XGBoost keeps.
    """

    def __init__(self, tracker: BoostingTracker) -> None:
        super().__init__()
        self._tracker = tracker
        self._log: Any = {}
        self._told = 0

    def before_training(self, model: Any) -> Any:
        """Note that training begins."""
        self._log, self._told = {}, 0
        try:
            rounds = model.num_boosted_rounds() if hasattr(model, "num_boosted_rounds") else 0
            self._tracker.begin(model, rounds)
        except Exception as error:
            self._tracker._failed("the start of a training", error)
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Note a round; never asks to stop."""
        self._log = evals_log
        try:
            self._tell()
        except Exception as error:
            self._tracker._failed("a round", error)
        return False

    def after_training(self, model: Any) -> Any:
        """Note that training has ended, with the booster as the callbacks before this left it: `save_best` cuts it."""
        try:
            while any(self._told < len(values) for metrics in self._log.values() for values in metrics.values()):
                self._tell()
            self._tracker.end(model)
        except Exception as error:
            self._tracker._failed("the end of a training", error)
        return model

    def _tell(self) -> None:
        evaluated = []
        for held, metrics in self._log.items():
            for metric, values in metrics.items():
                value = values[self._told]
                # Cross-validation gives mean and deviation.
                evaluated.append((held, metric, value[0] if isinstance(value, tuple) else value, None))
        self._tracker.end_round(evaluated, last=True)
        self._told += 1
