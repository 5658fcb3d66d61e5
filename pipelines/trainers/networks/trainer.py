"""Trains neural networks on tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from datasets.tables import TEST, VALIDATION
from flowgrad.compression.planning.calibration import Calibration
from flowgrad.drawing import picture
from flowgrad.errors import FlowGradError
from flowgrad.trackers import schedules
from flowgrad.trackers.flow import FlowTracker
from flowgrad.watching import Watch, watch
from pipelines.config.memory import check_parameters
from pipelines.config.schema.data import TableSettings, TaskSettings
from pipelines.config.schema.models import NetworkSettings
from pipelines.config.schema.trackers import FlowTrackerSettings
from pipelines.config.schema.training import NetworkLoopSettings, OptimizerSettings
from pipelines.config.targets import target
from pipelines.data.tables import TableData, load_table
from pipelines.trainers.compressible import Compressible, split_batches
from pipelines.trainers.evaluation import Evaluation
from pipelines.trainers.networks.data import Preparation
from pipelines.trainers.networks.initialisation import INITS
from pipelines.trainers.networks.loop import Observer, fit
from pipelines.trainers.networks.losses import LOSSES, predicted
from pipelines.trainers.networks.models import ACTIVATIONS, NORMALISATIONS, Network, build_network
from pipelines.trainers.networks.parameters import check_rates, freeze, groups
from pipelines.trainers.networks.stacking import fit_stack
from pipelines.trainers.optimizers import build_optimizer, check_optimizer
from pipelines.trainers.scoring import METRICS, check_overlap, check_task, scores
from pipelines.trainers.stacking import says_stackable, seeds_of_a_stack
from pipelines.trainers.trainer import Trained, Trainer

TRACKER = "model"
"""Name of the tracker, under which findings list parameters."""

ObserverFactory = Callable[[Any, torch.optim.Optimizer], Sequence[Observer]]
INIT, ORDER, _FINE_TUNING = 2, 3, 4
"""Streams of a seed, besides that of the rows that it keeps (0)."""
_ONE_OF: dict[str, Sequence[str | None]] = {
    "model.activation": tuple(ACTIVATIONS), "model.normalisation": NORMALISATIONS, "model.init": INITS,
}  # fmt: skip


class Networks(Trainer):
    """A table, trained in epochs by a torch optimizer; watched by `FlowTracker`."""

    SUBJECTS: ClassVar[tuple[str, ...]] = ("flow",)
    TREATABLE = ("model", "optimizer", "training")
    PACKAGES = ("torch",)
    STEP = "epoch"
    NODES: ClassVar = {
        "dataset": (TableSettings, "dataset=digits"),
        "teacher": None,
        "task": (TaskSettings, "task=digit"),
        "model": (NetworkSettings, "model=mlp"),
        "optimizer": (OptimizerSettings, "optimizer=adam"),
        "sampler": None,
        "loss": None,
        "fault": None,
        "training": (NetworkLoopSettings, "training=network"),
        "tracker": (FlowTrackerSettings, "tracker=flow"),
    }

    def check(self) -> None:
        """Refuse values that cannot be meant; see `Trainer.check`."""
        config = self.config
        check_task(config)
        if not (isinstance(found := target(config, "model"), type) and issubclass(found, Network)):
            raise FlowGradError(
                f"model._target_={config.model._target_} is no network; use model=mlp, cnn or recurrent"
            )
        check_choices(config)
        if config.optimizer.sparse_gradients:
            raise FlowGradError("optimizer.sparse_gradients=true: a network's gradients are dense; set it to false")
        check_optimizer(config)
        check_rates(config.training, (TRACKER,))
        check_overlap(config)

    def load(self) -> TableData:
        """Load a table, split."""
        data = load_table(self.config)
        self.check_data(data)
        return data

    def check_data(self, data: TableData) -> None:
        """Refuse a network that cannot take the columns, or an optimizer that cannot take the network; see
        `Trainer.check_data`.
        """
        config = self.config
        model: type[Network] = target(config, "model")
        sizes = len(data.columns), _outputs(config, data)
        model.check(config.model, sizes[0])
        check_parameters("model.width, model.depth", lambda: model(config.model, *sizes))
        network = _network(config, data, torch.Generator().manual_seed(0))
        freeze(network, config.training)
        build_optimizer(config, groups(network, config.training, config.optimizer.lr, TRACKER))

    def train(
        self,
        data: TableData,
        seed: int,
        *,
        watched: bool = False,
        observers: ObserverFactory | None = None,
    ) -> Trained:
        """Train epochs on the rows that the seed keeps. Initial weights and order of the rows draw on streams of their
        own, so that two configs of one seed share what they can.

        `observers` makes further watchers from the network and its optimizer.
        """
        config = self.config
        torch.set_num_threads(config.training.threads)
        init, order = (generator_of(seed, stream) for stream in (INIT, ORDER))
        parts = data.parts(seed)
        preparation = _preparation(config, data, seed)
        train, validation = (preparation.rows(part) for part in parts[:2])
        network = _network(config, data, init)
        freeze(network, config.training)
        optimizer = build_optimizer(config, groups(network, config.training, config.optimizer.lr, TRACKER))
        others = tuple(observers(network, optimizer)) if observers else ()
        own = attached(config, network, optimizer) if watched or config.training.treat else None
        trackers = () if own is None or own.network is None else (own.network,)
        for tracker in trackers:
            tracker.observe_inputs(train.inputs)
        loss = LOSSES[config.task.kind]()
        fitted = fit(network, loss, optimizer, train, validation, config.training, order, others, own)
        for observer in others:
            observer.detach()
        if own is not None:
            own.detach()
        measured = tuple(tracker.measurements() for tracker in trackers)
        return Trained(
            network,
            fitted.train_losses,
            fitted.validation_losses,
            fitted.steps,
            measured,
            () if own is None else own.treated,
            trackers=trackers,
            optimizer=optimizer,
        )

    def stack_size(self, data: TableData) -> int:
        """Number of seeds that are trained together; see `Trainer.stack_size`. Seeds that keep whole groups have other
        numbers of rows each.
        """
        config = self.config
        made: type[Network] = target(config, "model")
        alike = data.keep == 1 or data.table.groups is None
        if not (says_stackable(made) and alike and config.training.clip_norm is None):
            return 1
        with torch.device("meta"):
            network = made(config.model, len(data.columns), _outputs(config, data))
        return seeds_of_a_stack(config, sum(parameter.numel() for parameter in network.parameters()))

    def train_stack(self, data: TableData, seeds: Sequence[int], sooner: Sequence[DictConfig] = ()) -> list[Trained]:
        """Train the seeds as one stack of networks; see `Trainer.train_stack`."""
        config = self.config
        if len(seeds) == 1 or self.stack_size(data) == 1:
            return super().train_stack(data, seeds)
        torch.set_num_threads(config.training.threads)
        networks = [_network(config, data, generator_of(seed, INIT)) for seed in seeds]
        for network in networks:
            freeze(network, config.training)
        prepared = [_preparation(config, data, seed) for seed in seeds]
        rows = [list(map(own.rows, data.parts(seed)[:2])) for own, seed in zip(prepared, seeds, strict=True)]
        train, validation = zip(*rows, strict=True)
        return fit_stack(
            networks,
            LOSSES[config.task.kind](),
            lambda stack: build_optimizer(config, groups(stack, config.training, config.optimizer.lr, TRACKER)),
            train,
            validation,
            config.training,
            [generator_of(seed, ORDER) for seed in seeds],
            [one.training for one in sooner],
        )

    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics of the kind of task."""
        return METRICS[self.config.task.kind]

    def evaluate(self, trained: Trained, data: TableData, seed: int) -> Evaluation:
        """Evaluate on the test rows that the seed keeps."""
        test = data.part(TEST, seed)
        outputs = predicted(
            self.config.task.kind, trained.model, _preparation(self.config, data, seed).rows(test).inputs
        )
        return Evaluation(scores(self.config.task.kind, test.target, outputs.numpy()), ())

    def validating(self, data: TableData) -> TableData:
        """Put the validation rows in the place of the test rows; see `Trainer.validating`."""
        return replace(data, tested=VALIDATION)

    def check_compressible(self) -> None:
        """Accept every network: all can be compressed."""

    def compressible(self, trained: Trained, data: TableData, seed: int) -> Compressible:
        """Make a run the subject of compression; see `Trainer.compressible`."""
        config = self.config
        preparation = _preparation(config, data, seed)
        train, validation, test = (preparation.rows(part) for part in data.parts(seed))
        loss = LOSSES[config.task.kind]()

        def fine_tune(model: torch.nn.Module, epochs: int) -> None:
            settings = OmegaConf.merge(config.training, {"epochs": epochs, "early_stopping": True})
            assert isinstance(settings, DictConfig)
            optimizer = build_optimizer(config, groups(model, settings, config.optimizer.lr, TRACKER))
            fit(model, loss, optimizer, train, validation, settings, generator_of(seed, _FINE_TUNING))
            model.eval()

        return Compressible(
            trained.model.eval(),
            trained.optimizer,
            Calibration(
                split_batches(len(validation), validation.__getitem__),
                lambda model, batch: model(batch.inputs),
                loss.criterion,
            ),
            partial(loss.held_out, rows=test),
            lambda model: model(test.inputs),
            fine_tune,
            next((one for one in trained.trackers if isinstance(one, FlowTracker)), None),
        )

    def plots(self, trained: Trained) -> dict[str, bytes]:
        """Draw the update of each layer over the steps, the gradient by depth, and the row table of each layer."""
        pictures = {}
        for tracker in trained.trackers:
            pictures["flow_velocity"] = picture(tracker.velocity_figure())
            pictures["flow_gradients"] = picture(tracker.gradient_flow_figure())
            pictures["flow_health"] = picture(tracker.health_figure())
        return pictures

    def facts(self, trained: Trained) -> dict[str, str | float | int]:
        """Facts of the report: network, optimizer, and the losses' ends."""
        return {
            "network": self.config.model._target_.rpartition(".")[2],
            "parameters": sum(parameter.numel() for parameter in trained.model.parameters()),
            **super().facts(trained),
        }


def check_choices(config: DictConfig) -> None:
    """Refuse an activation, a normalisation or an initialisation that there is not.

    Raises:
        FlowGradError: names the key, the value and the choices.
    """
    for key, choices in _ONE_OF.items():
        if (value := OmegaConf.select(config, key)) not in choices:
            known = ", ".join("null" if choice is None else choice for choice in choices)
            raise FlowGradError(f"{key}={value!r} is unknown; use one of {known}")


def attached(config: DictConfig, network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Watch:
    """Watch a network by the schedule that the config names."""
    steps = config.tracker.schedule
    schedule = None if steps is None else schedules.every(steps)
    return watch(
        network, optimizer, name=TRACKER, schedule=schedule, on_finding="apply" if config.training.treat else None
    )


def _network(config: DictConfig, data: TableData, generator: torch.Generator) -> Network:
    return build_network(config, len(data.columns), _outputs(config, data), generator)


def _outputs(config: DictConfig, data: TableData) -> int:
    return len(np.unique(data.table.targets[data.target])) if config.task.kind == "multiclass" else 1


def _preparation(config: DictConfig, data: TableData, seed: int) -> Preparation:
    return Preparation.of(
        data.parts(seed)[0], standardise=config.model.standardise, classes=config.task.kind == "multiclass"
    )


def generator_of(seed: int, stream: int) -> torch.Generator:
    """Random numbers of one stream of a seed."""
    drawn = np.random.SeedSequence(seed, spawn_key=(stream,)).generate_state(1)[0]
    return torch.Generator().manual_seed(int(drawn))
