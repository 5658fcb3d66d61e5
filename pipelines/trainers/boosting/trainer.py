"""Trains gradient boosters on tables of features."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from datasets.tables import TEST, VALIDATION
from flowgrad.drawing import picture
from flowgrad.errors import FlowGradError
from flowgrad.html.extracts import booster_tables
from flowgrad.trackers import BoostingTracker
from pipelines.config.schema.data import TableSettings, TaskSettings
from pipelines.config.schema.faults import ColumnFaultSettings
from pipelines.config.schema.models import BoosterSettings
from pipelines.config.schema.trackers import BoostingTrackerSettings
from pipelines.config.schema.training import BoostingSettings
from pipelines.config.targets import target
from pipelines.data.tables import TableData, load_table
from pipelines.trainers.boosting.columns import TRACKER, analyzer_of, check_columns, select_columns, stated
from pipelines.trainers.boosting.faults import check_fault, inject
from pipelines.trainers.boosting.models import Boosted, Library
from pipelines.trainers.evaluation import Evaluation
from pipelines.trainers.scoring import METRICS, check_overlap, check_task, scores
from pipelines.trainers.trainer import Trained, Trainer

if TYPE_CHECKING:
    import pandas as pd

_KINDS = ("regression", "binary")
"""Kinds of task."""


class Boosting(Trainer):
    """A table, trained in rounds by XGBoost or LightGBM; watched by `BoostingTracker`."""

    SUBJECTS = ("boosting", "feature")
    TREATABLE = ("model", "training")
    UNJUDGED = ("training.dropped_columns",)  # a column that leaks flatters validation rows as it does training rows
    PACKAGES = ("xgboost", "lightgbm")
    STEP = "round"
    NODES: ClassVar = {
        "dataset": (TableSettings, "dataset=movielens_table"),
        "task": (TaskSettings, "task=rating"),
        "teacher": None,
        "model": (BoosterSettings, "model=xgboost"),
        "optimizer": None,
        "sampler": None,
        "loss": None,
        "fault": (ColumnFaultSettings, "fault=leak"),
        "training": (BoostingSettings, "training=boosting"),
        "tracker": (BoostingTrackerSettings, "tracker=boosting"),
    }

    OPTIONAL = ("fault",)

    def check(self) -> None:
        """Refuse values that cannot be meant; see `Trainer.check`."""
        config = self.config
        if config.fault is not None:
            check_fault(config)
        check_task(config, _KINDS)
        if not (isinstance(found := target(config, "model"), type) and issubclass(found, Library)):
            raise FlowGradError(f"model._target_={config.model._target_} is no booster; use model=xgboost or lightgbm")
        check_overlap(config)

    def load(self) -> TableData:
        """Load a table, split, before any column is added or dropped."""
        data = load_table(self.config)
        self.check_data(data)
        return data

    def check_data(self, data: TableData) -> None:
        """Refuse named columns that the table lacks; see `Trainer.check_data`."""
        check_columns(self.config, inject(self.config, data).data.columns)

    def train(self, data: TableData, seed: int, *, watched: bool = False, observers: Any = None) -> Trained:
        """Train rounds on the rows that the seed keeps.

        `observers` are trackers of other libraries, with the callbacks and `observe_data` of a `BoostingTracker`.
        """
        config = self.config
        train, validation, _ = (select_columns(part, config) for part in inject(config, data).data.parts(seed))
        if np.ptp(train.target) == 0:
            raise FlowGradError(
                f"seed {seed}: all {len(train.target)} training rows have the target {train.target[0]:g}, so there is "
                f"nothing to predict; keep more rows than dataset.keep={config.dataset.keep}"
            )
        tracker = BoostingTracker(TRACKER, window=config.tracker.window) if watched else None
        # This is a stream of its own, next to that of the rows.
        own = int(np.random.SeedSequence(seed, spawn_key=(1,)).generate_state(1)[0]) % 2**31
        trained = target(config, "model")().train(config, train, validation, own, tracker, observers or ())
        parts = (train.features, train.target, validation.features, validation.target)
        if tracker is not None:
            tracker.observe_data(*parts, **stated(config, train))
        for watching in observers or ():
            watching.observe_data(*parts)
        measured = [tracker.measurements()] if tracker is not None else []
        if watched and config.tracker.features:
            measured.append(analyzer_of(train, seed).measurements())
        return Trained(
            trained, trained.curves.get("train", ()), trained.curves["valid"], trained.rounds, tuple(measured)
        )

    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics of the kind of task."""
        return METRICS[self.config.task.kind]

    def evaluate(self, trained: Trained, data: TableData, seed: int) -> Evaluation:
        """Evaluate on the test rows that the seed keeps."""
        test = select_columns(inject(self.config, data).data.part(TEST, seed), self.config)
        return Evaluation(scores(self.config.task.kind, test.target, trained.model.predict(test.features)), ())

    def fixed_length(self) -> int:
        """Number of rounds that every run has; see `Trainer.fixed_length`."""
        model = self.config.model
        return 0 if model.early_stopping_rounds else int(model.rounds)

    def validating(self, data: TableData) -> TableData:
        """Put the validation rows in the place of the test rows; see `Trainer.validating`."""
        return replace(data, tested=VALIDATION)

    def plots(self, trained: Trained) -> dict[str, bytes]:
        """Draw evaluations by round, and the gain of each column by window."""
        tracker = self._read(trained)
        return {"booster_curves": picture(tracker.evaluation_figure()), "booster_gain": picture(tracker.gain_figure())}

    def tables(self, trained: Trained) -> dict[str, pd.DataFrame]:
        """Make tables of the same."""
        return booster_tables(self._read(trained))

    def _read(self, trained: Trained) -> BoostingTracker:
        """Read the booster anew, which has all its rounds."""
        boosted: Boosted = trained.model
        tracker = BoostingTracker(TRACKER, window=self.config.tracker.window)
        metric = self.config.task.metrics[0]
        tracker.from_model(boosted.booster, {held: {metric: values} for held, values in boosted.curves.items()})
        return tracker

    def facts(self, trained: Trained) -> dict[str, str | float | int]:
        """Library, settings and the losses' ends."""
        return {
            "library": target(self.config, "model").PACKAGE,
            "learning_rate": self.config.model.learning_rate,
            "max_depth": self.config.model.max_depth,
            "rounds": trained.steps,
            "loss_first": trained.train_losses[0],
            "loss_last": trained.train_losses[-1],
        }
