"""Matrix factorisation of ratings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from omegaconf import DictConfig

from flowgrad.errors import FlowGradError
from pipelines.config.memory import check_parameters
from pipelines.config.schema.data import RatingsSettings
from pipelines.config.schema.faults import RowFaultSettings
from pipelines.config.schema.models import FactorizationSettings
from pipelines.config.schema.trackers import EmbeddingTrackerSettings
from pipelines.config.schema.training import FactorizationLossSettings, LoopSettings, OptimizerSettings, SamplerSettings
from pipelines.config.targets import check_call, target
from pipelines.data.ratings import Data, load
from pipelines.trainers.evaluation import Evaluation
from pipelines.trainers.factorization.evaluation import evaluate, metric_names
from pipelines.trainers.factorization.faults import check_fault, side_of
from pipelines.trainers.factorization.loop import check_rows, sampler_of, train
from pipelines.trainers.factorization.losses import Loss
from pipelines.trainers.factorization.models.factorization import MatrixFactorization
from pipelines.trainers.factorization.stacking import stack_size, train_stack
from pipelines.trainers.optimizers import check_optimizer
from pipelines.trainers.trainer import Trained, Trainer

if TYPE_CHECKING:  # of all that compresses, which no other run needs
    from pipelines.trainers.compressible import Compressible


class Factorization(Trainer):
    """Ratings, trained in epochs by a torch optimizer; watched by `EmbeddingTracker` and `TrainingTracker`."""

    SUBJECTS = ("training", "embedding")
    TREATABLE = ("model", "optimizer", "sampler", "loss", "training")
    PACKAGES = ("torch",)
    STEP = "epoch"
    NODES: ClassVar = {
        "dataset": (RatingsSettings, "dataset=movielens_100k"),
        "task": None,
        "teacher": None,
        "model": (FactorizationSettings, "model=mf"),
        "optimizer": (OptimizerSettings, "optimizer=adam"),
        "sampler": (SamplerSettings, "sampler=shuffled"),
        "loss": (FactorizationLossSettings, "loss=mse"),
        "fault": (RowFaultSettings, "fault=none"),
        "training": (LoopSettings, "training=rating"),
        "tracker": (EmbeddingTrackerSettings, "tracker=embedding"),
    }

    def check(self) -> None:
        """Refuse values that cannot be meant; see `Trainer.check`."""
        config = self.config
        for node, kind, choice in (("model", MatrixFactorization, "model=mf"), ("loss", Loss, "loss=mse")):
            if not (isinstance(found := target(config, node), type) and issubclass(found, kind)):
                raise FlowGradError(f"{node}._target_={config[node]._target_} is no {kind.__name__}; use {choice}")
        sampler_of(config)
        check_optimizer(config)
        check_fault(config)
        if not target(config, "loss").of_ratings and config.training.evaluation != "ranking":
            raise FlowGradError(
                f"training.evaluation={config.training.evaluation}: scores of loss._target_={config.loss._target_} "
                "are no ratings; use training=ranking"
            )
        model: type[MatrixFactorization] = target(config, "model")
        model.check(config.model)
        own = {key: value for key, value in config.model.items() if key != "_target_"}
        check_call(f"model._target_={config.model._target_}", model, 1, 1, 0.0, sparse=False, generator=None, **own)
        for table in config.tracker.tables:
            if table not in model.TABLES:
                known = ", ".join(model.TABLES)
                raise FlowGradError(f"tracker.tables names {table!r}; the model's tables are {known}")
        if not config.tracker.tables:
            raise FlowGradError("tracker.tables is empty; name at least one table, e.g. [user_emb, item_emb]")

    def load(self) -> Data:
        """Load ratings, split."""
        data = load(self.config)
        self.check_data(data)
        return data

    def check_data(self, data: Data) -> None:
        """Refuse listed rows that are not there, and tables that do not fit into memory; see `Trainer.check_data`."""
        config = self.config
        columns = target(config, "model").columns(config.model)
        check_parameters(f"model.dim={config.model.dim}", lambda: (data.n_users + data.n_items) * columns)
        check_rows(config, data)

    def train(self, data: Data, seed: int, *, watched: bool = False, observers: Any = None) -> Trained:
        """Train by the config and the seed; see `pipelines.trainers.factorization.loop.train`. `observers` is an
        `ObserverFactory`.
        """
        return train(self.config, data, seed, watched=watched, observers=observers)

    def stack_size(self, data: Data) -> int:
        """Number of seeds that one stack takes; see `pipelines.trainers.factorization.stacking.stack_size`."""
        return stack_size(self.config, data)

    def train_stack(self, data: Data, seeds: Sequence[int], sooner: Sequence[DictConfig] = ()) -> list[Trained]:
        """Train the seeds as one stack of models; see `Trainer.train_stack`."""
        if len(seeds) == 1 or self.stack_size(data) == 1:
            return super().train_stack(data, seeds)
        return train_stack(self.config, data, seeds, sooner)

    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics of ratings or of rankings, as `training.evaluation` says."""
        return metric_names(self.config.training.evaluation, self.config.training.cutoff)

    def evaluate(self, trained: Trained, data: Data, seed: int) -> Evaluation:
        """Evaluate on the test ratings, which are the same for every seed."""
        return evaluate(self.config.training.evaluation, self.config.training.cutoff, trained.model, data)

    def validating(self, data: Data) -> Data:
        """Put the validation ratings in the place of the test ratings; see `Trainer.validating`."""
        return replace(data, test=data.validation)

    def check_compressible(self) -> None:
        """Refuse models of rankings; models of ratings can be compressed. See `Trainer.check_compressible`."""
        if not target(self.config, "loss").of_ratings:
            raise FlowGradError(
                f"loss._target_={self.config.loss._target_}: models of rankings cannot be compressed yet; use loss=mse"
            )

    def compressible(self, trained: Trained, data: Data, seed: int) -> Compressible:
        """Make a run the subject of compression; see `Trainer.compressible`."""
        from pipelines.trainers.factorization.compressing import compressible

        self.check_compressible()
        return compressible(self.config, trained, data, seed)

    def row_ids(self, data: Data, subject: str) -> np.ndarray | None:
        """Ids of users and items."""
        return {"users": data.ratings.user_ids, "items": data.ratings.item_ids}.get(side_of(subject) or "")
