"""Holds the callback of XGBoost's training loop."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from xgboost.callback import TrainingCallback

from flowgrad.trackers.boosting.callback import TrackerCallback
from flowgrad.trackers.boosting.xgboost_loop import loop_of_caller

if TYPE_CHECKING:
    from flowgrad.trackers.boosting import BoostingTracker


class XGBoostCallback(TrackerCallback, TrainingCallback):
    """Passes every round to the tracker.

    XGBoost stops asking the callbacks of a round at the first that wants to stop: one that stands before this in the
    list hides the last round. It is made up for at the end, from the record that XGBoost keeps.
    """

    def __init__(self, tracker: BoostingTracker) -> None:
        super().__init__(tracker)
        self._records: dict[int, Record] = {}
        """The training that each thread is at, as it was told."""

    def before_training(self, model: Any) -> Any:
        """Note that training begins."""
        self._records[threading.get_ident()] = Record()
        try:
            rounds = model.num_boosted_rounds() if hasattr(model, "num_boosted_rounds") else 0
            self._tracker.begin(model, rounds, loop=loop_of_caller())
        except Exception as error:
            self._tracker._failed("the start of a training", error)
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Note a round; never asks to stop."""
        try:
            record = self._record()
            record.log = evals_log
            self._tell(record)
        except Exception as error:
            self._tracker._failed("a round", error)
        return False

    def after_training(self, model: Any) -> Any:
        """Note that training has ended, with the booster as the callbacks before this left it: `save_best` cuts it."""
        try:
            record = self._record()
            while any(record.told < len(values) for metrics in record.log.values() for values in metrics.values()):
                self._tell(record)
            self._tracker.end(model)
        except Exception as error:
            self._tracker._failed("the end of a training", error)
        self._records.pop(threading.get_ident(), None)
        return model

    def _record(self) -> Record:
        return self._records.setdefault(threading.get_ident(), Record())

    def _tell(self, record: Record) -> None:
        evaluated = []
        for held, metrics in record.log.items():
            for metric, values in metrics.items():
                value = values[record.told]
                # Cross-validation gives mean and deviation.
                evaluated.append((held, metric, value[0] if isinstance(value, tuple) else value, None))
        self._tracker.end_round(evaluated, last=True)
        record.told += 1


class Record:
    """Evaluations of one training as XGBoost keeps them, and the number of rounds of it that were told."""

    def __init__(self) -> None:
        self.log: Any = {}
        self.told = 0
