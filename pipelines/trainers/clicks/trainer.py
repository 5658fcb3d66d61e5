"""Trains models of clicks on tables with columns of categories."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from datasets.tables import TEST, TRAIN, VALIDATION
from flowgrad.errors import FlowGradError
from flowgrad.features.clicks import ClickAnalyzer
from flowgrad.measurements import Measurements
from flowgrad.measures.clicks import expected_calibration_error
from flowgrad.trackers.flow import FlowTracker
from pipelines.config.memory import check_parameters
from pipelines.config.schema.data import TableSettings, TaskSettings
from pipelines.config.schema.models import ClickModelSettings
from pipelines.config.schema.trackers import FlowTrackerSettings
from pipelines.config.schema.training import ClickLoopSettings, OptimizerSettings
from pipelines.config.targets import target
from pipelines.data.tables import Part, TableData
from pipelines.trainers.clicks.data import SHARED, ClickPreparation, Clicks, codes_of
from pipelines.trainers.clicks.losses import ClickLoss
from pipelines.trainers.clicks.models import ClickModel, build_click_model, table_name
from pipelines.trainers.evaluation import Evaluation
from pipelines.trainers.networks.loop import fit
from pipelines.trainers.networks.losses import predicted
from pipelines.trainers.networks.parameters import check_rates, freeze, groups
from pipelines.trainers.networks.trainer import (
    INIT,
    ORDER,
    TRACKER,
    Networks,
    ObserverFactory,
    attached,
    check_choices,
    generator_of,
)
from pipelines.trainers.optimizers import build_optimizer, check_optimizer
from pipelines.trainers.scoring import METRICS, check_overlap, check_task, scores
from pipelines.trainers.trainer import Trained

CLICK_METRICS = {"binary": (*METRICS["binary"], "ece")}
"""Names of the metrics of clicks."""
_logger = logging.getLogger(__name__)
_DROPOUT = 5
"""Stream of a seed, besides those of networks."""


class ClickModels(Networks):
    """A log of clicks, trained in epochs by a torch optimizer; watched whole, and judged on the validation rows."""

    SUBJECTS = ("flow", "training", "embedding", "batches", "clicks")
    TREATABLE = ("model", "optimizer", "training")
    LACKS = ("sampler", "loss", "model.biases", "training.capped_rows")
    NODES: ClassVar = {
        "dataset": (TableSettings, "dataset=flights"),
        "teacher": None,
        "task": (TaskSettings, "task=late"),
        "model": (ClickModelSettings, "model=deepfm"),
        "optimizer": (OptimizerSettings, "optimizer=adam"),
        "sampler": None,
        "loss": None,
        "fault": None,
        "training": (ClickLoopSettings, "training=clicks"),
        "tracker": (FlowTrackerSettings, "tracker=flow"),
    }

    def check(self) -> None:
        """Refuse values that cannot be meant; see `Trainer.check`."""
        config = self.config
        check_task(config, tuple(CLICK_METRICS), CLICK_METRICS)
        if not (isinstance(found := target(config, "model"), type) and issubclass(found, ClickModel)):
            raise FlowGradError(f"model._target_={config.model._target_} is no model of clicks; use model=deepfm")
        check_choices(config)
        if config.optimizer.sparse_gradients:
            raise FlowGradError("optimizer.sparse_gradients=true: the tables' gradients are dense; set it to false")
        check_optimizer(config)
        check_rates(config.training, (TRACKER,))
        check_overlap(config)

    def load(self) -> TableData:
        """Load a table, split; the log says how many rows have values that training lacks, which share one row."""
        data = super().load()
        for name in data.table.categories:
            values = data.table.features[name]
            known = values[data.table.parts == TRAIN].unique()
            shares = [float((~values[data.table.parts == part].isin(known)).mean()) for part in (VALIDATION, TEST)]
            _logger.info(
                "%s: a value that no training row has, which shares row %d of the table, have %.2g of the validation "
                "rows and %.2g of the test rows",
                name,
                SHARED,
                *shares,
            )
        return data

    def check_data(self, data: TableData) -> None:
        """Refuse a table without categories, and one whose model does not fit into memory; see `Trainer.check_data`."""
        if not data.table.categories:
            raise FlowGradError(
                f"dataset._target_={self.config.dataset._target_}: table {data.table.name!r} has no column of "
                "categories, which models of clicks need; use dataset=flights, or training=network model=mlp"
            )
        target_values = data.table.targets[data.target]
        for part, name in ((TRAIN, "training"), (VALIDATION, "validation"), (TEST, "test")):
            if len(np.unique(target_values[data.table.parts == part])) < 2:
                raise FlowGradError(
                    f"task.target={data.target!r}: all {name} rows of table {data.table.name!r} have one value; give "
                    "more rows, or split them otherwise"
                )
        sizes = {name: len(values) + 1 for name, values in data.table.categories.items()}
        amounts = len(data.columns) - len(sizes)
        model: type[ClickModel] = target(self.config, "model")
        check_parameters("model.dim, model.width", lambda: model(self.config.model, sizes, amounts))

    def train(
        self, data: TableData, seed: int, *, watched: bool = False, observers: ObserverFactory | None = None
    ) -> Trained:
        """Train epochs on the rows that the seed keeps; see `Networks.train`."""
        config = self.config
        torch.set_num_threads(config.training.threads)
        init, order, dropout = (generator_of(seed, stream) for stream in (INIT, ORDER, _DROPOUT))
        parts = data.parts(seed)
        preparation = self._preparation(data, seed)
        train, validation = (preparation.rows(part) for part in parts[:2])
        model = build_click_model(config, preparation.sizes, len(preparation.columns), init)
        freeze(model, config.training)
        optimizer = build_optimizer(config, groups(model, config.training, config.optimizer.lr, TRACKER))
        others = tuple(observers(model, optimizer)) if observers else ()
        own = attached(config, model, optimizer) if watched or config.training.treat else None
        for tracker in () if own is None else own.tables.values():
            if tracker.name.startswith("tables."):
                tracker.observe(multiplied=1.0)
        loss = ClickLoss(
            tuple(preparation.vocabularies),
            positive_weight=config.training.positive_weight,
            id_dropout=config.training.id_dropout,
            generator=dropout,
        )
        fitted = fit(model, loss, optimizer, train, validation, config.training, order, others, own)
        for observer in others:
            observer.detach()
        measured: tuple[Measurements, ...] = ()
        trackers: tuple[FlowTracker, ...] = ()
        if own is not None:
            own.detach()
        if own is not None and watched:
            seen = own.measurements()
            analyzer = analyzer_of(seen, preparation, model, parts[0], train, validation)
            measured = (*seen, analyzer.measurements())
            trackers = () if own.network is None else (own.network,)
        return Trained(
            model,
            fitted.train_losses,
            fitted.validation_losses,
            fitted.steps,
            measured,
            () if own is None else own.treated,
            trackers=trackers,
            optimizer=optimizer,
        )

    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics of clicks."""
        return CLICK_METRICS["binary"]

    def evaluate(self, trained: Trained, data: TableData, seed: int) -> Evaluation:
        """Evaluate on the test rows that the seed keeps."""
        test = self._preparation(data, seed).rows(data.part(TEST, seed))
        clicked, probability = test.target.double().numpy(), predicted("binary", trained.model, test.inputs).numpy()
        ece = expected_calibration_error(clicked, probability)
        return Evaluation({**scores("binary", clicked, probability), "ece": ece}, ())

    def check_compressible(self) -> None:
        """Refuse: models of clicks cannot be compressed yet."""
        raise self._incompressible()

    def _preparation(self, data: TableData, seed: int) -> ClickPreparation:
        known = {name: len(values) for name, values in data.table.categories.items()}
        return ClickPreparation.of(data.part(TRAIN, seed), known, self.config.model)


def analyzer_of(
    seen: Sequence[Measurements],
    preparation: ClickPreparation,
    model: ClickModel,
    part: Part,
    train: Clicks,
    validation: Clicks,
) -> ClickAnalyzer:
    """Analyze a trained model on the validation rows.

    Args:
        seen: measurements of the watched training.
        preparation: of its rows.
        model: as it is used: with the best weights, where training went back to them.
        part: training rows, as the data set has them.
        train: the same, as the model is given them.
        validation: validation rows.
    """
    ids, amounts = tuple(preparation.vocabularies), preparation.columns
    tables = {one.subject.removeprefix("tables."): one for one in seen if one.kind == "embedding"}

    def predict(columns: dict[str, NDArray]) -> NDArray:
        rows = torch.stack([torch.as_tensor(columns[name]) for name in ids], dim=1)
        given = [torch.as_tensor(columns[name]) for name in amounts]
        values = torch.stack(given, dim=1) if given else torch.zeros(len(rows), 0)
        return predicted("binary", model, (rows, values)).numpy()

    columns = {name: validation.ids[:, k].numpy() for k, name in enumerate(ids)}
    columns |= {name: validation.amounts[:, k].numpy() for k, name in enumerate(amounts)}
    return ClickAnalyzer(
        predict,
        columns,
        validation.target.numpy(),
        trained={name: train.ids[:, k].numpy() for k, name in enumerate(ids)},
        train_rate=float(train.target.mean()),
        train_mean=float(predicted("binary", model, train.inputs).mean()),
        table_rows=preparation.sizes,
        values={name: codes_of(part, name) for name in ids},
        moved={name: moved for name in ids if (moved := _moved(tables.get(table_name(name)))) is not None},
        name="probabilities",
    )


def _moved(table: Measurements | None) -> NDArray | None:
    """Whether each row of a table was ever looked up in training and moved; None where rows are not all followed."""
    rows = None if table is None else table.tables.get("rows")
    if table is None or rows is None or len(rows) < table.scalars["rows"]:
        return None
    return (rows["move_steps"].fillna(1.0) > 0).to_numpy() & (rows["exposures"] > 0).to_numpy()
