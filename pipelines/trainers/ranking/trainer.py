"""Ranking models: two towers, models of sequences and graphs, and one that is solved for."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch

from datasets.tables import TEST
from flowgrad.errors import FlowGradError
from flowgrad.measurements import Measurements
from flowgrad.measures.embedding import exposure_gini
from flowgrad.measures.ranking import gains, popularity_thirds, ranks, recommended, top_lists
from flowgrad.trackers import TrainingTracker, schedules
from flowgrad.watching import Watch, watch
from pipelines.config.memory import check_parameters
from pipelines.config.schema.data import RatingsSettings
from pipelines.config.schema.ranking import RankingLoopSettings, RankingLossSettings
from pipelines.config.schema.trackers import FlowTrackerSettings
from pipelines.config.schema.training import OptimizerSettings
from pipelines.config.targets import target
from pipelines.data.interactions import Interactions, load_interactions
from pipelines.trainers.evaluation import Evaluation
from pipelines.trainers.optimizers import build_optimizer, check_optimizer
from pipelines.trainers.ranking.auditing import audit
from pipelines.trainers.ranking.loop import Generators, fit, solve
from pipelines.trainers.ranking.losses import RankingLoss
from pipelines.trainers.ranking.models.ials import IALS
from pipelines.trainers.ranking.models.ranker import Ranker, RankerSettings, build_ranker
from pipelines.trainers.ranking.serving import serve
from pipelines.trainers.trainer import Trained, Trainer

TRACKER = "model"
"""Name of the watch, under which findings list parameters."""
_METRICS = ("ndcg", "recall", "coverage", "gini", "ndcg_head", "ndcg_middle", "ndcg_tail")
_NUMBERS_A_SCORE = 4
"""Number of copies of the scores of all items that an evaluation holds, as numbers of 32 bits."""


class Ranking(Trainer):
    """Interactions in order of time, trained in epochs; watched by `flowgrad.watch`, and by `RankingAnalyzer` in the
    end.
    """

    SUBJECTS = ("ranking", "training", "flow", "embedding")
    TREATABLE = ("model", "optimizer", "loss", "training")
    PACKAGES = ("torch",)
    STEP = "epoch"
    NODES: ClassVar = {
        "dataset": (RatingsSettings, "dataset=movielens_100k"),
        "task": None,
        "teacher": None,
        "model": (RankerSettings, "model=sasrec"),
        "optimizer": (OptimizerSettings, "optimizer=adam"),
        "sampler": None,
        "loss": (RankingLossSettings, "loss=full_softmax"),
        "fault": None,
        "training": (RankingLoopSettings, "training=next_item"),
        "tracker": (FlowTrackerSettings, "tracker=flow"),
    }
    OPTIONAL = ("optimizer", "loss")
    LACKS = (
        "model.biases", "model.init", "model.init_scale", "model.bias_init", "model.activation", "model.normalisation",
        "model.standardise", "sampler.quarantine", "training.capped_rows", "training.full_rate",
    )  # fmt: skip

    def check(self) -> None:
        """Refuse values that cannot be meant; see `Trainer.check`."""
        config = self.config
        model = target(config, "model")
        if not (isinstance(model, type) and issubclass(model, Ranker)):
            raise FlowGradError(f"model._target_={config.model._target_} is no ranking model; use model=sasrec")
        if issubclass(model, IALS):
            for node in ("optimizer", "loss"):
                if config[node] is not None:
                    raise FlowGradError(f"{node}: {model.__name__} is solved for and has none; set {node}=null")
            return
        for node, choice in (("optimizer", "adam"), ("loss", "full_softmax")):
            if config[node] is None:
                raise FlowGradError(f"{node}=null: {model.__name__} is trained by a gradient; use {node}={choice}")
        loss = target(config, "loss")
        if not (isinstance(loss, type) and issubclass(loss, RankingLoss)):
            raise FlowGradError(f"loss._target_={config.loss._target_} is no RankingLoss; use loss=full_softmax")
        check_optimizer(config)
        if config.optimizer.sparse_gradients:
            raise FlowGradError(
                "optimizer.sparse_gradients=true: a ranking model's gradients are dense; set it to false"
            )

    def load(self) -> Interactions:
        """Load interactions, split by time."""
        data = load_interactions(self.config)
        self.check_data(data)
        return data

    def check_data(self, data: Interactions) -> None:
        """Refuse models that do not fit into memory, or that cannot be laid out, and settings that the loss does not
        have, which a fix of a rule may set; see `Trainer.check_data`.
        """
        if self.config.loss is not None:
            kind: type[RankingLoss] = target(self.config, "loss")
            kind.check(self.config.loss)
        model: type[Ranker] = target(self.config, "model")
        size = f"model.dim={self.config.model.dim} on {data.n_users:,} users and {data.n_items:,} items"
        check_parameters(size, lambda: (data.n_users + data.n_items) * self.config.model.dim)
        queries = len(data.held_out(TEST))
        check_parameters(f"scores of {queries:,} queries", lambda: _NUMBERS_A_SCORE * queries * data.n_items)
        built = self._model(model, data, torch.Generator().manual_seed(0))
        if self.config.optimizer is not None:
            build_optimizer(self.config, built.parameters())

    def train(self, data: Interactions, seed: int, *, watched: bool = False, observers: Any = None) -> Trained:
        """Train by the config and the seed alone. Initial weights, order of the examples, drawn negatives and dropout
        draw on streams of their own, so that two configs of one seed share what they can.

        `observers` makes further watchers from the model and its optimizer.
        """
        config = self.config
        torch.set_num_threads(config.training.threads)
        init, order, negatives, dropout = (
            torch.Generator().manual_seed(int(s.generate_state(1)[0])) for s in np.random.SeedSequence(seed).spawn(4)
        )
        made: type[Ranker] = target(config, "model")
        model, course = self._model(made, data, init), TrainingTracker(TRACKER)
        if isinstance(model, IALS):
            steps = solve(model, data, config.training, course)
            measured = [audit(model, None, None, data, config.training).measurements()] if watched else []
            return Trained(model, course.train_losses, course.validation_losses, steps, tuple(measured))
        kind: type[RankingLoss] = target(config, "loss")
        loss = kind(config.loss, data, negatives)
        optimizer = build_optimizer(config, model.parameters())
        others = tuple(observers(model, optimizer)) if observers else ()
        own = self._watch(model, optimizer) if watched else None
        if own is not None and "item_emb" in own.tables:
            own.tables["item_emb"].observe(in_batch_negatives=kind.IN_BATCH, sampling_correction=config.loss.logq)
        generators = Generators(order, negatives, dropout.initial_seed())
        steps = fit(model, loss, optimizer, data, config.training, generators, course, others, own)
        for observer in others:
            observer.detach()
        measurements: tuple[Measurements, ...] = ()
        trackers: tuple[Any, ...] = ()
        if own is not None:
            own.detach()
            trackers = tuple(one for one in (own.network, *own.tables.values()) if one is not None)
            whole = audit(model, kind, config.loss, data, config.training)
            measurements = (whole.measurements(), course.measurements(), *(one.measurements() for one in trackers))
        return Trained(
            model,
            course.train_losses,
            course.validation_losses,
            steps,
            measurements,
            trackers=trackers,
            optimizer=optimizer,
        )

    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics at the cutoff; `ndcg_head`, `_middle` and `_tail` are of the targets of each third of
        the items by popularity.
        """
        return tuple(f"{name}@{self.config.training.cutoff}" for name in _METRICS)

    def evaluate(self, trained: Trained, data: Interactions, seed: int) -> Evaluation:
        """Evaluate on the test events, which are the same for every seed."""
        settings = self.config.training
        served = serve(trained.model, data, data.held_out(TEST), settings)
        _, place = served.users.unique(return_inverse=True)
        if not served.finite:
            return Evaluation(dict.fromkeys(self.metrics(), float("nan")), (float("nan"),) * int(place.max() + 1))
        scores, targets = served.scores.numpy(), served.targets.numpy()
        rank = ranks(scores, targets)
        gain = gains(rank, settings.cutoff)
        counts = recommended(top_lists(scores, settings.cutoff), data.n_items)
        thirds = popularity_thirds(data.exposures.numpy())[targets]
        by_third = [
            float(gain[thirds == third].mean()) if (thirds == third).any() else float("nan") for third in (2, 1, 0)
        ]
        values = (
            float(gain.mean()),
            float((rank < settings.cutoff).mean()),
            float((counts > 0).mean()),
            exposure_gini(counts),
            *by_third,
        )
        by_user = np.bincount(place.numpy(), weights=gain) / np.bincount(place.numpy())
        return Evaluation(dict(zip(self.metrics(), values, strict=True)), tuple(by_user.tolist()))

    def facts(self, trained: Trained) -> dict[str, str | float | int]:
        """Facts of the report: model, optimizer, and the losses' ends."""
        config = self.config
        name = {"network": config.model._target_.rpartition(".")[2]}
        if config.optimizer is None:
            return {
                **name,
                "optimizer": "none",
                "epochs": len(trained.train_losses),
                "steps": trained.steps,
                "loss_first": trained.train_losses[0],
                "loss_last": trained.train_losses[-1],
            }
        return {**name, "parameters": sum(one.numel() for one in trained.model.parameters()), **super().facts(trained)}

    def row_ids(self, data: Interactions, subject: str) -> np.ndarray | None:
        """Ids of users and items; row 0 of a table that histories are read by is padding."""
        if subject == "user_emb":
            return data.ratings.user_ids
        if subject != "item_emb":
            return None
        ids = data.ratings.item_ids
        model: type[Ranker] = target(self.config, "model")
        return ids if model.LENGTH == 1 and "length" not in self.config.model else np.array(["padding", *ids], object)

    def _model(self, made: type[Ranker], data: Interactions, generator: torch.Generator) -> Ranker:
        return build_ranker(self.config.model, made, data, generator)

    def _watch(self, model: Ranker, optimizer: torch.optim.Optimizer) -> Watch:
        steps = self.config.tracker.schedule
        return watch(model, optimizer, name=TRACKER, schedule=None if steps is None else schedules.every(steps))
